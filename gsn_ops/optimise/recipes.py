"""What to run in a sampling run, as frozen data. A MODEL carries an ordered list of recipes; presets.py holds the papers' numbers.

Every recipe says `when(schedule)` it acts and `start()`s a worker for one run: worker(z, maps_of, subjects, context, on_shift)
is called once at each of its steps. `order` sorts recipes that meet at one step: noise, SAGA, refinement, guidance.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..maps import AttentionMaps, StepContext
from ..objectives import Objective
from ..objectives.cn_iou import PresenceAndSeparation
from ..objectives.presence import Presence
from ..prompt import SubjectColumns, SubjectPhrase
from ..schedule import Moment, Schedule, step_size
from .guidance import Descent, descend, guide
from .initial_noise import OptimiseNoise
from .refine import refine
from .saga import Saga
from .velocity import SteerVelocity
from .when import When
from .work import Worked

MapsOf = Callable[[Tensor], AttentionMaps]
OnShift = Callable[[int], None]


@dataclass(frozen=True)
class Refine:
    """Many Adam shifts at one step (Latent Refine, Grimal et al., IJCAI 2025, section 3).

    moment: the step. shifts: number of updates. learning_rate, eps: Adam's, in the network's input space z; adaptive: its second
    moment per "element" (as published) or per "image". reach: no element of z moves further than this (0 = no bound).
    stop_at_loss: stop an image whose loss is at or below it (0 = never). stop_at_presence: stop one whose subjects all have an
    attention maximum of at least this, at any look (0 = never). only_if_needed: the same at the first look alone, with
    `present_at`. report: "full" adds maps and pictures before and after (two passes without gradients), "curve" only keeps
    what the shifts give anyway.
    subjects: typed on the node; empty = those on the conditioning, else found in the prompt.
    strict: a moment outside the run is an error (the KSampler form) instead of a line in the report (a model patch).
    precision: of the passes with gradients, "auto" (bfloat16 products for a float32 model where that is faster), "full", "bfloat16".
    """

    method: str = "Latent Refine at Step"
    objective: Objective = field(default_factory=PresenceAndSeparation)
    moment: Moment = Moment()
    shifts: int = 50
    learning_rate: float = 0.01
    eps: float = 1e-3
    adaptive: str = "element"
    reach: float = 0.0
    stop_at_loss: float = 0.0
    stop_at_presence: float = 0.0
    only_if_needed: bool = False
    present_at: float = 0.8
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    precision: str = "auto"
    order = 2

    @property
    def off(self) -> bool:
        return self.shifts == 0

    def scaled(self, strength: float) -> Refine:
        """The recipe with shifts of this size (1 = as published, 0 = off)."""
        return replace(self, learning_rate=self.learning_rate * strength) if strength else replace(self, shifts=0)

    def when(self, schedule: Schedule) -> When:
        found = schedule.find(self.moment)
        return When((), {}, found.reason) if found.step is None else When((found.step,), {found.step: self.shifts})

    def start(self, schedule: Schedule, seed: int = 0) -> Callable[..., Worked]:
        def work(z: Tensor, maps_of: MapsOf, subjects: tuple[SubjectColumns, ...], context: StepContext, on_shift: OnShift) -> Worked:
            return refine(z, maps_of, self.objective, subjects, context, shifts=self.shifts, learning_rate=self.learning_rate, eps=self.eps,
                          adaptive=self.adaptive, reach=self.reach, stop_at_loss=self.stop_at_loss, stop_at_presence=self.stop_at_presence,
                          only_if_needed=self.only_if_needed, present_at=self.present_at, on_shift=on_shift)
        return work


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
class Loops:
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
    leaves only the checkpoints). checkpoints, max_rounds: refinement at single steps. loops: replaces the one update per step.
    report, subjects, strict, precision: as in Refine.
    """

    method: str = "Attention Guidance"
    objective: Objective = field(default_factory=Presence)
    start_percent: float = 0.0
    end_percent: float = 0.5
    step_size: StepSize = StepSize()
    checkpoints: tuple[Checkpoint, ...] = ()
    max_rounds: int = 20
    loops: tuple[Loops, ...] = ()
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    precision: str = "auto"
    order = 3

    @property
    def off(self) -> bool:
        return self.step_size.factor == 0 or (self.start_percent >= self.end_percent and not self.checkpoints)

    def scaled(self, strength: float) -> Guide:
        """The recipe with gradient steps of this size (1 = as published, 0 = off)."""
        return replace(self, step_size=replace(self.step_size, factor=self.step_size.factor * strength))

    def window(self, schedule: Schedule) -> tuple[int, ...]:
        """The steps of the window. It begins with the step nearest to its start, where a refinement meant for that moment acts."""
        steps = schedule.window(self.start_percent, self.end_percent) if self.start_percent < self.end_percent else ()
        first = schedule.find(Moment(percent=self.start_percent)).step
        return steps if not steps or first is None else (*range(first, steps[0]), *steps)

    def checkpoints_at(self, schedule: Schedule) -> dict[int, Checkpoint]:
        found = [(schedule.find(c.moment).step, c) for c in self.checkpoints]
        return {step: c for step, c in found if step is not None}

    def loops_at(self, schedule: Schedule) -> dict[int, Loops]:
        """Step -> its loops: the first of the list whose end is not passed."""
        ends = [(max(schedule.window(0.0, loops.until_percent), default=-1), loops) for loops in self.loops]
        return {i: next(loops for last, loops in ends if i <= last) for i in self.window(schedule) if any(i <= last for last, _ in ends)}

    def when(self, schedule: Schedule) -> When:
        window, checkpoints, loops = self.window(schedule), self.checkpoints_at(schedule), self.loops_at(schedule)
        updates = {i: loops[i].rounds if i in loops else 1 for i in window if not self.loops or i in loops}
        for i in checkpoints:
            updates[i] = updates.get(i, 0) + self.max_rounds
        reason = "" if updates else self._nowhere(schedule)
        return When(tuple(sorted(updates)), updates, reason)

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
        self.checkpoints, self.loops = recipe.checkpoints_at(schedule), recipe.loops_at(schedule)
        self.previous: AttentionMaps | None = None
        self.memory: dict[str, Tensor] = {}
        self.lacking: Tensor | None = None

    def __call__(self, z: Tensor, maps_of: MapsOf, subjects: tuple[SubjectColumns, ...], context: StepContext, on_shift: OnShift) -> Worked | None:
        context = replace(context, previous=self.previous, memory=self.memory)
        descent = Descent(z, maps_of, self.recipe.objective, subjects, context, on_shift)
        size = self.recipe.step_size.at(context)
        loops, checkpoint = self.loops.get(context.index), self.checkpoints.get(context.index)
        if loops is not None:
            before = self.lacking if loops.carried else None
            guided, self.lacking = descend(descent, size, max_rounds=loops.rounds, threshold=loops.threshold, before=before)
        else:
            guided = guide(descent, size, in_window=context.index in self.window, max_rounds=self.recipe.max_rounds if checkpoint else 0,
                           threshold=checkpoint and checkpoint.threshold, exact=checkpoint is not None and checkpoint.threshold is None)
        if guided is not None:
            self.previous = replace(guided.maps, self_rows={})  # they would keep the graph's queries and keys
        return guided


Recipe = OptimiseNoise | Saga | Refine | Guide | SteerVelocity
