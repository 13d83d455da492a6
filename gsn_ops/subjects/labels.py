"""Which subjects of a report somebody means, however they are spelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..prompt import SubjectPhrase
from .matching import fold
from .syntax import parse_subjects


def labels_named(typed: str, labels: Sequence[str]) -> list[str]:
    """The labels that a typed list names, in its order; [] for an empty field.

    Spelled as in the subjects field: with or without article and marks, in any case, singular or plural; a
    noun alone names every subject that has it. Raises ValueError that lists the labels.
    """
    exact = {label.casefold(): label for label in labels}
    if typed.strip().casefold() in exact:
        return [exact[typed.strip().casefold()]]
    found: list[str] = []
    for phrase in parse_subjects(typed, any_word=True):
        named = _named(phrase, labels)
        if not named:
            raise ValueError(
                f"There is no subject '{phrase.label}' in this report; its subjects are: {', '.join(labels)}."
            )
        found += named
    return list(dict.fromkeys(found))


def _named(phrase: SubjectPhrase, labels: Sequence[str]) -> list[str]:
    """The labels of a phrase, by the first of these that fits any: all words, or the noun alone."""
    parsed = [(label, one) for label in labels for one in parse_subjects(label, any_word=True)[:1]]
    modifiers = set(map(fold, phrase.modifiers))

    def fits(same: Callable[[str, str], bool], alone: bool) -> list[str]:
        return [
            label
            for label, one in parsed
            if same(fold(one.noun), fold(phrase.noun))
            and (phrase.occurrence == one.occurrence or alone and phrase.occurrence == 1)
            and (alone and not modifiers or set(map(fold, one.modifiers)) == modifiers)
        ]

    for same in (str.__eq__, _same_but_number):
        for alone in (False, True):
            if named := fits(same, alone):
                return named
    return []


def _same_but_number(a: str, b: str) -> bool:
    """Whether two nouns differ by the "s" or "es" of a plural only."""
    return any(a == b + end or b == a + end for end in ("s", "es"))
