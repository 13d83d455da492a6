"""Which reading of a text made a conditioning: text nodes differ in what BREAK, AND and [a:b:0.5] mean.

Each reading is encoded and its rows are compared with the conditioning's, so that a word gets its true row,
or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ...prompt import PromptTokens
from .entry_tokens import join_prompts, read_entry

SAME = 0.999
"""Similarity from which on a reading is the one, up to the weights of words."""
ENOUGH = 0.5
"""Similarity from which on the best reading is taken: clip skip, LoRAs and weights change all rows."""
FEW_WORDS = 4
"""Rows from which on they are compared alone."""
MAX_READINGS = 24

BREAK = re.compile(r"\s*\bBREAK\b\s*")
AND = re.compile(r"\s*\bAND\b\s*")
CHOICE = re.compile(r"\[([^\[\]]*[:|][^\[\]]*)\]")
"""A1111's "[a:b:0.5]", "[a:0.5]", "[a::0.5]" and "[a|b]"."""

DOES_NOT_FIT = (
    "The conditioning was not made from the text '{text}' by this CLIP: its rows are those of other words. "
    "Connect the very text and CLIP of the node that made it, with the same "
    "LoRAs and clip skip."
)


@dataclass(frozen=True)
class Reading:
    """One reading of a text, encoded. tokens: of all its parts; rows: [1, N, C]."""

    tokens: PromptTokens
    rows: Tensor


class GivenText:
    """A text and the CLIP that encoded it, somewhere else."""

    def __init__(self, clip: Any, text: str, key: str):
        self.clip, self.text, self.key = clip, text, key
        self._made: dict[tuple[str, ...], Reading] = {}

    def tokens_of(self, rows: Tensor) -> tuple[PromptTokens, tuple[str, ...]]:
        """Token data of the reading that made these rows [B, N, C], and remarks.

        Raises ValueError for an entry that no reading fits.
        """
        best, most = None, -1.0
        for parts in readings(self.text):
            throw_exception_if_processing_interrupted()
            reading = self._encoded(parts)
            likeness = similarity(rows, reading)
            if likeness > most:
                best, most = reading, likeness
            if likeness > SAME:
                break
        if best is None or most == -1.0:  # every reading has more rows
            return read_entry(rows, self._encoded((self.text,)).tokens)
        if rows.count_nonzero() and most < ENOUGH:
            raise ValueError(DOES_NOT_FIT.format(text=self.text))
        return read_entry(rows, replace(best.tokens, checksum=None))

    def _encoded(self, parts: tuple[str, ...]) -> Reading:
        if parts not in self._made:
            found = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(part))[0] for part in parts]
            rows = [made for made, _ in found]
            starts = [0]
            for made in rows:
                starts.append(starts[-1] + made.shape[-2])
            tokens = [
                (extra[self.key], start // extra[self.key].rows_per_key)
                for (_, extra), start in zip(found, starts)
            ]
            self._made[parts] = Reading(join_prompts(tokens), torch.cat(rows, 1))
        return self._made[parts]


def readings(text: str) -> Iterator[tuple[str, ...]]:
    """The parts that text nodes make of a text, encoded one by one and appended; first the text as it is."""
    seen: dict[tuple[str, ...], None] = {(text,): None}
    for chosen in _choices(text):
        for prompt in dict.fromkeys((chosen, *AND.split(chosen))):
            for parts in ((prompt,), tuple(BREAK.split(prompt))):
                seen.setdefault(parts)
                seen.setdefault(tuple(part.strip() for part in parts))
    yield from list(seen)[:MAX_READINGS]


def _choices(text: str) -> list[str]:
    """The text, and the text with the first, second, ... alternative of each bracket."""
    most = max((len(_alternatives(m[1])) for m in CHOICE.finditer(text)), default=0)

    def chosen(k: int) -> str:
        return CHOICE.sub(lambda m: _nth(_alternatives(m[1]), k), text)

    return list(dict.fromkeys([text, *(chosen(k) for k in range(most))]))


def _alternatives(inside: str) -> list[str]:
    """What "a:b:0.5" or "a|b" stand for in turn. "a:0.5" is nothing, then a."""
    if ":" not in inside:
        return inside.split("|")
    *texts, when = inside.split(":")
    if not re.fullmatch(r"\s*[\d.]+\s*", when):
        return [*texts, when]
    return texts if len(texts) > 1 else ["", *texts]


def _nth(texts: Sequence[str], k: int) -> str:
    return texts[min(k, len(texts) - 1)]


def similarity(rows: Tensor, reading: Reading) -> float:
    """Mean cosine of the rows with words, without what these have in common; -1 if there are too few rows.

    With the demo model's CLIP: 0.96 with another clip skip, up to 0.38 for other words.
    """
    made = reading.rows[0].double().cpu()
    n = made.shape[0]
    if rows.shape[-1] != made.shape[-1] or rows.shape[-2] < n:
        return -1.0
    given = rows[0, :n].double().cpu()
    per_key = reading.tokens.rows_per_key
    columns = {p.column for e in reading.tokens.encoders if not e.tensor for p in e.pieces}
    words = sorted(column * per_key for column in columns if column is not None)
    few = len(words) < FEW_WORDS
    chosen = list(range(n)) if few else words
    apart = [t[chosen] - t[chosen].mean(0) for t in (given, made)]
    likeness = float(cosine_similarity(apart[0], apart[1], -1).mean())
    return 2 * likeness - 1 if few else likeness  # the rows of padding are alike in all prompts
