"""Auto, this pack's own: looks at the attention first, and spends at most a budget on the images that lack
something.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..cost import UPDATE, updates_within
from ..maps import StepContext
from ..modulate.edits import WordBoost
from ..prompt import SubjectColumns
from ..schedule import Moment, Schedule
from .few_steps import moment_of
from .published_methods import FAST, LATENT_REFINE
from .recipe import (
    NO_EXTRA_INPUTS,
    REPORT_PASSES,
    ActiveSteps,
    ExtraInputs,
    MapsOf,
    OnEvaluation,
    Recipe,
    StepResult,
)
from .refine import Refine, RefineWorker
from .setting import setting

AUTO, BUDGET = "Auto", 1.0
REPORT_SHARE = 0.1
"""Maps and images are left out of the report where their passes cost more than this share of the budget."""
LOOK_UNTIL = 0.4
"""Share of the noise schedule up to which passes are looked at."""


@dataclass(frozen=True, kw_only=True)
class Auto(Refine):
    """The fast method behind looks at the run's own passes, which cost nothing, and Word boost.

    budget: at most so many images' time is added (1 = as many passes as the plain image has). gain: of Word
    boost, 0 = none. moved: the moment was chosen by the user or a study; else it depends on the run.
    present_at: an image whose subjects have this attention in a look is left alone.
    """

    method: str = AUTO
    budget: float = setting(
        BUDGET, at_least=0, finite=True, overridable=False, cure="choose 0 (no update steps) or more"
    )
    gain: float = setting(2.0, at_least=0, at_most=20, cure="choose 0 (no Word boost) to 20")
    moved: bool = False

    def scaled(self, strength: float) -> Auto:
        return replace(super().scaled(strength), gain=min(20.0, self.gain * strength))

    def at(self, moment: Moment) -> Auto:
        return replace(self, moment=moment, moved=True)

    def for_run(self, schedule: Schedule) -> Auto:
        """Its moment, its number of update steps and what its report keeps, in this run."""
        moment = self.moment if self.moved else moment_of(schedule)
        plain = schedule.plain_passes
        shown = self.report == "full" and (not plain or REPORT_PASSES <= REPORT_SHARE * self.budget * plain)
        shifts = self.shifts
        if plain:
            shifts = min(shifts, updates_within(self.budget, plain, REPORT_PASSES if shown else 0))
        return replace(self, moment=moment, shifts=shifts, report="full" if shown else "curve")

    def active_steps(self, schedule: Schedule) -> ActiveSteps:
        """Of a recipe that was made `for_run`."""
        if not self.shifts:
            return ActiveSteps(
                (), {}, f"an update step costs {UPDATE} passes, more than the budget: raise budget"
            )
        return super().active_steps(schedule)

    def boost(self, schedule: Schedule, joint: bool) -> WordBoost | None:
        """What looks at the passes of this run, and raises what lacks attention where that helps; None = no
        pass would be any different for it.

        joint: image and text attend together, where Word boost brought nothing (docs/settings.md). Else a
        subject that lacks attention is raised from the pass after the look on.
        """
        looked = schedule.window(0.0, LOOK_UNTIL)
        gain = self.gain if not joint and len(looked) > 1 else 0.0
        steps = self.active_steps(schedule).steps
        before = [step for step in looked if steps and step < steps[0]]
        if not gain and not before:
            return None
        needs = self.objective.needs
        return WordBoost(
            method=self.method,
            gain=gain,
            threshold=self.present_at or 1.0,
            end_percent=LOOK_UNTIL,
            levels=", ".join(map(str, needs.levels or ())) or "auto",
            blocks=needs.blocks,
            encoders=needs.encoders,
            subjects=self.subjects,
        )

    def start(self, schedule: Schedule, seed: int = 0) -> AutoWorker:
        return AutoWorker(self, schedule.from_noise)


class AutoWorker(RefineWorker):
    """An Auto in one run. from_noise: the first state is the initial noise."""

    def __init__(self, recipe: Auto, from_noise: bool):
        super().__init__(recipe)
        self.from_noise = from_noise

    def __call__(
        self,
        z: Tensor,
        maps_of: MapsOf,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_evaluation: OnEvaluation,
        extra: ExtraInputs = NO_EXTRA_INPUTS,
    ) -> StepResult:
        result = super().__call__(z, maps_of, subjects, context, on_evaluation, extra)
        if context.index or not self.from_noise:
            return result
        return replace(result, z=as_long_as(z, result.z))


def as_long_as(noise: Tensor, z: Tensor) -> Tensor:
    """z [B, ...] with the length of each image's noise: an initial noise keeps its statistics."""
    lengths = [t.float().flatten(1).norm(dim=1) for t in (noise, z)]
    ratio = (lengths[0] / lengths[1].clamp(min=1e-12)).view(-1, *[1] * (z.ndim - 1))
    return z * ratio


def auto() -> Auto:
    """The fast method's optimiser, nouns and stop, as `latent_refine_fast`."""
    return Auto(shifts=15, learning_rate=0.05, adaptive="image", max_displacement=1.0, stop_at_presence=0.8)


STEPS_OF = {AUTO: (AUTO, FAST, LATENT_REFINE)}
"""Methods whose chosen step (moments.json) a method takes: the first one that has one."""


def within(recipes: tuple[Recipe, ...], budget: float) -> tuple[Recipe, ...]:
    """The recipes with this budget, of those that have one."""
    return tuple(replace(r, budget=budget) if isinstance(r, Auto) else r for r in recipes)
