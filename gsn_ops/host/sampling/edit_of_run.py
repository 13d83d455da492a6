"""The edits of one run: the words they act on, in which passes they are due, and what they change there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...maps import block_range
from ...modulate.edits import Edit, PromptReinjection, TextTemperature, WordWeights
from ...modulate.taca import gamma_at
from ...modulate.word_weights import factors
from ...prompt import SubjectColumns, SubjectPhrase
from ...report.book import ReportBook
from ...schedule import WINDOW_SLACK, Schedule
from ...subjects.resolve import resolve_with_notes
from ..architectures.family import ModelFamily
from ..attention.entry import Entry
from ..attention.modulate import TextEdit


@dataclass(frozen=True)
class AttachedEdit:
    """An edit on a model, the book for its reports, how its node is told what happened, and remarks on its
    settings.
    """

    edit: Edit
    book: ReportBook
    on_status: Callable[[str], None] | None = None
    notes: tuple[str, ...] = ()


class EditOfRun:
    """One edit in one run. steps: those in its window. passes: changed so far."""

    outside = "no sampling step lies in its window: widen start_percent and end_percent"

    def __init__(self, edit: Edit, entries: Sequence[Entry], schedule: Schedule):
        self.edit = edit
        self.steps = tuple(range(schedule.n_steps))
        self.notes: list[str] = []
        self.passes = 0

    def is_due(self, sigma: Tensor) -> bool:
        """Whether a pass at this noise level [B] is in its window."""
        return True

    def change(self, entry: int) -> TextEdit | None:
        """What changes in the attention to this entry; None = nothing."""
        return None

    def describe(self) -> str:
        """What it does in this run, in a few words."""
        return self.edit.describe()

    def subjects(self, entry: int) -> tuple[SubjectColumns, ...]:
        """The words of this entry that it acts on."""
        return ()

    def columns(self, entry: int) -> dict[str, list[int]]:
        """{label: columns of all words of the phrase, of every encoder}."""
        return {
            subject.label: sorted({c for own in subject.columns("phrase").values() for c in own})
            for subject in self.subjects(entry)
        }


class WordsOfRun(EditOfRun):
    """Weighted words, looked up in every entry."""

    def __init__(self, edit: WordWeights, entries: Sequence[Entry], schedule: Schedule):
        super().__init__(edit, entries, schedule)
        self.weights = edit
        self.found, self.notes = find_words(edit.weights, entries)
        self.high, self.low = schedule.percent_to_sigma(edit.start), schedule.percent_to_sigma(edit.end)
        self.steps = schedule.window(edit.start, edit.end)

    def is_due(self, sigma: Tensor) -> bool:
        if (self.weights.start, self.weights.end) == (0, 1):  # reading the sigma would wait for the device
            return True
        level, slack = float(sigma.max()), 1 + WINDOW_SLACK
        return self.low <= level * slack and level <= self.high * slack

    def change(self, entry: int) -> TextEdit | None:
        settings, columns, changes = self.weights, [], []
        weight_of = {subject.label: weight for subject, weight in self.found[entry]}
        for label, own in self.columns(entry).items():
            columns += own
            changes += [factors(weight_of[label], settings.kappa)] * len(own)
        if not columns:
            return None
        a, g = zip(*changes)
        return TextEdit(tuple(columns), a, g, block_range(settings.blocks), settings.text_rows)

    def subjects(self, entry: int) -> tuple[SubjectColumns, ...]:
        return tuple(subject for subject, _ in self.found[entry])


class TemperatureOfRun(EditOfRun):
    """Text scores of all prompts of the positive conditioning, at the highest noise."""

    outside = "no sampling step has so high a noise level: lower threshold"

    def __init__(self, edit: TextTemperature, entries: Sequence[Entry], schedule: Schedule):
        super().__init__(edit, entries, schedule)
        self.settings = edit
        self.steps = tuple(k for k, sigma in enumerate(schedule.sigmas[:-1]) if self._gamma(sigma) != 1)

    def _gamma(self, sigma: float) -> float:
        return gamma_at(sigma * (1 + WINDOW_SLACK / 10), self.settings.gamma, self.settings.threshold)

    def is_due(self, sigma: Tensor) -> bool:
        return self._gamma(float(sigma.max())) != 1

    def change(self, entry: int) -> TextEdit | None:
        return TextEdit(gamma=self.settings.gamma)


class ReinjectionOfRun(EditOfRun):
    """Features of the text, in every pass and for every prompt of it."""

    def __init__(self, edit: PromptReinjection, entries: Sequence[Entry], schedule: Schedule):
        super().__init__(edit, entries, schedule)
        self.settings = edit
        self.blocks = 0  # changed in one pass


OF_RUN: dict[type[Edit], Callable[..., EditOfRun]] = {
    WordWeights: WordsOfRun,
    TextTemperature: TemperatureOfRun,
    PromptReinjection: ReinjectionOfRun,
}


def check_family(edit: Edit, family: ModelFamily) -> None:
    """Raises ValueError that says why an edit cannot work on a model of this family."""
    if isinstance(edit, TextTemperature) and family.cross:
        raise ValueError(
            f"{edit.method} strengthens the text against the image in joint attention, and {family.name} "
            "reads its text by cross-attention, where there is nothing to balance. Use Word Weight, or "
            "another method."
        )
    if isinstance(edit, PromptReinjection) and family.text_stream is None:
        reason = "the blocks through which its text goes are not known to this pack"
        if family.cross:
            reason = "it reads its text by cross-attention: the text is the same before every block"
        raise ValueError(f"{edit.method} cannot work on {family.name}: {reason}. Use another method.")


Weighted = tuple[tuple[SubjectColumns, float], ...]


def find_words(
    weights: Sequence[tuple[SubjectPhrase, float]], entries: Sequence[Entry]
) -> tuple[list[Weighted], list[str]]:
    """Weighted words in each of these entries, and remarks.

    Raises ValueError, with the prompt's words, for a word that is in none of them.
    """
    found: list[Weighted] = []
    notes: list[str] = []
    missing: dict[SubjectPhrase, ValueError] = {}
    seen: set[SubjectPhrase] = set()
    for entry in entries:
        present = []
        for phrase, weight in weights:
            try:
                resolve_with_notes([phrase], entry.tokens)
            except ValueError as error:
                missing.setdefault(phrase, error)
            else:
                present.append((phrase, weight))
                seen.add(phrase)
        subjects, remarks = resolve_with_notes([phrase for phrase, _ in present], entry.tokens)
        notes += remarks
        weight_of = dict(present)
        found.append(tuple((subject, weight_of[subject.phrase]) for subject in subjects))
    for phrase, error in missing.items():
        if phrase not in seen:
            raise error
    return found, notes
