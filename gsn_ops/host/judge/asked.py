"""The subjects a judge is asked about: typed, or those of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...prompt import SubjectPhrase
from ...subjects.resolve import choose_subjects
from ...subjects.syntax import SPACY, parse_subjects
from ..prompts.conditioning import KEY, Conditioning
from ..prompts.entry_tokens import read_entry

NO_SUBJECTS = (
    "There are no subjects to look for: type them into subjects, for example red car, bench, or connect the "
    "prompt's conditioning, in whose text they are found."
)
NO_CONDITIONING = "subjects is '{typed}', which needs the prompt's text: connect the prompt's conditioning."
NONE_FOUND = (
    "No subjects were found in the prompt of the conditioning: type them into subjects, for example red car, "
    "bench."
)


def asked_subjects(text: str, conditioning: Conditioning | None = None) -> tuple[SubjectPhrase, ...]:
    """The phrases, each label once.

    Typed ones as they are typed; else those on the conditioning, or found in its text. Raises ValueError
    where there are none.
    """
    typed = parse_subjects(text)
    if typed and typed[0].source != SPACY:
        return _distinct(typed)
    if conditioning is None:
        raise ValueError(NO_CONDITIONING.format(typed=text.strip()) if typed else NO_SUBJECTS)
    found: list[SubjectPhrase] = []
    for rows, extra in conditioning:
        tokens, _ = read_entry(rows, extra.get(KEY))
        found += [subject.phrase for subject in choose_subjects(typed, tokens)[0]]
    if not found:
        raise ValueError(NONE_FOUND)
    return _distinct(found)


def _distinct(phrases: Sequence[SubjectPhrase]) -> tuple[SubjectPhrase, ...]:
    by_label: dict[str, Any] = {phrase.label: phrase for phrase in reversed(phrases)}
    return tuple(reversed(by_label.values()))
