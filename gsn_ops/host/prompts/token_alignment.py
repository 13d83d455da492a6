"""Reading one encode call: the user's text as each encoder's tokenizer shows it, with the rows of the conditioning."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from numbers import Integral
from typing import Any, NamedTuple

import torch

from ...prompt import EncoderTokens, Piece, PromptTokens
from ...subjects.detokenize import BARE_MARK, spell, user_span
from .encoder_trace import Seen, tokens_seen

SENTINELS = ("0", "x")
"""Two prompts that are not empty: an empty prompt may use another template."""
SHORT = 200
"""Characters that no tokenizer cuts off."""
PROMPT_START = re.compile(r"<\s*prompt\s+start\s*>\s*", re.IGNORECASE)


class Chunks(list):
    """One encoder's token list as the host made it, knowing the options it was made with and its embeddings.

    text: what was tokenized. embeddings: (name as typed, number of vectors) of the textual-inversion embeddings, in order.
    """

    def __init__(
        self, chunks: list, text: str, options: dict[str, Any], embeddings: Sequence[tuple[str, int]] = ()
    ):
        super().__init__(chunks)
        self.text, self.options, self.embeddings = text, options, tuple(embeddings)


class Vector(NamedTuple):
    """A token that is a vector of a textual-inversion embedding; those of one embedding are equal."""

    name: str
    number: int
    width: int
    rows: int

    def positions(self, width: int | None) -> int:
        """How many it takes in an encoder of this width: the host leaves out what has another width."""
        return self.rows if width in (None, self.width) else 0


def read_prompt(clip, tokens: dict[str, Any]) -> PromptTokens:
    """What an encode call for these tokens sees. Loads no model and changes nothing.

    A text encoder that cannot be read must not break the person's text node: the result then has no encoders, and a note
    that says why, which becomes an error only where subjects are looked up.
    """
    try:
        seen, count = tokens_seen(clip.cond_stage_model, tokens)
        notes: list[str] = []
        encoders = tuple(_read_encoder(clip, key, tokens[key], place, notes) for key, place in seen.items())
        return PromptTokens(encoders, count, notes=tuple(dict.fromkeys(notes)))
    except Exception as error:
        logging.getLogger(__name__).warning(
            "GSN: cannot read the tokens of %s", type(clip.cond_stage_model).__name__, exc_info=True
        )
        return PromptTokens((), 0, notes=(f"the tokens of this text encoder cannot be read: {error}",))


def _read_encoder(clip, key: str, chunks: list, seen: Seen, notes: list[str]) -> EncoderTokens:
    """Pieces, text and chunks of tokens[key], whose places are `seen`."""
    part = _tokenizer_of(clip.tokenizer, key)
    tokens = _tokens(chunks, notes)
    options = getattr(chunks, "options", {})
    others = [_ids(_tokens(clip.tokenize(text, **options).get(key, ()), [])) for text in SENTINELS]
    start, stop = user_span(_ids(tokens), others, getattr(part, "pad_token", None))
    pictures = [
        n
        for n, token in enumerate(token for chunk in tokens for token in chunk)
        if token is None and start <= n < stop
    ]
    span = (
        pictures[-1] + 1 if pictures else start,
        stop,
    )  # Qwen's editing node writes its pictures in front of a prompt
    row_at = seen.rows
    if sum(token is None for chunk in tokens for token in chunk) != len(seen.pictures):
        notes.append(f"the text encoder {key} reads pictures too, so the rows of the words are not known")
        row_at = {}
    found, spans = _place(tokens, part, span, seen, row_at)

    vocabulary = getattr(part, "inv_vocab", {})
    shown = [
        token.name if isinstance(token, Vector) else str(vocabulary.get(token, token)) for token, _ in found
    ]
    notes += [
        f"{token.name} does not fit the text encoder {key}, which leaves it out"
        for token, _ in found
        if isinstance(token, Vector) and not token.positions(seen.width)
    ]
    if _is_cut(clip, key, chunks):
        notes.append(f"the text encoder {key} cuts this long prompt off after its first {len(found)} tokens")
    if "<unk>" in shown:
        notes.append(f"the text encoder {key} does not know some characters of the prompt")
    text, ranges = spell([token for token, _ in found], lambda ids: part.decode(ids))
    pieces = tuple(Piece(name, a, b, row) for name, (a, b), (_, row) in zip(shown, ranges, found))
    return _without_instructions(EncoderTokens(key, text, pieces, tuple(spans), seen.tensor))


def _is_cut(clip, key: str, chunks: list) -> bool:
    """Does the tokenizer drop the end of the prompt? Asked by adding to it."""
    text = getattr(chunks, "text", "")
    if len(text) < SHORT:
        return False
    longer = clip.tokenize(text + ' 0 x "0 x"', **chunks.options).get(
        key, ()
    )  # some encoders read only what is in quotes
    return _ids(_tokens(longer, [])) == _ids(_tokens(chunks, []))


def _without_instructions(tokens: EncoderTokens) -> EncoderTokens:
    """Without what stands before "<Prompt Start>", by which Lumina's prompts part their instructions from what is to be seen."""
    mark = PROMPT_START.search(tokens.text)
    if not mark:
        return tokens
    cut = mark.end()
    kept = tuple(replace(p, start=p.start - cut, stop=p.stop - cut) for p in tokens.pieces if p.start >= cut)
    first = min((p.column for p in kept if p.column is not None), default=0)
    chunks = tuple((max(start, first), end, stop) for start, end, stop in tokens.chunks if first <= end)
    return replace(tokens, text=tokens.text[cut:], pieces=kept, chunks=chunks)


