"""The edits of one run: the words they act on, in which passes they are due, and what they change there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...maps import block_range
from ...modulate.edits import Edit, FlippedNegative, PromptReinjection, TextTemperature, WordWeights
from ...modulate.taca import gamma_at
from ...modulate.word_weights import factors
from ...prompt import SubjectColumns, SubjectPhrase
from ...report.book import ReportBook
from ...report.run_report import StepReport
from ...schedule import WINDOW_SLACK, Schedule
from ...subjects.resolve import resolve_with_notes
from ..architectures.family import ModelFamily
from ..attention.edited_prompt import TextEdit
from ..attention.entry import Entry
from ..attention.look import Look
from ..rotations import load_rotations

NOTHING_TO_BALANCE = (
    "it strengthens the text against the image in joint attention, and this model reads its text by "
    "cross-attention: choose Word boost, or another method"
)
SAME_TEXT = (
    "it changes the text between blocks, and this model reads its text by cross-attention, the same before "
    "every block: choose Word boost, or another method"
)
UNKNOWN_BLOCKS = (
    "the blocks through which the text of this model goes are not known to this pack: choose Word boost, or "
    "another method"
)


@dataclass(frozen=True)
class AttachedEdit:
    """An edit on a model, the book for its reports, how its node is told what happened, and remarks on its
    settings.
    """

    edit: Edit
    book: ReportBook
    on_status: Callable[[str], None] | None = None
    notes: tuple[str, ...] = ()


class Window:
    """A part of a run. steps: those in it."""

    def __init__(self, schedule: Schedule, start: float, end: float):
        self.high, self.low = schedule.percent_to_sigma(start), schedule.percent_to_sigma(end)
        self.whole = (start, end) == (0, 1)
        self.steps = schedule.window(start, end)

    def has(self, sigma: Tensor) -> bool:
        """Whether a noise level [B] is in it."""
        if self.whole:  # reading the sigma would wait for the device
            return True
        level, slack = float(sigma.max()), 1 + WINDOW_SLACK
        return self.low <= level * slack and level <= self.high * slack


class EditOfRun:
    """One edit in one run. steps: those in its window. passes: changed so far."""

    outside = "no sampling step lies in its window: widen start_percent and end_percent"

    def __init__(self, edit: Edit, entries: Sequence[Entry], schedule: Schedule, family: ModelFamily) -> None:
        self.edit = edit
        self.steps = tuple(range(schedule.n_steps))
        self.notes: list[str] = []
        self.passes = 0

    def is_due(self, sigma: Tensor) -> bool:
        """Whether a pass at this noise level [B] is in its window."""
        return True

    @property
    def acts(self) -> bool:
        """Whether the passes that are due are changed."""
        return True

    def change(self, entry: int) -> TextEdit | None:
        """What changes in the attention to this entry; None = nothing."""
        return None

    def appended(self) -> Tensor | None:
        """Rows [N, C] that the text of a pass gets behind its own; None = none."""
        return None

    def look(
        self, entry: int, network: torch.nn.Module, layout: AttentionLayout, repeats: int
    ) -> Look | None:
        """What reads the attention to this entry in the pass that is about to be made; None = nothing."""
        return None

    def see(self, entry: int, look: Look) -> None:
        """What a look has read, after its pass."""

    def describe(self) -> str:
        """What it did, in a few words."""
        return self.edit.describe()

    def step_reports(self) -> tuple[StepReport, ...]:
        """What was read at single steps."""
        return ()

    def reason(self) -> str | None:
        """Why it changed nothing; "" if that is as it should be, None if it does not know."""
        return None

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

    def __init__(
        self, edit: WordWeights, entries: Sequence[Entry], schedule: Schedule, family: ModelFamily
    ) -> None:
        super().__init__(edit, entries, schedule, family)
        self.weights = edit
        self.found, self.notes = find_words(edit.weights, entries)
        self.window = Window(schedule, edit.start, edit.end)
        self.steps = self.window.steps

    def is_due(self, sigma: Tensor) -> bool:
        return self.window.has(sigma)

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
    """Text scores of all prompts of the positive conditioning, at the highest noise. None is due on a model
    that reads its text by cross-attention.
    """

    outside = "no sampling step has so high a noise level: lower threshold"

    def __init__(
        self, edit: TextTemperature, entries: Sequence[Entry], schedule: Schedule, family: ModelFamily
    ) -> None:
        super().__init__(edit, entries, schedule, family)
        self.settings = edit
        self.steps = tuple(k for k, sigma in enumerate(schedule.sigmas[:-1]) if self._gamma(sigma) != 1)
        self.joint = not family.cross
        if not self.joint:
            self.steps, self.outside = (), NOTHING_TO_BALANCE

    def _gamma(self, sigma: float) -> float:
        return gamma_at(sigma * (1 + WINDOW_SLACK / 10), self.settings.gamma, self.settings.threshold)

    def is_due(self, sigma: Tensor) -> bool:
        return self.joint and self._gamma(float(sigma.max())) != 1

    def change(self, entry: int) -> TextEdit | None:
        return TextEdit(gamma=self.settings.gamma)


class FlippedOfRun(EditOfRun):
    """A negative prompt's rows behind those of every prompt of the positive conditioning."""

    def __init__(
        self, edit: FlippedNegative, entries: Sequence[Entry], schedule: Schedule, family: ModelFamily
    ) -> None:
        super().__init__(edit, entries, schedule, family)
        self.settings = edit
        self.window = Window(schedule, edit.start, edit.end)
        self.steps = self.window.steps

    def is_due(self, sigma: Tensor) -> bool:
        return self.window.has(sigma)

    def appended(self) -> Tensor:
        return self.settings.rows

    def change(self, entry: int) -> TextEdit | None:
        n, settings = len(self.settings.rows), self.settings
        factors = (math.exp(-settings.beta),) * n, (-settings.alpha,) * n
        return TextEdit(tuple(range(n)), *factors, appended=True)


class ReinjectionOfRun(EditOfRun):
    """Features of the text, in every pass and for every prompt of it, on models whose text goes from block to
    block.
    """

    def __init__(
        self, edit: PromptReinjection, entries: Sequence[Entry], schedule: Schedule, family: ModelFamily
    ) -> None:
        super().__init__(edit, entries, schedule, family)
        self.settings = edit
        self.blocks = 0  # changed in one pass
        self.rotations = load_rotations(edit.file) if edit.form == "aligned" else {}
        if family.text_stream is None:
            self.steps, self.outside = (), SAME_TEXT if family.cross else UNKNOWN_BLOCKS

    def is_due(self, sigma: Tensor) -> bool:
        return bool(self.steps)


def check_family(edit: Edit, family: ModelFamily) -> None:
    """Raises ValueError that says why an edit that has a node of its own cannot work on this family."""
    if isinstance(edit, FlippedNegative) and not family.longer_text:
        reason = "its text is changed on its way" if family.cross else "its text and image attend together"
        raise ValueError(
            f"{edit.method} needs cross-attention to the text as it was encoded, and {family.name} has none: "
            f"{reason}. Use Word Weight with a weight below 0 for words of the prompt."
        )


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
