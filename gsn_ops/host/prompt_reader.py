"""Reading one encode call: the user's text as each encoder's tokenizer shows it, with the rows of the conditioning."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from ..prompt import EncoderTokens, Piece, PromptTokens
from ..spelling import BARE_MARK, spell, user_span
from .token_rows import conditioning_rows, encoder_of, is_chunks, width_of

SENTINELS = ("0", "x")
"""Two prompts that are not empty: an empty prompt may use another template."""


class Chunks(list):
    """One encoder's token list as the host made it, knowing the options it was made with and its embeddings.

    embeddings: (name as typed, number of vectors) of the textual-inversion embeddings, in order.
    """

    def __init__(self, chunks: list, options: dict[str, Any], embeddings: Sequence[tuple[str, int]] = ()):
        super().__init__(chunks)
        self.options, self.embeddings = options, tuple(embeddings)


def read_prompt(clip, tokens: dict[str, Any]) -> PromptTokens:
    """What an encode call for these tokens sees. Loads no model and changes nothing.

    A text encoder that cannot be read must not break the person's text node: the result then has no encoders, and a note
    that says why, which becomes an error only where subjects are looked up.
    """
    try:
        rows, count = conditioning_rows(clip.cond_stage_model, tokens)
        notes: list[str] = []
        encoders = tuple(
            _read_encoder(clip, key, chunks, rows, notes) for key, chunks in tokens.items() if is_chunks(chunks))
        return PromptTokens(encoders, count, notes=tuple(dict.fromkeys(notes)))
    except Exception as error:
        logging.getLogger(__name__).warning("GSN: cannot read the tokens of %s", type(clip.cond_stage_model).__name__, exc_info=True)
        return PromptTokens((), 0, notes=(f"the tokens of this text encoder cannot be read: {error}",))


def _read_encoder(clip, key: str, chunks: list, rows: dict[str, dict[int, int]], notes: list[str]) -> EncoderTokens:
    """Pieces, text and chunks of tokens[key]."""
    part = _tokenizer_of(clip.tokenizer, key)
    path = encoder_of(key, list(rows))
    row_at = rows.get(path, {})
    width = None if path is None else width_of(clip.cond_stage_model.get_submodule(path).transformer)
    options = getattr(chunks, "options", {})
    others = [_ids(chunk for chunk in clip.tokenize(text, **options).get(key, ())) for text in SENTINELS]
    start, stop = user_span(_ids(chunks), others, getattr(part, "pad_token", None))
    vocabulary = getattr(part, "inv_vocab", {})

    names = _embedding_names(chunks, notes)
    items, shown, columns, spans = [], [], [], []
    offset = base = 0  # of the chunk: in the token list, and in the encoder's positions
    for chunk in chunks:
        ids, sizes = _ids([chunk]), [_size(entry[0], width) for entry in chunk]
        first, last, end = _text_of_chunk(ids, part, start - offset, stop - offset)
        while offset == 0 and first > 0 and vocabulary.get(ids[first - 1]) == BARE_MARK:
            first -= 1  # the sentinels begin with a bare mark too; here it belongs to the text
        positions = [base + sum(sizes[:n]) for n in range(len(sizes) + 1)]
        for n, entry in enumerate(chunk):
            item = names.pop(0) if torch.is_tensor(entry[0]) else ids[n]
            if not first <= n < last or item is None:
                continue
            if torch.is_tensor(entry[0]) and sizes[n] == 0:
                notes.append(f"{item[0]} does not fit the text encoder {key}, which leaves it out")
            for position in range(positions[n], positions[n] + max(sizes[n], 1)):
                items.append(item)
                shown.append(item[0] if isinstance(item, tuple) else str(vocabulary.get(item, item)))
                columns.append(row_at.get(position) if sizes[n] else None)
        offset += len(chunk)
        length = sum(max(size, 1) for size in sizes)  # the host pads for what it leaves out
        spans.append(_rows_of_chunk(row_at, range(base, base + length), positions[first], positions[end]))
        base += length

    if "<unk>" in shown:
        notes.append(f"the text encoder {key} does not know some characters of the prompt")
    text, ranges = spell(items, lambda ids: part.decode(ids))
    pieces = tuple(Piece(name, a, b, column) for name, (a, b), column in zip(shown, ranges, columns))
    return EncoderTokens(key, text, pieces, tuple(span for span in spans if span is not None))


def _tokenizer_of(tokenizer, key: str):
    """The part of the host's tokenizer that made tokens[key]."""
    for name in (key, f"clip_{key}", *(name for name in vars(tokenizer) if key in name or name in key)):
        if hasattr(tokenizer, name):
            return getattr(tokenizer, name)
    raise ValueError(f"it has no tokenizer '{key}'")


def _ids(chunks) -> list[int | None]:
    """Token ids of all chunks, None for entries that are vectors or pictures."""
    return [entry[0] if isinstance(entry[0], int) else None for chunk in chunks for entry in chunk]


def _size(token, width: int | None) -> int:
    """Positions that an entry takes in the encoder: 0 for an embedding of another width, which the host leaves out."""
    if not torch.is_tensor(token) or width is None:
        return 1
    return token.numel() // width if token.shape[-1] == width else 0


def _text_of_chunk(ids: list[int | None], part, start: int, stop: int) -> tuple[int, int, int]:
    """(first, last, end): the user's text is [first, last), the end marker is at `end`; [start, stop) bounds it."""
    begins = bool(ids) and ids[0] is not None and ids[0] == getattr(part, "start_token", None)
    first = min(max(start, int(begins)), len(ids))
    marker = getattr(part, "end_token", None)
    end = next((n for n in range(first, len(ids)) if marker is not None and ids[n] == marker), None)
    last = max(first, min(stop, len(ids) if end is None else end))
    return first, last, last if end is None else end


def _rows_of_chunk(row_at: dict[int, int], positions: range, first: int, end: int) -> tuple[int, int, int] | None:
    """(first text row, row of the end marker, row after the padding); None if the chunk has no row."""
    rows = [row_at[p] for p in positions if p in row_at]
    if first not in row_at:
        return None
    return row_at[first], row_at.get(end, max(rows) + 1), max(rows) + 1


def _embedding_names(chunks: list, notes: list[str]) -> list[tuple[str, int]]:
    """(name, number) for each vector in the token list; vectors of one embedding have the same number."""
    count = sum(torch.is_tensor(entry[0]) for chunk in chunks for entry in chunk)
    known = getattr(chunks, "embeddings", ())
    names = [(name, n) for n, (name, size) in enumerate(known) for _ in range(size)]
    if len(names) != count:
        notes.append("the names of the textual-inversion embeddings in this prompt are not known")
        return [("embedding", 0)] * count
    return names
