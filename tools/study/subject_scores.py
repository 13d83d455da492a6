"""Scores of found subjects against what a person named: precision, recall, prompts without a fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Found = tuple[Sequence[tuple[str, str]], bool]
"""((noun, label) of each subject found, whether the prompt was reported as not English)."""


@dataclass
class Scores:
    """Counts over prompts."""

    prompts: int = 0
    faultless: int = 0
    found: int = 0
    right: int = 0
    core: int = 0
    core_found: int = 0
    refused: int = 0
    faults: list[tuple[str, list[str], list[str], str]] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """(core + acceptable) / found."""
        return self.right / max(self.found, 1)

    @property
    def recall(self) -> float:
        """Core found / core; the first five count."""
        return self.core_found / max(self.core, 1)

    @property
    def fault_free(self) -> float:
        """Share of prompts with nothing wrong and nothing missed."""
        return self.faultless / max(self.prompts, 1)


def score(prompts: Iterable[dict[str, Any]], find: Callable[[str], Found]) -> Scores:
    """Scores of `find` on prompts with the keys prompt, core, acceptable, language.

    A prompt in another language than English is right if it is reported as such; its words do not count then.
    """
    total = Scores()
    for one in prompts:
        subjects, foreign = find(one["prompt"])
        total.prompts += 1
        if foreign and one["language"] not in ("en", False):
            total.refused += 1
            total.faultless += 1
            continue
        wrong, missed = compare(subjects, one["core"], one["acceptable"])
        total.found += len(subjects)
        total.right += len(subjects) - len(wrong)
        total.core += len(one["core"])
        total.core_found += len(one["core"]) - len(missed)
        total.faultless += not wrong and not missed
        if wrong or missed:
            total.faults.append((one["id"], wrong, missed, one["prompt"]))
    return total


def compare(
    subjects: Sequence[tuple[str, str]], core: Sequence[str], acceptable: Sequence[str]
) -> tuple[list[str], list[str]]:
    """(labels that nobody named, core entries that were not found)."""
    free = list(subjects)
    missed = []
    for entry in core:
        fits = [subject for subject in free if names(subject, entry)]
        fits.sort(key=lambda subject: not _has_all_words(subject, entry))
        if fits:
            free.remove(fits[0])
        else:
            missed.append(entry)
    named = [*core, *acceptable]
    wrong = [label for noun, label in free if not any(names((noun, label), entry) for entry in named)]
    return wrong, missed


def names(subject: tuple[str, str], entry: str) -> bool:
    """Whether the subject's noun is the last word of one of the entry's alternatives, whatever its number."""
    noun = _words(subject[0])[-1:]
    return any(noun == _words(alternative)[-1:] for alternative in entry.split("|"))


def _has_all_words(subject: tuple[str, str], entry: str) -> bool:
    label = set(_words(subject[1]))
    return any(set(_words(alternative)) <= label for alternative in entry.split("|"))


def _words(text: str) -> list[str]:
    words = re.findall(r"[^\W\d_]+", text.lower())
    return [re.sub(r"(?<=[^s])s$", "", word) for word in words]
