"""What the text encoders read, as plain data on the conditioning, and the subjects the user names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .regions import Region

TEMPLATE = re.compile(
    r"\s*(?:an?|the)?\s*(?:photo|photograph|picture|image|painting|scene)\s+of\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Piece:
    """One token of the user's own text.

    text: as the tokenizer shows it. start, stop: its characters in `EncoderTokens.text` (several tokens of
    one character share its range). column: its row of the conditioning; None if ComfyUI cropped it or the
    encoder only pools it.
    """

    text: str
    start: int
    stop: int
    column: int | None


@dataclass(frozen=True)
class EncoderTokens:
    """One tokenizer's view of the prompt.

    name: the encoder's key ("l", "g", "t5xxl"). text: the user's text as decoded from the token ids.
    pieces: the tokens of the user's text in order, without templates, markers and padding.
    chunks: (first text row, row of the end marker, row after the padding) of each chunk, as rows of the
    conditioning.
    tensor: "" if all these rows are those of the conditioning itself, else the name of the other tensor in it
    that they are rows of (`conditioning_mt5xl`); the architecture says where that one is in its attention.
    kind: "clip" for a CLIP text encoder, else "".
    typed: the text as the user typed it, with line breaks and marks; "" if it is not known.
    """

    name: str
    text: str
    pieces: tuple[Piece, ...]
    chunks: tuple[tuple[int, int, int], ...]
    tensor: str = ""
    kind: str = ""
    typed: str = ""

    @property
    def template(self) -> int:
        """Number of leading tokens that only say what kind of image it is ("a photo of")."""
        found = TEMPLATE.match(self.text)
        return sum(piece.stop <= found.end() for piece in self.pieces) if found else 0

    def is_named(self, name: str) -> bool:
        """Whether `name` is the encoder's name, its kind, or how its name begins ("t5" for t5xxl)."""
        if name == self.name or (self.kind and name == self.kind):
            return True
        return len(name) > 1 and self.name.startswith(name)


@dataclass(frozen=True)
class Span:
    """Columns [start, stop) of one encoder's chunk: the range of the second softmax."""

    encoder: str
    start: int
    stop: int


@dataclass(frozen=True)
class SubjectPhrase:
    """Something the user wants to see (or not), before it is looked up in the prompt.

    label: as typed. noun, modifiers: words. role: "wanted" or "unwanted". occurrence: 1 = first in the
    prompt. optional: the prompt need not have it.
    source: where it comes from, "typed", "conditioning" or "found". `source="spacy"` marks a request to find
    subjects with spaCy, with the name of the spaCy model as noun.
    """

    label: str
    noun: str
    modifiers: tuple[str, ...] = ()
    role: str = "wanted"
    occurrence: int = 1
    source: str = "typed"
    optional: bool = False


@dataclass(frozen=True)
class SubjectColumns:
    """A subject with its columns: encoder name -> columns of the noun's tokens; the same per modifier.

    count: how many of it the prompt wants ("three dogs"), 0 = it does not say. relations: ("left of", label
    of the other subject) each, as the prompt says.
    """

    phrase: SubjectPhrase
    noun: Mapping[str, tuple[int, ...]]
    modifiers: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    count: int = 0
    relations: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The subject's name in reports."""
        return self.phrase.label

    def columns(self, pieces: str = "noun") -> dict[str, tuple[int, ...]]:
        """Columns per encoder: of the noun, or ("phrase") of all words of the phrase in prompt order."""
        if pieces == "noun":
            return dict(self.noun)
        found: dict[str, set[int]] = {}
        for word in (*self.modifiers, self.noun):
            for encoder, columns in word.items():
                found.setdefault(encoder, set()).update(columns)
        return {encoder: tuple(sorted(columns)) for encoder, columns in found.items()}


@dataclass(frozen=True)
class PromptTokens:
    """The token data of one encode call. Carried in the conditioning dict under the key `gsn`.

    rows: rows of the conditioning made from this prompt (columns are below it). subjects: set by the user for
    this prompt. notes: remarks for the report, e.g. words that the encoder does not know. checksum: sum of
    the magnitudes of its rows. regions: where the user wants a subject, for layout methods. rows_per_key:
    rows of the conditioning for each key of the attention, 2 where a pack keeps keys and values in rows of
    their own; `rows` and columns count keys.
    """

    encoders: tuple[EncoderTokens, ...]
    rows: int
    subjects: tuple[SubjectPhrase, ...] = ()
    notes: tuple[str, ...] = ()
    schema: int = field(default=1)
    checksum: float | None = None
    regions: tuple[tuple[SubjectPhrase, Region], ...] = ()
    rows_per_key: int = 1

    def only(self, encoders: str) -> PromptTokens:
        """The token data of some encoders alone.

        encoders: "all", "clip" for every CLIP, a name, or how a name begins ("t5" for t5xxl).
        Raises ValueError that lists the encoders.
        """
        if encoders == "all":
            return self
        read = [e for e in self.encoders if e.chunks]  # others are only pooled, or not on this model
        kept = tuple(e for e in read if e.is_named(encoders))
        if not kept:
            raise ValueError(
                f"encoders is '{encoders}', but the words of this prompt reach the model through "
                f"{', '.join(e.name for e in read)}: choose one of these, average or separate."
            )
        return replace(self, encoders=kept)

    def spans(self, rule: str) -> tuple[Span, ...]:
        """Spans of the second softmax, one per encoder and chunk.

        rule: "legacy_sd1" = all rows of a chunk but the first and last, "prompt_only" = up to the end marker.
        """
        spans = []
        for encoder in self.encoders:
            for start, end_marker, end in encoder.chunks:
                stop = end - 1 if rule == "legacy_sd1" else end_marker
                spans.append(Span(encoder.name, start, max(start + 1, stop)))
        return tuple(spans)
