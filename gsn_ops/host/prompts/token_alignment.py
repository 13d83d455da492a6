"""Aligns the tokens of one encode call with the user's text, and with the rows of the conditioning."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from numbers import Integral
from typing import Any, NamedTuple

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.sd import CLIP

from ...prompt import EncoderTokens, Piece, PromptTokens
from ...remark import Remark
from ...subjects.detokenize import BARE_MARK, detokenize, user_span
from .encoder_trace import TracedTokens, trace_tokens

log = logging.getLogger(__name__)

SENTINELS = ("0", "x")
"""Two prompts to compare with. Not empty: an empty prompt may use another template."""

SHORT = 200
"""Characters that no tokenizer cuts off."""

CLIP_ENCODERS = ("l", "g", "h", "hydit_clip")
"""ComfyUI's keys of CLIP text encoders."""

WILDCARD = re.compile(r"\{[^{}|\"\n]*\|[^{}\"\n]*\}|(?<!\w)__[\w /*.-]+?__(?!\w)")
"""`{cat|dog}` and `__animal__`: of which a text node draws one word before it encodes."""

UNKNOWN = "<unk>"
UNKNOWN_GAP = ("",)
"""For characters that a tokenizer does not know: a gap in the text, as between words ("house<lora")."""

PROMPT_START = re.compile(r"<\s*prompt\s+start\s*>\s*", re.IGNORECASE)
"""In Lumina's prompts, the end of the instructions and the beginning of the description."""


class Chunks(list):
    """One encoder's token list as ComfyUI made it, with the options it was made with and its embeddings.

    text: what was tokenized. embeddings: (name as typed, number of vectors) of the textual-inversion
    embeddings, in order. A list that is extended by another one, as text nodes do for BREAK, has the texts
    and embeddings of both.
    """

    def __init__(
        self, chunks: list, text: str, options: dict[str, Any], embeddings: Sequence[tuple[str, int]] = ()
    ):
        super().__init__(chunks)
        self.text = text
        self.options = options
        self.embeddings = tuple(embeddings)
        self.values = _values(chunks)

    def __iadd__(self, more):  # type: ignore[override]
        self.extend(more)
        return self

    def extend(self, more) -> None:
        """Append the chunks of another text."""
        super().extend(more)
        if isinstance(more, Chunks):
            self.text = "\n".join(filter(None, (self.text, more.text)))
            self.embeddings += more.embeddings
            self.values += more.values

    @property
    def typed(self) -> str:
        """The text as typed, with line breaks and marks; "" if these are not its tokens any more."""
        values = _values(self)
        same = len(values) == len(self.values) and all(map(_is_same, values, self.values))
        return self.text if same else ""


class Vector(NamedTuple):
    """A token that is a vector of a textual-inversion embedding; the vectors of one embedding are equal."""

    name: str
    number: int
    width: int
    rows: int

    def positions(self, width: int | None) -> int:
        """Positions it takes in an encoder of this width: ComfyUI leaves out what has another width."""
        return self.rows if width in (None, self.width) else 0


def _values(chunks: list) -> list:
    """The first item of each entry: an id, a vector or an image."""
    return [entry[0] for chunk in chunks for entry in chunk]


def _is_same(a: object, b: object) -> bool:
    return a is b or (isinstance(a, Integral) and a == b)


Token = int | Vector | None
"""An id, a vector of an embedding, or None for anything else (an image)."""


def read_prompt(clip: CLIP, tokens: dict[str, Any]) -> PromptTokens:
    """Text, pieces and rows of an encode call for these tokens. Loads no model and changes nothing.

    A text encoder that cannot be read must not break the user's text node: the result then has no encoders,
    and a note that says why. It becomes an error only where subjects are looked up.
    """
    try:
        trace = trace_tokens(clip, tokens)
        notes: list[str] = []
        encoders = tuple(
            _read_encoder(clip, key, tokens[key], found, notes) for key, found in trace.encoders.items()
        )
        return PromptTokens(
            encoders, trace.rows, notes=tuple(dict.fromkeys(notes)), rows_per_key=trace.rows_per_key
        )
    except Exception as error:
        name = type(clip.cond_stage_model).__name__
        log.warning("GSN: cannot read the tokens of %s", name, exc_info=True)
        return PromptTokens((), 0, notes=(f"the tokens of this text encoder cannot be read: {error}",))


