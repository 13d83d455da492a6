"""What the text encoders saw, as plain data that travels with the conditioning, and what of it the user cares about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .regions import Region

CLIP = ("l", "g", "h", "hydit_clip")  # the host's names of CLIP text encoders
TEMPLATE = re.compile(
    r"\s*(?:an?|the)?\s*(?:photo|photograph|picture|image|painting|scene)\s+of\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Piece:
    """One token of the user's own text.

    text: as the tokenizer shows it. start, stop: the characters of `EncoderTokens.text` that it spells (several pieces of
    one character share its range). column: its row of the conditioning; None where the host cropped or only pooled it.
    """

    text: str
    start: int
    stop: int
    column: int | None


@dataclass(frozen=True)
class EncoderTokens:
    """One tokenizer's view of the prompt.

    name: the host's key ("l", "g", "t5xxl"). text: the user's text as decoded from the token ids.
    pieces: the tokens of the user's text in order, templates, markers and padding left out.
    chunks: (first text row, row of the end marker, row after the padding) of each chunk, as rows of the conditioning.
    tensor: "" if all these rows are those of the conditioning itself, else the name of the further tensor beside it that they
    are rows of (`conditioning_mt5xl`); the architecture says where that one is in its attention.
    """

    name: str
    text: str
    pieces: tuple[Piece, ...]
    chunks: tuple[tuple[int, int, int], ...]
    tensor: str = ""

    @property
    def template(self) -> int:
        """Leading pieces that only say what kind of picture it is ("a photo of"), 0 without such words."""
        found = TEMPLATE.match(self.text)
        return sum(piece.stop <= found.end() for piece in self.pieces) if found else 0


@dataclass(frozen=True)
class Span:
    """Columns [start, stop) of one encoder's chunk that compete in the second softmax."""

    encoder: str
    start: int
    stop: int


@dataclass(frozen=True)
class SubjectPhrase:
    """A thing the user wants to see (or not), before it is looked up in the prompt.

    label: as typed. noun, modifiers: words. role: "wanted" or "unwanted". occurrence: 1 = first in the prompt.
    source: where it comes from: "typed", "conditioning" or "found"; "spacy" is no thing but the wish that spaCy finds them,
    noun the name of its model (see subjects.choose).
    """

    label: str
    noun: str
    modifiers: tuple[str, ...] = ()
    role: str = "wanted"
    occurrence: int = 1
    source: str = "typed"


@dataclass(frozen=True)
class SubjectColumns:
    """A subject with its columns: encoder name -> columns of the noun's pieces, and the same for each modifier."""

    phrase: SubjectPhrase
    noun: Mapping[str, tuple[int, ...]]
    modifiers: tuple[Mapping[str, tuple[int, ...]], ...] = ()

    @property
    def label(self) -> str:
        return self.phrase.label

    def columns(self, pieces: str = "noun") -> dict[str, tuple[int, ...]]:
        """Columns per encoder: of the noun, or (pieces="phrase") of all words of the phrase in prompt order."""
        if pieces == "noun":
            return dict(self.noun)
        words = [*self.modifiers, self.noun]
        return {
            e: tuple(sorted({c for word in words for c in word.get(e, ())}))
            for e in {e for word in words for e in word}
        }


@dataclass(frozen=True)
class PromptTokens:
    """What one encode call saw. Carried in the conditioning dict under the key `gsn`.

    rows: rows of the conditioning that this prompt made (columns are below it). subjects: set by the person for this prompt.
    notes: remarks for the report, e.g. words that the encoder does not know. checksum: sum of the magnitudes of its rows.
    regions: where the person wants a subject, for layout methods.
    """

    encoders: tuple[EncoderTokens, ...]
    rows: int
    subjects: tuple[SubjectPhrase, ...] = ()
    notes: tuple[str, ...] = ()
    schema: int = field(default=1)
    checksum: float | None = None
    regions: tuple[tuple[SubjectPhrase, Region], ...] = ()

    def only(self, encoders: str) -> PromptTokens:
        """The same as these encoders alone saw it: "all", a name, "clip" for every CLIP, or how a name begins ("t5" for t5xxl).

        Raises ValueError that lists the encoders.
        """
        if encoders == "all":
            return self
        read = [e for e in self.encoders if e.chunks]  # others are only pooled, or not there
        kept = tuple(
            e
            for e in read
            if e.name == encoders
            or (encoders == "clip" and e.name in CLIP)
            or (len(encoders) > 1 and e.name.startswith(encoders))
        )
        if not kept:
            raise ValueError(
                f"encoders is '{encoders}', but the words of this prompt reach the model through "
                f"{', '.join(e.name for e in read)}: choose one of these, average or separate."
            )
        return replace(self, encoders=kept)

    def spans(self, rule: str) -> tuple[Span, ...]:
        """Spans of the second softmax: "legacy_sd1" = all rows but the first and last of a chunk, "prompt_only" = up to the end marker."""
        return tuple(
            Span(e.name, start, max(start + 1, end - 1 if rule == "legacy_sd1" else eot))
            for e in self.encoders
            for start, eot, end in e.chunks
        )
