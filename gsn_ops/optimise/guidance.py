"""Gradient steps on the latent while sampling: the loops of Attend-and-Excite and its descendants, one sampling step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapOptions, StepContext
from ..objectives.attend_and_excite import Presence
from ..objectives.base import Objective, shortfall
from ..prompt import SubjectColumns, SubjectPhrase
from ..schedule import Moment, Schedule, step_size
from ..subject_maps import subject_maps
from .recipe import ActiveSteps, MapsOf, OnShift, StepResult, per_image


class Descent:
    """z and its evaluations within one sampling step: one forward and one backward per evaluation, one update per gradient.

    An image whose loss or gradient is not finite goes back to its last good z and rests until the next sampling step.
    """

    def __init__(
        self,
        z: Tensor,
        maps_of: Callable[[Tensor], AttentionMaps],
        objective: Objective,
        subjects: Sequence[SubjectColumns],
        context: StepContext,
        on_shift: Callable[[int], None],
    ):
        self.z = self.good = z.detach().float()
        self.maps_of, self.objective, self.subjects, self.context, self.on_shift = (
            maps_of,
            objective,
            subjects,
            context,
            on_shift,
        )
        self.losses: list[Tensor] = []
        self.shifts = self.good_shifts = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        self.everyone = torch.ones(len(z), dtype=torch.bool, device=z.device)
        self.non_finite = ~self.everyone
        self.loss, self.gradient = torch.zeros(len(z), device=z.device), torch.zeros_like(self.z)
        self.maps: AttentionMaps | None = None
        self.maxima: Tensor | None = None  # [B, k] at the first evaluation
        self.maxima_now: Tensor | None = None  # [B, k] at each image's last one

    def evaluate(self, concerned: Tensor) -> None:
        """Loss [B], gradient [B, ...] and maps at z. Images that are not concerned keep the loss and gradient they had."""
        self.on_shift(len(self.losses))
        self.maps = None  # its self-attention would hold the last pass while this one runs
        self.context.memory["active"] = concerned
        leaf = self.z.detach().requires_grad_(True)
        maps = self.maps_of(leaf)
        loss = self.objective(maps, self.subjects, self.context)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        loss, self.maps = loss.detach(), detached(maps)
        self.losses.append(torch.where(concerned, loss, torch.nan))
        self.loss = torch.where(concerned, loss, self.loss)
        self.gradient = torch.where(per_image(concerned, gradient), gradient, self.gradient)
        finite = loss.isfinite() & gradient.isfinite().flatten(1).all(1)
        self._keep(concerned & finite)
        self._go_back(concerned & ~finite)

    def update(self, step_size: float, concerned: Tensor) -> Tensor:
        """z <- z - a dL/dz for the images concerned whose loss is not 0 (METHODS 3.1: no normalisation, no clipping). [B]: who moved."""
        moved = concerned & ~self.non_finite & (self.loss != 0)
        self.z = torch.where(per_image(moved, self.z), self.z - step_size * self.gradient, self.z)
        self.shifts = self.shifts + moved.long()
        return moved

    def lack(self, threshold: float) -> Tensor:
        """[B] bool: must refinement go on, by the objective's own test of the last evaluation?"""
        with torch.no_grad():
            return shortfall(self.objective, self.maps, self.subjects, self.context, threshold, self.loss) > 0

    def result(
        self, rounds: Tensor, guided: Tensor | None = None, success: Tensor | None = None
    ) -> StepResult:
        return StepResult(
            self.z,
            torch.stack(self.losses),
            self.shifts,
            self.maxima,
            self.non_finite,
            None,
            guided,
            success,
            rounds,
            self.maps,
            self.maxima_now,
        )

    def _keep(self, seen: Tensor) -> None:
        """Where these images are is good. Note the highest attention of each subject."""
        self.good = torch.where(per_image(seen, self.z), self.z, self.good)
        self.good_shifts = torch.where(seen, self.shifts, self.good_shifts)
        now = (
            subject_maps(self.maps, self.subjects, getattr(self.objective, "maps", MapOptions()))
            .flatten(2)
            .amax(-1)
        )  # [B, k]
        self.maxima = now if self.maxima is None else self.maxima
        self.maxima_now = now if self.maxima_now is None else torch.where(seen[:, None], now, self.maxima_now)

    def _go_back(self, failed: Tensor) -> None:
        """These images return to their last good z; the update that led away from it does not count."""
        self.non_finite = self.non_finite | failed
        self.z = torch.where(per_image(failed, self.z), self.good, self.z)
        self.shifts = torch.where(failed, self.good_shifts, self.shifts)


