"""What one recipe did in one run: collected step by step, then put into a report with its status line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ...objectives.base import has_memory, map_options, with_role
from ...objectives.per_encoder import encoders_read, innermost
from ...optimise.between_calls import NOT_BETWEEN, OWN_STEPS
from ...optimise.overrides import SHARED
from ...optimise.recipe import StepResult, where
from ...optimise.setting import settings_of
from ...prompt import SubjectColumns
from ...regions import Region
from ...report.run_report import RecipeReport, StepReport, count
from ...report.text import counted
from ...report.verdict import courses, cure_first, verdict
from ...subject_maps import maxima
from ..architectures.family import ModelFamily
from ..attention.entry import Entry
from ..attention.foreign_code import ForeignCode
from ..attention.memory_policy import LEVELS, CheckpointPolicy
from .gradient_precision import GradientPrecision
from .matched import MatchedConditioning
from .plan import PlannedRecipe

NO_SLOPE = "the loss has no slope for these subjects, or the update steps are too small"
COMBINE = "prompts with areas or masks, joined by Conditioning (Combine), all are"


@dataclass(frozen=True)
class Evaluation:
    """A complete pass without gradients, on the CPU in float16.

    maps: [B, k, h, w], one per subject. predicted_x0: [B, C, ...], scaled as sampler nodes return latents.
    loss: one per image.
    """

    maps: Tensor
    predicted_x0: Tensor
    loss: tuple[float, ...]


COMPLETE = "nothing was missing"


class RecipeRecord:
    """Collects numbers, small maps and predicted images of one recipe; nothing that refers to the model."""

    def __init__(self, planned: PlannedRecipe, family: ModelFamily, n_steps: int):
        self.planned, self.family, self.n_steps = planned, family, n_steps
        self.entry: Entry | None = None
        self.subjects: tuple[SubjectColumns, ...] = ()
        self.regions: dict[str, Region] = {}
        self.c: float | None = None
        self.steps: list[StepReport] = []
        self.before: Evaluation | None = None
        self.after: Evaluation | None = None
        self.forwards = self.backwards = 0
        self.skipped_images = self.non_finite_images = 0
        self.cut_override = False
        self.other_texts: list[str] = []  # of regions that another node has made
        self.missing = ""
        self.given_up = ""  # why, since a pass could not be read or differentiated
        self.foreign = ForeignCode()

    def begin_step(self, matched: MatchedConditioning, c: float) -> None:
        """The conditioning read at this step; the first one is what is reported."""
        self.entry, self.subjects = self.entry or matched.entry, self.subjects or matched.subjects
        self.regions = self.regions or matched.regions
        self.c = c

    def add_step(self, step: int, sigma: float, result: StepResult, prompts: int = 1) -> None:
        """The result of one step. prompts: read together, a backward pass for each."""
        broken = int(result.non_finite.sum())
        after = () if broken else _rows(result.maxima_after)  # else z is not where the maps are from
        self.steps.append(
            StepReport(
                step,
                sigma,
                losses=_rows(result.losses),
                maxima=_rows(result.maxima),
                updates=_rows(result.updates),
                guided=_rows(result.guided),
                success=_rows(result.success),
                rounds=_rows(None if result.guided is None else result.rounds),
                maxima_after=after,
            )
        )
        self.backwards += prompts * (len(result.losses) if result.passes is None else result.passes)
        self.non_finite_images = max(self.non_finite_images, broken)
        self.skipped_images = 0 if result.needed is None else int((~result.needed).sum())

    @property
    def reason(self) -> str:
        """Why nothing was done, of a recipe that did nothing."""
        reason = self.planned.skip or self.planned.active.reason or self.missing or self.given_up
        return reason or "its step was not reached"

    def report(self, precision: GradientPrecision, policy: CheckpointPolicy) -> RecipeReport:
        """Everything this recipe did, also if that was nothing."""
        method = self.planned.recipe.method
        if not self.steps:
            reason = self.reason
            if reason.startswith(("The ", "This ")):
                reason = reason[0].lower() + reason[1:]
            line = f"Skipped: {cure_first(reason)}"
            return RecipeReport(method, f"{method}: skipped, {reason}", line=line)
        updates = tuple(map(sum, zip(*(s.updates for s in self.steps), strict=True)))
        losses = tuple(row for s in self.steps for row in s.losses)
        backwards = self.backwards + precision.backwards
        last_loss = _last_known(losses) if len(losses) > 1 else None
        last_loss = self.after.loss if self.after else last_loss
        remarks = self._without_effect(losses[0], last_loss, updates) + self._remarks(len(updates))
        words = [
            *self._course(losses[0], last_loss, updates, backwards),
            *remarks,
            *_memory_and_precision(precision, policy),
        ]
        report = RecipeReport(
            method=method,
            status=", ".join(words),
            step=self.steps[0].step,
            sigma=self.steps[0].sigma,
            c=self.c,
            losses=losses,
            updates=updates,
            forwards=self.forwards,
            backwards=backwards,
            maxima_before=self.steps[0].maxima,
            settings=self._settings(),
            subjects=tuple(s.label for s in self.subjects),
            steps=tuple(self.steps),
            counters=count(tuple(self.steps)),
            regions=self.regions or None,
            attention_read=self.family.describe_capture(self.planned.recipe.objective.needs),
        )
        return self._judged(self._with_evaluations(report), remarks)

    @property
    def _nothing_missing(self) -> bool:
        """Whether the first evaluation found every subject in every image, so that nothing was changed."""
        return not any(map(any, (s.updates for s in self.steps))) and self.skipped_images == len(
            self.steps[0].updates
        )

    def _judged(self, report: RecipeReport, remarks: list[str]) -> RecipeReport:
        """The report with its verdict and the line for the node."""
        last = self.steps[-1]
        after = report.maxima_after or last.maxima_after or (last.maxima if len(self.steps) > 1 else ())
        wanted = {subject.label for subject in with_role(self.subjects)}
        found = courses(report.subjects, report.maxima_before, after) if report.maxima_before else []
        said = verdict([c for c in found if c.label in wanted], one_step=len(self.steps) == 1)
        if self._nothing_missing:
            said, remarks = COMPLETE, [remark for remark in remarks if remark != COMPLETE]
        line = ", ".join([said, *remarks] if said else [report.status.partition(": ")[2]])
        return replace(report, verdict=said, line=line)

    def _with_evaluations(self, report: RecipeReport) -> RecipeReport:
        """The report with maps and predictions before and after, where they were evaluated."""
        before, after = self.before, self.after
        if before is not None:
            report = replace(report, maps_before=before.maps, predicted_before=before.predicted_x0)
        if after is not None:
            report = replace(
                report,
                maps_after=after.maps,
                predicted_after=after.predicted_x0,
                maxima_after=_rows(maxima(after.maps.float())),
                loss_after=after.loss,
            )
        return report

    def _settings(self) -> dict[str, float | int | str | bool]:
        """The recipe's own settings, and what its objective reads."""
        recipe = self.planned.recipe
        own = {bound.key: bound.get(recipe) for bound in settings_of(recipe) if len(bound.path) == 1}
        needs = recipe.objective.needs
        blocks = self.family.blocks if needs.blocks == "auto" else needs.blocks
        return {
            **own,
            "levels": ", ".join(map(str, needs.levels or self.family.levels)) or "all",
            "blocks": blocks.replace("_", " ") or "all",
            "objective": type(innermost(recipe.objective)).__name__,
            "encoders": encoders_read(recipe.objective),
        }

    def _course(
        self,
        loss_before: tuple[float, ...],
        loss_after: tuple[float, ...] | None,
        updates: tuple[int, ...],
        backwards: int,
    ) -> list[str]:
        """Where, how many updates, how the loss went, what it cost."""
        first, last = self.steps[0], self.steps[-1]
        sigma = f"{first.sigma:.3g}" + (f" to {last.sigma:.3g}" if first is not last else "")
        place = where(first.step, last.step, self._between)
        made = f"{min(updates)} to {max(updates)} update steps"
        if len(set(updates)) == 1:
            made = counted(updates[0], "update step")
        passes = "pass" if backwards == 1 else "passes"
        return [
            f"{self.planned.recipe.method}: {place} of {self.n_steps} (sigma {sigma})",
            made,
            self._loss(loss_before, loss_after),
            f"{self.forwards} forward and {backwards} backward {passes}",
        ]

    @property
    def _between(self) -> tuple[int, ...]:
        """The steps whose state got what was read at a noise level before it, as planned."""
        levels = self.planned.active.levels
        return tuple(
            s.step for s in self.steps if math.isclose(levels.get(s.step, 0.0), s.sigma, rel_tol=1e-4)
        )

    def _loss(self, before: tuple[float, ...], after: tuple[float, ...] | None) -> str:
        """How the loss went; a loss that compares with the step before has no such term at the first one.

        after: None = it was evaluated once, before the only update step.
        """
        if after is None:
            return f"loss {_mean(before)} before"
        recipe, later = self.planned.recipe, self.steps[1:2]
        if recipe.compares and has_memory(innermost(recipe.objective)) and later and later[0].losses:
            return f"loss {_mean(later[0].losses[0])} -> {_mean(after)} from step {later[0].step} on"
        return f"loss {_mean(before)} -> {_mean(after)}"

    def _without_effect(
        self, before: tuple[float, ...], after: tuple[float, ...] | None, updates: tuple[int, ...]
    ) -> list[str]:
        """Why the update steps brought nothing, where that is so."""
        recipe = self.planned.recipe
        if recipe.modifies_prediction or self.skipped_images or self.non_finite_images:
            return []
        if not any(updates):
            low = not any(before) or not self.backwards
            return ["nothing to do: the loss is low already" if low else "nothing was changed: " + NO_SLOPE]
        if len(self.steps) > 1:
            return []
        words = [] if after is None or _fell(before, after) else ["the loss did not fall"]
        pieces = map_options(recipe.objective).pieces
        shared = any(len(c) > 1 for s in self.subjects for c in s.columns(pieces).values())
        if pieces == "phrase" and shared:
            words.append(SHARED)
        return words

    def _remarks(self, batch: int) -> list[str]:
        """What was out of the ordinary."""
        words = [self.planned.active.note] if self.planned.active.note else []
        if len(self._between) < len(self.planned.active.levels):
            words.append(NOT_BETWEEN.format(OWN_STEPS))
        if self._nothing_missing:
            words.append(COMPLETE)
        elif self.skipped_images:
            words.append(f"{self.skipped_images} of {batch} images left alone, all subjects are present")
        if self.non_finite_images:
            images = counted(self.non_finite_images, "image")
            words.append(
                f"{images} stopped early: the loss or its gradient was not finite, "
                "the last good latent was kept"
            )
        if self.foreign.names:
            words.append(f"these passes leave out {' and '.join(self.foreign.names)}")
        if self.other_texts:
            texts = ", ".join(f"'{text}'" for text in dict.fromkeys(self.other_texts))
            words.append(f"the regions of another node are not nursed: {texts} ({COMBINE})")
        if self.given_up:
            words.append(f"then nothing more: {self.given_up}")
        if self.cut_override:
            words.append("another pack's attention kernel has no gradient and was replaced in these passes")
        return words