def _read_encoder(
    clip: CLIP, key: str, chunks: list, traced: TracedTokens, notes: list[str]
) -> EncoderTokens:
    """Text, pieces and chunks of tokens[key]. Adds remarks to `notes`."""
    part = _tokenizer_of(clip.tokenizer, key)
    tokens = _tokens(chunks, notes)
    if sum(token is None for token in _flat(tokens)) != len(traced.images):
        notes.append(f"the text encoder {key} reads images too, so the rows of the text tokens are not known")
        traced = replace(traced, rows={})
    found, spans = _place(tokens, part, _user_span(clip, key, chunks, tokens, part), traced)

    vocabulary = getattr(part, "inv_vocab", {})
    shown = [_shown(token, vocabulary) for token, _ in found]
    for token, _ in found:
        if isinstance(token, Vector) and not token.positions(traced.width):
            notes.append(f"{token.name} does not fit the text encoder {key}, which leaves it out")
    if _is_cut(clip, key, chunks):
        cut = f"the text encoder {key} cuts this long prompt off after its first {len(found)} tokens"
        notes.append(Remark(cut, line=f"only the first {len(found)} tokens of the prompt are read ({key})"))
    if UNKNOWN in shown:
        notes.append(f"the text encoder {key} does not know some characters of the prompt")
    items = [UNKNOWN_GAP if name == UNKNOWN else token for name, (token, _) in zip(shown, found)]
    text, ranges = detokenize(items, _decoder(part))
    pieces = tuple(Piece(name, a, b, row) for name, (a, b), (_, row) in zip(shown, ranges, found))
    kind = "clip" if key in CLIP_ENCODERS else ""
    typed = "" if traced.images else getattr(chunks, "typed", "")
    notes += _wildcards(typed)
    return _without_instructions(EncoderTokens(key, text, pieces, tuple(spans), traced.tensor, kind, typed))


def _wildcards(typed: str) -> list[str]:
    """A remark on wildcards that nothing has drawn yet."""
    left = list(dict.fromkeys(m.group() for m in WILDCARD.finditer(typed)))
    if not left:
        return []
    text = (
        f"the prompt still has {', '.join(left)}: ComfyUI draws such words in the text field of a node, not "
        "through a link, so all of them are words of this prompt"
    )
    return [Remark(text, line=f"{left[0]} was not drawn")]


def _decoder(part) -> Callable[[list[int]], str]:
    """Token ids -> text, which a long prompt asks for once per token: Interrupt is answered in between."""

    def decode(ids: list[int]) -> str:
        throw_exception_if_processing_interrupted()
        return part.decode(ids)

    return decode


def _user_span(clip: CLIP, key: str, chunks: list, tokens: list[list[Token]], part) -> tuple[int, int]:
    """[start, stop) of the user's own text in the token list."""
    options = getattr(chunks, "options", {})
    others = [_ids(_tokens(clip.tokenize(text, **options).get(key, ()), [])) for text in SENTINELS]
    start, stop = user_span(_ids(tokens), others, getattr(part, "pad_token", None))
    images = [n for n, token in enumerate(_flat(tokens)) if token is None and start <= n < stop]
    # Qwen's editing node writes its images in front of a prompt.
    return (images[-1] + 1 if images else start), stop


def _shown(token: Token, vocabulary: Mapping[int, str]) -> str:
    return token.name if isinstance(token, Vector) else str(vocabulary.get(token, token))


def _is_cut(clip: CLIP, key: str, chunks: list) -> bool:
    """Does the tokenizer drop the end of the prompt? Tested by appending to it."""
    if not isinstance(chunks, Chunks) or len(chunks.text) < SHORT:
        return False
    longer = chunks.text + ' 0 x "0 x"'  # some encoders read only what is in quotes
    appended = clip.tokenize(longer, **chunks.options).get(key, ())
    return _ids(_tokens(appended, [])) == _ids(_tokens(chunks, []))


def _without_instructions(tokens: EncoderTokens) -> EncoderTokens:
    """Without the instructions before "<Prompt Start>" in Lumina's prompts."""
    mark = PROMPT_START.search(tokens.text)
    if not mark:
        return tokens
    cut = mark.end()
    kept = tuple(replace(p, start=p.start - cut, stop=p.stop - cut) for p in tokens.pieces if p.start >= cut)
    first = min((p.column for p in kept if p.column is not None), default=0)
    chunks = tuple((max(start, first), end, stop) for start, end, stop in tokens.chunks if first <= end)
    typed = PROMPT_START.split(tokens.typed, maxsplit=1)[-1]
    return replace(tokens, text=tokens.text[cut:], pieces=kept, chunks=chunks, typed=typed)


