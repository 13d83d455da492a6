"""The words of a negative prompt as rows of its conditioning, without markers and padding."""

from __future__ import annotations

import torch
from torch import Tensor

from .conditioning import KEY, Conditioning
from .entry_tokens import first_text, read_entry


def negative_rows(conditioning: Conditioning) -> tuple[Tensor, str]:
    """Rows [N, C] of the prompt's own words, and the text; of several combined prompts all.

    Raises ValueError for a conditioning whose tokens are not known.
    """
    found, texts = [], []
    for rows, extra in conditioning:
        try:
            tokens, _ = read_entry(rows, extra.get(KEY))
        except ValueError as error:
            told = str(error).replace("positive conditioning", "negative conditioning")
            raise ValueError(f"negative: {told}") from None
        columns = {
            p.column for e in tokens.encoders for p in e.pieces if p.column is not None and not e.tensor
        }
        found.append(rows[0, sorted(columns)])
        texts.append(first_text(tokens))
    return torch.cat(found), ", ".join(texts)