def guide(
    descent: Descent,
    step_size: float,
    *,
    in_window: bool,
    threshold: float | None = None,
    exact: bool = False,
    max_rounds: int = 0,
) -> StepResult:
    """One sampling step of the Attend-and-Excite family (SIGGRAPH 2023, algorithm 1, in the exact order of the authors' code).

    At a threshold step, images that lack something are refined: each iteration updates and then tests the loss from before
    that update, so the one that satisfies the threshold still moves; at most max_rounds. exact: max_rounds iterations without
    a test (CONFORM). The per-step update follows, in the window only. The entry's evaluation serves as the first iteration's,
    which the published code repeats at the same z: same numbers, one forward less. An image without an update (loss 0,
    nothing finite) is where it was, so its iterations end.
    """
    descent.evaluate(descent.everyone)
    rounds = torch.zeros_like(descent.shifts)
    guided = success = None
    if max_rounds and (exact or threshold is not None):
        guided = active = descent.everyone if exact else descent.lack(threshold)
        for n in range(max_rounds):
            if not active.any():
                break
            if n:
                descent.evaluate(active)
            moved = descent.update(step_size, active)
            rounds = rounds + active.long()
            active = moved if exact else moved & descent.lack(threshold)
        unseen = (descent.shifts > 0) & ~descent.non_finite
        if unseen.any() and (in_window or not exact):
            descent.evaluate(unseen)
        guided, success = (
            (None, None) if exact else (guided, guided & ~descent.non_finite & ~descent.lack(threshold))
        )
    if in_window:
        descent.update(step_size, descent.everyone)
    return descent.result(rounds, guided, success)


def descend(
    descent: Descent, step_size: float, *, max_rounds: int, threshold: float, before: Tensor | None = None
) -> tuple[StepResult | None, Tensor]:
    """One sampling step of the layout methods: up to max_rounds updates while the loss of the last one was too high.

    before: [B] bool, did the last evaluation (of an earlier step) still lack something? None = the first update is always
    made (layout guidance, R&B); LMD carries it from step to step. Also returns the new state, in which an image that broke is
    tried again. No image active: no forward.
    """
    active = descent.everyone if before is None else before
    rounds = torch.zeros_like(descent.shifts)
    for _ in range(max_rounds):
        if not active.any():
            break
        descent.evaluate(active)
        moved = descent.update(step_size, active)
        rounds = rounds + active.long()
        active = moved & descent.lack(threshold)
    return (descent.result(rounds) if descent.losses else None), active | descent.non_finite


def detached(maps: AttentionMaps) -> AttentionMaps:
    """The maps without their graph, for the next step's objective and for tests of the loss."""
    return replace(
        maps,
        cross={level: a.detach() for level, a in maps.cross.items()},
        heads={level: tuple(a.detach() for a in layers) for level, layers in maps.heads.items()},
    )


@dataclass(frozen=True)
class StepSize:
    """a in z <- z - a dL/dz at one step.

    function: how `factor` changes over the run, see schedule.step_size (start and end are its range); or "noise" =
    factor sigma / c (LMD: sqrt(1 - abar) eta), or "x" = factor (sigma / c)^2, which is x <- x - factor sigma^2 dL/dx (layout guidance).
    """

    factor: float = 20.0
    start: float = 1.0
    end: float = 0.5
    function: str = "sqrt"

    def at(self, context: StepContext) -> float:
        if self.function == "noise":
            return self.factor * context.sigma / context.c
        if self.function == "x":
            return self.factor * (context.sigma / context.c) ** 2
        return step_size(context.index, context.n_steps, self.factor, self.start, self.end, self.function)


@dataclass(frozen=True)
class Checkpoint:
    """A step at which an image is refined until its weakest subject reaches `threshold`; None = max_rounds times, untested."""

    moment: Moment
    threshold: float | None


@dataclass(frozen=True)
class InnerLoop:
    """Several updates per step while the loss was too high: `rounds` updates in the steps up to `until_percent`.

    threshold: the objective's own test. carried: the last step's test decides whether this one starts (LMD).
    """

    until_percent: float
    rounds: int
    threshold: float
    carried: bool = False


