"""Gradient steps on the latent at many sampling steps: the loops of Attend-and-Excite and its descendants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, StepContext
from ..objectives.attend_and_excite import Presence
from ..objectives.base import Objective
from ..prompt import SubjectColumns
from ..schedule import Moment, Schedule, step_size
from .descent import Descent
from .recipe import (
    NO_EXTRA_INPUTS,
    ActiveSteps,
    ExtraInputs,
    MapsOf,
    OnEvaluation,
    Priority,
    Recipe,
    StepResult,
    Worker,
)
from .setting import precision_setting, setting, share_of_run

PUBLISHED_END = 0.5
"""The end of the window of most published methods, as a share of the noise schedule."""


@dataclass(frozen=True)
class StepSize:
    """a in z <- z - a dL/dz at one step.

    function: how `factor` changes over the run, see schedule.step_size (start and end are its range); or
    "noise" = factor sigma / c (LMD: sqrt(1 - abar) eta), or "x" = factor (sigma / c)^2, which is x <- x -
    factor sigma^2 dL/dx (layout guidance).
    """

    factor: float = setting(
        20.0,
        at_least=0,
        finite=True,
        key="scale_factor",
        cure="choose 0 (off) or more; 20 is the published number",
    )
    start: float = 1.0
    end: float = 0.5
    function: str = "sqrt"

    def at(self, context: StepContext) -> float:
        """a at this step."""
        if self.function == "noise":
            return self.factor * context.sigma / context.c
        if self.function == "x":
            return self.factor * (context.sigma / context.c) ** 2
        return step_size(*context.position, self.factor, self.start, self.end, self.function)


@dataclass(frozen=True)
class Checkpoint:
    """A step at which an image is refined.

    Until its weakest subject reaches `threshold`; None = max_rounds times, without a test. times: this
    checkpoint has so many times max_rounds updates.
    """

    moment: Moment
    threshold: float | None
    times: int = 1


@dataclass(frozen=True)
class InnerLoop:
    """Several updates per step while the loss was too high: `rounds` updates in the steps up to
    `until_percent`.

    threshold: the objective's own test. carried: the last step's test decides whether this one starts (LMD).
    """

    until_percent: float
    rounds: int
    threshold: float
    carried: bool = False


@dataclass(frozen=True, kw_only=True)
class Guide(Recipe):
    """Gradient steps at many sampling steps (Attend-and-Excite, SynGen, Divide & Bind, the layout methods
    ...).

    start_percent ... end_percent: the window of per-step updates (0.5 = the first half of the noise schedule;
    an empty one leaves only the checkpoints). checkpoints, max_rounds: refinement at single steps.
    refinement: its objective, if it is not that of the per-step updates (InitNO+); both see one memory.
    inner_loops: replaces the one update per step.
    """

    method: str = "Attention Guidance"
    objective: Objective = field(default_factory=Presence)
    start_percent: float = share_of_run(0.0)
    end_percent: float = share_of_run(0.5)
    step_size: StepSize = StepSize()
    checkpoints: tuple[Checkpoint, ...] = ()
    max_rounds: int = setting(
        20, at_least=0, cure="choose 0 (no refinement) or more; 20 is the published number"
    )
    refinement: Objective | None = None
    inner_loops: tuple[InnerLoop, ...] = ()
    precision: str = precision_setting()

    priority = Priority.GUIDANCE
    compares = True

    @property
    def disabled(self) -> bool:
        return self.step_size.factor == 0 or (self.start_percent >= self.end_percent and not self.checkpoints)

    def scaled(self, strength: float) -> Guide:
        return replace(self, step_size=replace(self.step_size, factor=self.step_size.factor * strength))

    def window(self, schedule: Schedule) -> tuple[int, ...]:
        """The steps of the window. It starts at the step nearest to its start, where a refinement there
        acts.

        In a flow model's run of few steps, the published window ends at the published ratio of noise to
        image: half of such a schedule is a step later.
        """
        if self.start_percent >= self.end_percent:
            return ()
        steps = schedule.window(self.start_percent, self.end_percent)
        if schedule.is_few and schedule.flow and self.end_percent <= PUBLISHED_END:
            steps = tuple(step for step in steps if step in schedule.published_window())
        first = schedule.find(Moment(percent=self.start_percent)).step
        if not steps or first is None:
            return steps
        return (*range(first, steps[0]), *steps)

    def checkpoints_at(self, schedule: Schedule) -> dict[int, Checkpoint]:
        """Step -> its checkpoint."""
        found = [(schedule.find(c.moment).step, c) for c in self.checkpoints]
        return {step: c for step, c in found if step is not None}

    def inner_loops_at(self, schedule: Schedule) -> dict[int, InnerLoop]:
        """Step -> its inner loop: the first of the list whose end is not passed."""
        found: dict[int, InnerLoop] = {}
        window = self.window(schedule)
        for loop in self.inner_loops:
            last = max(schedule.window(0.0, loop.until_percent), default=-1)
            for step in window:
                if step <= last:
                    found.setdefault(step, loop)
        return found

    def active_steps(self, schedule: Schedule) -> ActiveSteps:
        inner_loops = self.inner_loops_at(schedule)
        updates = {step: loop.rounds for step, loop in inner_loops.items()}
        if not self.inner_loops:
            updates = dict.fromkeys(self.window(schedule), 1)
        checkpoints, tests = self.checkpoints_at(schedule), 0
        for step, checkpoint in checkpoints.items():
            if checkpoint.threshold is not None and self.max_rounds:
                tests += step not in updates or self.refinement is not None
            updates[step] = updates.get(step, 0) + checkpoint.times * self.max_rounds
        reason = "" if updates else self._no_step(schedule)
        notes = dict.fromkeys(schedule.find(c.moment).note for c in self.checkpoints)
        note = "; ".join(filter(None, notes))
        return ActiveSteps(tuple(sorted(updates)), updates, reason, note, tests=tests)

    def start(self, schedule: Schedule, seed: int = 0) -> GuideWorker:
        return GuideWorker(self, schedule)

    def _no_step(self, schedule: Schedule) -> str:
        """Why this recipe has no step in the run."""
        if self.start_percent >= self.end_percent and self.checkpoints:
            return schedule.find(self.checkpoints[0].moment).reason
        start, end = (f"{100 * share:.3g}%" for share in (self.start_percent, self.end_percent))
        return f"no step of this run lies between {start} and {end} of the noise schedule: widen the window"


class GuideWorker(Worker):
    """A Guide in one run. It carries the last step's maps, the objective's memory and the last test."""

    def __init__(self, recipe: Guide, schedule: Schedule):
        self.recipe = recipe
        self.window = set(recipe.window(schedule))
        self.checkpoints = recipe.checkpoints_at(schedule)
        self.inner_loops = recipe.inner_loops_at(schedule)
        self.previous: AttentionMaps | None = None
        self.memory: dict[str, Tensor] = {}
        self.lacking: Tensor | None = None

    def snapshot(self) -> tuple[AttentionMaps | None, dict[str, Tensor], Tensor | None]:
        return self.previous, dict(self.memory), self.lacking

    def restore(self, snapshot: tuple[AttentionMaps | None, dict[str, Tensor], Tensor | None]) -> None:
        self.previous, memory, self.lacking = snapshot
        self.memory = dict(memory)

    def __call__(
        self,
        z: Tensor,
        maps_of: MapsOf,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_evaluation: OnEvaluation,
        extra: ExtraInputs = NO_EXTRA_INPUTS,
    ) -> StepResult | None:
        context = replace(context, previous=self.previous, memory=self.memory)
        descent = Descent(z, maps_of, self.recipe.objective, subjects, context, on_evaluation)
        loop = self.inner_loops.get(context.index)
        result = self._guide(descent) if loop is None else self._descend(descent, loop)
        if result is not None and result.maps is not None:
            # Rows of self-attention would keep the graph's queries and keys.
            self.previous = replace(result.maps, self_rows={})
        return result

    def _guide(self, descent: Descent) -> StepResult:
        context, recipe = descent.context, self.recipe
        size, in_window = recipe.step_size.at(context), context.index in self.window
        checkpoint = self.checkpoints.get(context.index)
        if checkpoint is None:
            return guide(descent, size, in_window=in_window)
        rounds, threshold = checkpoint.times * recipe.max_rounds, checkpoint.threshold
        if recipe.refinement is None:
            return guide(descent, size, in_window=in_window, max_rounds=rounds, threshold=threshold)
        descent.objective = recipe.refinement
        refined = guide(descent, size, in_window=False, max_rounds=rounds, threshold=threshold)
        if not in_window:
            return refined
        descent.objective = recipe.objective
        descent.evaluate(descent.everyone)
        descent.update(size, descent.everyone)
        assert refined.rounds is not None, "guide counts them"
        return descent.result(refined.rounds, refined.guided, refined.success)

    def _descend(self, descent: Descent, loop: InnerLoop) -> StepResult | None:
        result, self.lacking = descend(
            descent,
            self.recipe.step_size.at(descent.context),
            max_rounds=loop.rounds,
            threshold=loop.threshold,
            before=self.lacking if loop.carried else None,
        )
        return result


def guide(
    descent: Descent,
    step_size: float,
    *,
    in_window: bool,
    max_rounds: int = 0,
    threshold: float | None = None,
) -> StepResult:
    """One sampling step of the Attend-and-Excite family (SIGGRAPH 2023, algorithm 1, in its code's order).

    At a checkpoint (max_rounds > 0), images that lack something are refined: each iteration updates, then
    tests the loss from before that update, so the one that satisfies the threshold still moves. threshold
    None: max_rounds iterations without a test (CONFORM). The per-step update follows, in the window only. The
    first iteration reuses the entry's evaluation, which the published code repeats at the same z. An image
    without an update (loss 0, nothing finite) is where it was, so its iterations end.
    """
    descent.evaluate(descent.everyone)
    rounds = torch.zeros_like(descent.updates)
    guided = success = None
    if max_rounds:
        guided = active = descent.lack(threshold)
        for n in range(max_rounds):
            if not active.any():
                break
            if n:
                descent.evaluate(active)
            moved = descent.update(step_size, active)
            rounds = rounds + active.long()
            active = moved & descent.lack(threshold)
        unseen = (descent.updates > 0) & ~descent.non_finite
        if unseen.any() and (in_window or threshold is not None):
            descent.evaluate(unseen)
        if threshold is None:
            guided = None
        else:
            success = guided & ~descent.non_finite & ~descent.lack(threshold)
    if in_window:
        descent.update(step_size, descent.everyone)
    return descent.result(rounds, guided, success)


def descend(
    descent: Descent, step_size: float, *, max_rounds: int, threshold: float, before: Tensor | None = None
) -> tuple[StepResult | None, Tensor]:
    """One sampling step of the layout methods: up to max_rounds updates while the loss of the last one was
    too high.

    before: [B] bool, did the last evaluation (of an earlier step) still lack something? None = the first
    update is always made (layout guidance, R&B); LMD carries it from step to step. Also returns the new
    state, in which an image that was not finite is tried again. No image active: no forward pass.
    """
    active = descent.everyone if before is None else before
    rounds = torch.zeros_like(descent.updates)
    for _ in range(max_rounds):
        if not active.any():
            break
        descent.evaluate(active)
        moved = descent.update(step_size, active)
        rounds = rounds + active.long()
        active = moved & descent.lack(threshold)
    result = descent.result(rounds) if descent.losses else None
    return result, active | descent.non_finite
