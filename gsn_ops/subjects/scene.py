"""How many of a subject a prompt wants, and where subjects are to each other, on the subjects themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..prompt import EncoderTokens, PromptTokens, SubjectColumns
from .counts import count_before
from .nouns_in_text import NounInText, without_marks
from .relations import relations_in


def with_scene(
    subjects: Sequence[SubjectColumns], tokens: PromptTokens, first_column: int = 0
) -> tuple[SubjectColumns, ...]:
    """The subjects with `count` and `relations` as the text of the first encoder that says something does.

    Unwanted subjects have neither.
    """
    counts: dict[str, int] = {}
    relations: dict[str, tuple[tuple[str, str], ...]] = {}
    for encoder in tokens.encoders:
        nouns = _nouns_in(encoder, subjects, first_column)
        text = without_marks(encoder.text)
        for noun in nouns:
            counts[noun.label] = counts.get(noun.label) or count_before(text, noun)
        relations = relations or relations_in(text, nouns)
    return tuple(
        replace(s, count=counts.get(s.label, 0), relations=relations.get(s.label, ())) for s in subjects
    )


def _nouns_in(
    encoder: EncoderTokens, subjects: Sequence[SubjectColumns], first_column: int
) -> list[NounInText]:
    """The wanted subjects that this encoder's text has, in its order."""
    found = []
    for subject in subjects:
        at = _characters(encoder, subject.noun, first_column)
        if at and subject.phrase.role == "wanted":
            found.append(NounInText(subject.label, *at, subject.phrase.modifiers))
    return sorted(found, key=lambda noun: noun.start)


def _characters(
    encoder: EncoderTokens, noun: Mapping[str, tuple[int, ...]], first_column: int
) -> tuple[int, int] | None:
    """First character of the noun, and the one behind it."""
    columns = {column - first_column for column in noun.get(encoder.name, ())}
    pieces = [piece for piece in encoder.pieces if piece.column in columns]
    if not pieces:
        return None
    return min(piece.start for piece in pieces), max(piece.stop for piece in pieces)