def _tokenizer_of(tokenizer, key: str):
    """The part of ComfyUI's tokenizer that made tokens[key]."""
    for name in (key, f"clip_{key}", *(name for name in vars(tokenizer) if key in name or name in key)):
        if hasattr(tokenizer, name):
            return getattr(tokenizer, name)
    raise ValueError(f"it has no tokenizer '{key}'")


def _tokens(chunks: list, notes: list[str]) -> list[list[Token]]:
    """The token of each entry. Adds a remark to `notes` if names of embeddings are not known."""
    vectors = sum(torch.is_tensor(entry[0]) for chunk in chunks for entry in chunk)
    names: list[tuple[str, int]] = []
    for n, (name, size) in enumerate(getattr(chunks, "embeddings", ())):
        names += [(name, n)] * size
    if len(names) != vectors:
        notes.append("the names of the textual-inversion embeddings in this prompt are not known")
        names = [("embedding", 0)] * vectors
    following = iter(names)

    def token(value) -> Token:
        if torch.is_tensor(value):
            return Vector(*next(following), value.shape[-1], value.numel() // value.shape[-1])
        return int(value) if isinstance(value, Integral) else None

    return [[token(entry[0]) for entry in chunk] for chunk in chunks]


def _flat(tokens: list[list[Token]]) -> Iterator[Token]:
    return (token for chunk in tokens for token in chunk)


def _ids(tokens: list[list[Token]]) -> list[int | None]:
    return [token if isinstance(token, int) else None for token in _flat(tokens)]


def _place(
    tokens: list[list[Token]], part, span: tuple[int, int], traced: TracedTokens
) -> tuple[list[tuple[int | Vector, int | None]], list[tuple[int, int, int]]]:
    """(token, row) of the user's text, and (first, end, stop) of each chunk.

    These are the first text row, the row of the end marker, and the row after the padding.
    """
    found: list[tuple[int | Vector, int | None]] = []
    spans: list[tuple[int, int, int]] = []
    row_at, images = traced.rows, iter(traced.images)
    offset = base = 0  # of the chunk: in the token list, and in the encoder's positions
    for chunk in tokens:
        first, last, end = _text_of_chunk(chunk, part, span[0] - offset, span[1] - offset)
        sizes = [_size(token, traced.width, images) for token in chunk]
        positions = [base, *(base + n for n in accumulate(sizes))]
        for token, position, size in zip(chunk[first:last], positions[first:], sizes[first:]):
            if token is not None:
                rows = [row_at.get(p) for p in range(position, position + size)]
                found += [(token, row) for row in rows or [None]]
        after = base + sum(max(size, 1) for size in sizes)  # ComfyUI pads for what it leaves out
        rows_of_chunk = [row_at[p] for p in range(base, after) if p in row_at]
        if positions[first] in row_at:
            stop = max(rows_of_chunk) + 1
            spans.append((row_at[positions[first]], row_at.get(positions[end], stop), stop))
        offset, base = offset + len(chunk), after
    return found, spans


def _size(token: Token, width: int | None, images: Iterator[int]) -> int:
    """Positions of a token in an encoder of this width. images: the sizes of the images still to come."""
    if isinstance(token, Vector):
        return token.positions(width)
    return next(images, 1) if token is None else 1


def _text_of_chunk(chunk: list, part, start: int, stop: int) -> tuple[int, int, int]:
    """(first, last, end): the user's text is chunk[first:last], the end marker is at `end`.

    start, stop: bounds of the user's text, relative to the chunk.
    """
    begins = bool(chunk) and chunk[0] is not None and chunk[0] == getattr(part, "start_token", None)
    first = min(max(start, int(begins)), len(chunk))
    vocabulary = getattr(part, "inv_vocab", {})
    while start == first > 0 and vocabulary.get(chunk[first - 1]) == BARE_MARK:
        start = first = first - 1  # the sentinels begin with a bare mark too; here it belongs to the text
    marker = getattr(part, "end_token", None)
    ends = (n for n in range(first, len(chunk)) if marker is not None and chunk[n] == marker)
    end = next(ends, None)
    last = max(first, min(stop, len(chunk) if end is None else end))
    return first, last, last if end is None else end