def _memory_and_precision(precision: GradientPrecision, policy: CheckpointPolicy) -> list[str]:
    """How the passes were computed, where that was not the usual way."""
    words = []
    if precision.cosine is not None:
        used = "products in bfloat16" if precision.bfloat16 else "full precision"
        words.append(f"{used} (the gradient in bfloat16 agrees to a cosine of {precision.cosine:.5f})")
    return words + ([LEVELS[policy.level]] if policy.level else [])


def _rows(t: Tensor | None) -> tuple:
    """A tensor [n] or [n, m] as plain tuples; () = there is none."""
    if t is None:
        return ()
    return tuple(tuple(row) if isinstance(row, list) else row for row in t.tolist())


def _last_known(losses: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The last loss of each image; one that has stopped has none from then on. NaN = it never had one."""
    known = ([loss for loss in image if math.isfinite(loss)] for image in zip(*losses, strict=True))
    return tuple(image[-1] if image else math.nan for image in known)


def _fell(before: tuple[float, ...], after: tuple[float, ...]) -> bool:
    """Whether the loss of any image fell by 1 % or more; True where that is not known."""
    known = [(a, b) for a, b in zip(before, after, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return not known or any(b < a - 0.01 * abs(a) for a, b in known)


def _mean(values: tuple[float, ...]) -> str:
    known = [v for v in values if math.isfinite(v)]
    return f"{sum(known) / len(known):.3f}" if known else "not finite"