@dataclass(frozen=True)
class Guide:
    """Gradient steps at many sampling steps (Attend-and-Excite, SynGen, Divide & Bind, the layout methods ...).

    start_percent ... end_percent: the window of per-step updates (0.5 = the first half of the noise schedule; an empty one
    leaves only the checkpoints). checkpoints, max_rounds: refinement at single steps. inner_loops: replaces the one update per step.
    report, subjects, strict, precision: as in Refine.
    """

    method: str = "Attention Guidance"
    objective: Objective = field(default_factory=Presence)
    start_percent: float = 0.0
    end_percent: float = 0.5
    step_size: StepSize = StepSize()
    checkpoints: tuple[Checkpoint, ...] = ()
    max_rounds: int = 20
    inner_loops: tuple[InnerLoop, ...] = ()
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    precision: str = "auto"
    priority = 3

    @property
    def disabled(self) -> bool:
        return self.step_size.factor == 0 or (self.start_percent >= self.end_percent and not self.checkpoints)

    def scaled(self, strength: float) -> Guide:
        """The recipe with gradient steps of this size (1 = as published, 0 = off)."""
        return replace(self, step_size=replace(self.step_size, factor=self.step_size.factor * strength))

    def window(self, schedule: Schedule) -> tuple[int, ...]:
        """The steps of the window. It begins with the step nearest to its start, where a refinement meant for that moment acts."""
        steps = (
            schedule.window(self.start_percent, self.end_percent)
            if self.start_percent < self.end_percent
            else ()
        )
        first = schedule.find(Moment(percent=self.start_percent)).step
        return steps if not steps or first is None else (*range(first, steps[0]), *steps)

    def checkpoints_at(self, schedule: Schedule) -> dict[int, Checkpoint]:
        found = [(schedule.find(c.moment).step, c) for c in self.checkpoints]
        return {step: c for step, c in found if step is not None}

    def inner_loops_at(self, schedule: Schedule) -> dict[int, InnerLoop]:
        """Step -> its inner_loops: the first of the list whose end is not passed."""
        ends = [
            (max(schedule.window(0.0, loops.until_percent), default=-1), loops) for loops in self.inner_loops
        ]
        return {
            i: next(loops for last, loops in ends if i <= last)
            for i in self.window(schedule)
            if any(i <= last for last, _ in ends)
        }

    def when(self, schedule: Schedule) -> ActiveSteps:
        window, checkpoints, loops = (
            self.window(schedule),
            self.checkpoints_at(schedule),
            self.inner_loops_at(schedule),
        )
        updates = {
            i: loops[i].rounds if i in loops else 1 for i in window if not self.inner_loops or i in loops
        }
        for i in checkpoints:
            updates[i] = updates.get(i, 0) + self.max_rounds
        reason = "" if updates else self._nowhere(schedule)
        return ActiveSteps(tuple(sorted(updates)), updates, reason)

    def start(self, schedule: Schedule, seed: int = 0) -> GuideWork:
        return GuideWork(self, schedule)

    def _nowhere(self, schedule: Schedule) -> str:
        if self.start_percent >= self.end_percent and self.checkpoints:
            return schedule.find(self.checkpoints[0].moment).reason
        start, end = (f"{100 * share:.3g}%" for share in (self.start_percent, self.end_percent))
        return f"no step of this run lies between {start} and {end} of the noise schedule: widen the window"


class GuideWork:
    """A Guide in one run: remembers the last step's maps and tests."""

    def __init__(self, recipe: Guide, schedule: Schedule):
        self.recipe, self.window = recipe, set(recipe.window(schedule))
        self.checkpoints, self.inner_loops = recipe.checkpoints_at(schedule), recipe.inner_loops_at(schedule)
        self.previous: AttentionMaps | None = None
        self.memory: dict[str, Tensor] = {}
        self.lacking: Tensor | None = None

    def __call__(
        self,
        z: Tensor,
        maps_of: MapsOf,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_shift: OnShift,
    ) -> StepResult | None:
        context = replace(context, previous=self.previous, memory=self.memory)
        descent = Descent(z, maps_of, self.recipe.objective, subjects, context, on_shift)
        size = self.recipe.step_size.at(context)
        loops, checkpoint = self.inner_loops.get(context.index), self.checkpoints.get(context.index)
        if loops is not None:
            before = self.lacking if loops.carried else None
            guided, self.lacking = descend(
                descent, size, max_rounds=loops.rounds, threshold=loops.threshold, before=before
            )
        else:
            guided = guide(
                descent,
                size,
                in_window=context.index in self.window,
                max_rounds=self.recipe.max_rounds if checkpoint else 0,
                threshold=checkpoint and checkpoint.threshold,
                exact=checkpoint is not None and checkpoint.threshold is None,
            )
        if guided is not None:
            self.previous = replace(guided.maps, self_rows={})  # they would keep the graph's queries and keys
        return guided
