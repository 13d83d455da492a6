"""The looks of Auto at a run's own passes, and its Word boost in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...modulate.edits import WordBoost
from ...report.book import ReportBook
from ...report.run_report import RecipeReport
from ...report.verdict import LENGTH, cure_first
from .boost_of_run import BoostOfRun
from .edit_of_run import AttachedEdit
from .modulated_report import report_of_edit
from .modulated_run import ModulatedRun

ROOM_FOR_COST = 20
"""Letters of the line for what the run did cost."""

PRESENT = "all subjects are present, a plain run"


class AutoLooks:
    """What Auto has seen and raised in one sampler call."""

    def __init__(self, guider: Any, boost: WordBoost, sigmas: Sequence[float], noise: Tensor):
        self._run = ModulatedRun(guider, (AttachedEdit(boost, ReportBook()),), sigmas)
        self._run.attach(noise)
        (edit,) = self._run.edits
        assert isinstance(edit, BoostOfRun)
        self._boost = edit
        self._left_alone = False  # nothing lacked at the step of the updates; later looks may differ
        self._before: Tensor | None = None  # maps [B, k, h, w] of the last look before the update steps

    @property
    def lacking(self) -> Tensor | None:
        """bool [B], the images in which the last look found that something is missing; None = no look yet."""
        return self._boost.lacking_images

    @property
    def all_present(self) -> bool:
        """Whether the last look found every subject in every image."""
        lacking = self.lacking
        return lacking is not None and not bool(lacking.any())

    def begin_step(self) -> bool:
        """The update steps begin: what was seen last is how it was before them. False = the last look found
        every subject in every image, so that none is made.
        """
        self._left_alone = self.all_present
        if not self._left_alone:
            self._before = self._seen()
        return not self._left_alone

    def _seen(self) -> Tensor | None:
        """Maps of the last look, of a run with one prompt."""
        (maps,) = self._boost.maps.values() if len(self._boost.maps) == 1 else (None,)
        return maps

    def _shown(self, made: RecipeReport) -> RecipeReport:
        """The report with maps of looks, which cost nothing, if it has none of its own."""
        last = self._seen()
        if made.maps_before is not None or last is None or last.shape[1] != len(made.subjects):
            return made
        if self._before is None or self._before is last:
            return replace(made, maps_before=last.half().cpu())
        return replace(made, maps_before=self._before.half().cpu(), maps_after=last.half().cpu())

    def report(self, made: RecipeReport, reason: str, planned: bool) -> RecipeReport:
        """The report of the update steps with what the looks found and Word boost did.

        reason: why there are no update steps, if there are none. planned: they were to be made.
        """
        boost = report_of_edit(self._run, self._boost)
        acted = bool(self._boost.passes) and boost.step is not None
        if made.step is not None:
            made = self._shown(made)
            if not acted:
                return made
            did = self._boost.describe()
            short = len(made.line) + len(did) + ROOM_FOR_COST <= LENGTH
            line = f"{made.line}, {did}" if short else made.line
            return replace(made, status=f"{made.status}, {did}", line=line)
        present = self._left_alone or self.all_present
        if acted:
            if present:
                return replace(boost, line=self._boost.describe())
            status = f"{boost.status}, no update steps: {reason}"
            line = f"no update steps: {cure_first(reason)}; {self._boost.describe()}"
            return replace(boost, status=status, line=line)
        if present:
            steps = self._boost.step_reports()
            subjects = tuple(s.label for s in next(iter(self._boost.looked.values())))
            line = f"{made.method}: {PRESENT}"
            found = RecipeReport(
                made.method, line, line=PRESENT, subjects=subjects, steps=steps, maxima_before=steps[0].maxima
            )
            return self._shown(found)
        if not planned and self._boost.is_blind:
            return boost
        return replace(made, line=f"Skipped: {cure_first(reason)}")