def _tokenizer_of(tokenizer, key: str):
    """The part of the host's tokenizer that made tokens[key]."""
    for name in (key, f"clip_{key}", *(name for name in vars(tokenizer) if key in name or name in key)):
        if hasattr(tokenizer, name):
            return getattr(tokenizer, name)
    raise ValueError(f"it has no tokenizer '{key}'")


def _tokens(chunks: list, notes: list[str]) -> list[list[int | Vector | None]]:
    """The token of each entry: an id, a vector of an embedding, or None for what is neither (a picture)."""
    count = sum(torch.is_tensor(entry[0]) for chunk in chunks for entry in chunk)
    names = [
        (name, n) for n, (name, size) in enumerate(getattr(chunks, "embeddings", ())) for _ in range(size)
    ]
    if len(names) != count:
        notes.append("the names of the textual-inversion embeddings in this prompt are not known")
        names = [("embedding", 0)] * count
    following = iter(names)

    def token(value):
        if torch.is_tensor(value):
            return Vector(*next(following), value.shape[-1], value.numel() // value.shape[-1])
        return int(value) if isinstance(value, Integral) else None

    return [[token(entry[0]) for entry in chunk] for chunk in chunks]


def _ids(tokens: list[list]) -> list[int | None]:
    return [token if isinstance(token, int) else None for chunk in tokens for token in chunk]


def _place(
    tokens: list[list[int | Vector | None]],
    part,
    span: tuple[int, int],
    seen: Seen,
    row_at: Mapping[int, int],
) -> tuple[list[tuple[int | Vector, int | None]], list[tuple[int, int, int]]]:
    """(token, row) of the user's text, and (first text row, row of the end marker, row after the padding) of the chunks."""
    found, spans, pictures = [], [], iter(seen.pictures)
    offset = base = 0  # of the chunk: in the token list, and in the encoder's positions
    for chunk in tokens:
        first, last, end = _text_of_chunk(chunk, part, span[0] - offset, span[1] - offset)
        sizes = [
            token.positions(seen.width)
            if isinstance(token, Vector)
            else next(pictures, 1)
            if token is None
            else 1
            for token in chunk
        ]
        positions = [base, *(base + n for n in accumulate(sizes))]
        for token, position, size in zip(chunk[first:last], positions[first:], sizes[first:]):
            if token is not None:
                found += [(token, row_at.get(p)) for p in range(position, position + size)] or [(token, None)]
        after = base + sum(max(size, 1) for size in sizes)  # the host pads for what it leaves out
        rows = [row_at[p] for p in range(base, after) if p in row_at]
        if positions[first] in row_at:
            stop = max(rows) + 1
            spans.append((row_at[positions[first]], row_at.get(positions[end], stop), stop))
        offset, base = offset + len(chunk), after
    return found, spans


def _text_of_chunk(chunk: list, part, start: int, stop: int) -> tuple[int, int, int]:
    """(first, last, end): the user's text is chunk[first:last], the end marker is at `end`; [start, stop) bounds it."""
    begins = bool(chunk) and chunk[0] is not None and chunk[0] == getattr(part, "start_token", None)
    first = min(max(start, int(begins)), len(chunk))
    vocabulary = getattr(part, "inv_vocab", {})
    while start == first > 0 and vocabulary.get(chunk[first - 1]) == BARE_MARK:
        start = first = first - 1  # the sentinels begin with a bare mark too; here it belongs to the text
    marker = getattr(part, "end_token", None)
    end = next((n for n in range(first, len(chunk)) if marker is not None and chunk[n] == marker), None)
    last = max(first, min(stop, len(chunk) if end is None else end))
    return first, last, last if end is None else end
