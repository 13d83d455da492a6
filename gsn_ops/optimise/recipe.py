"""The contract of a recipe: when it acts in a run, and what its worker does at a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from ..cost import UPDATE
from ..maps import AttentionMaps, StepContext
from ..objectives.base import Objective
from ..prompt import SubjectColumns, SubjectPhrase
from ..schedule import Moment, Schedule
from .setting import setting, settings_of

MapsOf = Callable[[Tensor], AttentionMaps]
"""maps_of(z): the attention maps at z [B, ...], with gradients; one forward pass."""

OnEvaluation = Callable[[int], None]
"""on_evaluation(j) is called before evaluation j; it may raise to cancel."""

REPORT_PASSES = 2
"""Passes without gradients of a report with maps and images, before and after."""

AnyRecipe = TypeVar("AnyRecipe", bound="Recipe")
AnySingleStep = TypeVar("AnySingleStep", bound="SingleStepRecipe")


class Priority(IntEnum):
    """The order of recipes that act at the same step; recipes of one priority keep the order of the nodes."""

    NOISE = 0
    SAGA = 1
    REFINEMENT = 2
    GUIDANCE = 3
    VELOCITY = 4


@dataclass(frozen=True)
class ActiveSteps:
    """The steps of one run at which a recipe acts; () = none, for `reason`. updates: step -> at most so
    many. note: how far off the wanted noise level they are, if that is much. levels: step -> the noise level
    at which the attention is read, between the call before and this step's, whose state gets the update.
    tests: evaluations that no update follows.
    """

    steps: tuple[int, ...]
    updates: dict[int, int] = field(default_factory=dict)
    reason: str = ""
    note: str = ""
    levels: dict[int, float] = field(default_factory=dict)
    tests: int = 0

    def where(self) -> str:
        """The steps in words: "step 2", "steps 0 to 24", "between steps 1 and 2"."""
        return where(self.steps[0], self.steps[-1], self.levels)


def where(first: int, last: int, levels: Collection[int] = ()) -> str:
    """Steps in words; levels: those whose state gets what was read before it."""
    if first != last:
        return f"steps {first} to {last}"
    return f"between steps {first - 1} and {first}" if first in levels else f"step {first}"


@dataclass(frozen=True)
class ExtraInputs:
    """What a worker gets besides the state, if its recipe names it in `extra_inputs`.

    initial_noise: the run's own noise [B, ...], unit variance.
    predicted_x0: the x0 [B, ...] that a reference trajectory predicts at the step before; None at step 0.
    lacking: bool [B], the images in which a look at an earlier pass found that something is missing; None =
    there was no look.
    """

    initial_noise: Tensor | None = None
    predicted_x0: Tensor | None = None
    lacking: Tensor | None = None


NO_EXTRA_INPUTS = ExtraInputs()


@dataclass(frozen=True)
class StepResult:
    """The result of one step for a batch; every tensor is on the device of z.

    z: [B, ...] float32. losses: [evaluations, B], each before its update; NaN for an image that was not
    concerned. updates: [B], how many are in z. maxima: [B, k] highest attention per subject at the first
    evaluation. non_finite: [B], True = a loss or gradient was not finite and z is the last good one. needed:
    [B], False = every subject was present at the first evaluation (Refine with only_if_needed). guided,
    success: [B], at a checkpoint: was the image refined, and did that reach the threshold? rounds: [B] its
    updates. maps: of the last evaluation, detached (guidance: the next step's objective may read them).
    maxima_after: [B, k] as maxima, at each image's last evaluation. passes: backward passes, if not one per
    row of losses. velocity_term: [B, ...], added to the velocity of this step (recipes that modify the
    prediction).
    """

    z: Tensor
    losses: Tensor
    updates: Tensor
    maxima: Tensor
    non_finite: Tensor
    needed: Tensor | None = None
    guided: Tensor | None = None
    success: Tensor | None = None
    rounds: Tensor | None = None
    maps: AttentionMaps | None = None
    maxima_after: Tensor | None = None
    passes: int | None = None
    velocity_term: Tensor | None = None


class Worker(ABC):
    """A recipe in one run, called once per active step. What it carries from step to step is in its
    snapshot.
    """

    @abstractmethod
    def __call__(
        self,
        z: Tensor,
        maps_of: MapsOf,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_evaluation: OnEvaluation,
        extra: ExtraInputs = NO_EXTRA_INPUTS,
    ) -> StepResult | None:
        """One step at z [B, ...] (the network's input space), which is not changed. None = nothing
        evaluated.
        """

    def snapshot(self) -> Any:
        """What the worker carries to the next step; `restore` undoes a step that failed."""
        return None

    def restore(self, snapshot: Any) -> None:  # noqa: B027  (most workers carry nothing)
        """Back to a snapshot."""


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """What a node attaches to a model: an objective, and when and how the latent is moved by its gradient.

    method: the name shown to users. objective: the loss. report: "full" adds maps and predicted images before
    and after (two passes without gradients), "curve" keeps what the updates give anyway. subjects: typed on
    the node; empty = those on the conditioning, else found in the prompt. strict: no step to act at is an
    error (the KSampler form) instead of a line in the report (a model patch). precision: of the passes with
    gradients; recipes that allow bfloat16 products make it a setting.
    """

    method: str
    objective: Objective
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    precision: str = "full"

    priority: ClassVar[Priority]
    modifies_prediction: ClassVar[bool] = False
    """The worker returns a velocity term at every call of the model, and leaves the latent alone."""
    starts_from_new_noise: ClassVar[bool] = False
    """The latent is replaced: there is no use in a run that starts from an image."""
    compares: ClassVar[bool] = False
    """The objective gets the maps of the last step (`StepContext.previous`)."""
    extra_inputs: ClassVar[frozenset[str]] = frozenset()
    """Fields of `ExtraInputs` that the worker needs."""

    @property
    def evaluations_per_update(self) -> int:
        """Forward passes of one update step, each with a backward one."""
        return 1

    @property
    @abstractmethod
    def disabled(self) -> bool:
        """Whether this recipe does nothing in any run."""

    @abstractmethod
    def scaled(self: AnyRecipe, strength: float) -> AnyRecipe:
        """The recipe with updates of this size (1 = as it is, 0 = disabled)."""

    def for_run(self: AnyRecipe, schedule: Schedule) -> AnyRecipe:
        """The recipe with what depends on a run; most have nothing of the kind."""
        return self

    @abstractmethod
    def active_steps(self, schedule: Schedule) -> ActiveSteps:
        """The steps of this run at which the recipe acts. Raises ValueError for a model that it cannot work
        on.
        """

    @abstractmethod
    def start(self, schedule: Schedule, seed: int = 0) -> Worker:
        """A worker for one run."""

    def most_passes(self, active: ActiveSteps) -> int:
        """Passes of the model that it makes at most at these steps, with those of its report."""
        shown = REPORT_PASSES if self.report == "full" else 0
        evaluations = self.evaluations_per_update * sum(active.updates.values()) + active.tests
        return UPDATE * evaluations + shown

    def check(self) -> None:
        """Raises ValueError that names a setting whose value cannot work, and the cure."""
        for bound in settings_of(self):
            bound.check(bound.get(self))
        start, end = getattr(self, "start_percent", 0.0), getattr(self, "end_percent", 1.0)
        if start > end:
            raise ValueError(
                f"The window is {start:g} to {end:g}: choose start_percent and end_percent between 0 and 1, "
                "start first."
            )


@dataclass(frozen=True, kw_only=True)
class SingleStepRecipe(Recipe):
    """A recipe that makes all its updates at one step.

    moment: the step. shifts: number of updates. learning_rate: their size.
    """

    moment: Moment = Moment()
    shifts: int = setting(
        50, at_least=0, cure="choose 0 (off, a plain run) or more; 50 is the published number"
    )
    learning_rate: float = setting(0.01)

    @property
    def disabled(self) -> bool:
        return self.shifts == 0

    def scaled(self: AnySingleStep, strength: float) -> AnySingleStep:
        if strength == 0:
            return replace(self, shifts=0)
        return replace(self, learning_rate=self.learning_rate * strength)

    def at(self: AnySingleStep, moment: Moment) -> AnySingleStep:
        """The recipe at another step."""
        return replace(self, moment=moment)

    def active_steps(self, schedule: Schedule) -> ActiveSteps:
        found = schedule.find(self.moment)
        if found.step is None:
            return ActiveSteps((), {}, found.reason)
        return ActiveSteps((found.step,), {found.step: self.shifts}, note=found.note)

    def check(self) -> None:
        super().check()
        self.moment.check()


def per_image(flags: Tensor, like: Tensor) -> Tensor:
    """Flags [B] shaped to broadcast over `like` [B, ...]."""
    return flags.view(-1, *[1] * (like.ndim - 1))  # [B, 1, ...]
