"""Many shifts of one latent at one noise level: Latent Refine's loop (Grimal et al., IJCAI 2025, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapOptions, StepContext
from ..objectives.base import Objective
from ..objectives.cn_iou import PresenceAndSeparation
from ..prompt import SubjectColumns, SubjectPhrase
from ..schedule import Moment, Schedule
from ..subject_maps import subject_maps
from .recipe import ActiveSteps, MapsOf, OnShift, StepResult, per_image

BETAS = (0.9, 0.999)


def refine(
    z: Tensor,
    maps_of: Callable[[Tensor], AttentionMaps],
    objective: Objective,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    *,
    shifts: int = 50,
    learning_rate: float = 0.01,
    eps: float = 1e-3,
    adaptive: str = "element",
    max_displacement: float = 0.0,
    stop_at_loss: float = 0.0,
    stop_at_presence: float = 0.0,
    only_if_needed: bool = False,
    present_at: float = 0.8,
    on_shift: Callable[[int], None] = lambda j: None,
) -> StepResult:
    """Adam on the latent itself, in the network's space z [B, ...], never in place.

    adaptive: Adam's second moment per "element" (as published) or per "image" (see ImageAdam). reach: no element of z moves
    further from where it was than this (0 = no bound).

    maps_of(z) is called at most `shifts` times (one forward each), on_shift(j) once before each; the loss after the
    last update is never evaluated. Images are independent: one stops, and the others do not notice, whose loss is at or
    below stop_at_loss (> 0); whose subjects all have a maximum of at least stop_at_presence (> 0; only_if_needed: of
    present_at, tested at the first look alone); whose loss or gradient is not finite. When all have stopped the loop
    ends, and a last look that only found this has no backward pass. Needs grad mode and no inference mode. Raises
    ValueError for numbers that cannot work; what on_shift, maps_of and objective raise passes through.
    """
    if shifts < 1 or learning_rate <= 0 or eps <= 0:
        raise ValueError(
            f"A refinement needs shifts >= 1, learning_rate > 0 and eps > 0 "
            f"(got {shifts}, {learning_rate:g} and {eps:g}); published are 50, 0.01 and 0.001."
        )
    if adaptive not in ("element", "image"):
        raise ValueError(f"Unknown second moment '{adaptive}': choose element or image.")
    leaf = z.detach().to(torch.float32, copy=True).requires_grad_(True)
    adam = (
        ImageAdam(leaf, learning_rate, eps)
        if adaptive == "image"
        else torch.optim.Adam([leaf], lr=learning_rate, betas=BETAS, eps=eps, foreach=False)
    )
    start = good = leaf.detach().clone()  # good: the last z of each image with a finite loss and gradient
    batch = z.shape[0]
    active = torch.ones(batch, dtype=torch.bool, device=z.device)
    non_finite, needed = ~active, active
    made = torch.zeros(batch, dtype=torch.int64, device=z.device)
    losses: list[Tensor] = []
    maxima = None
    may_end = stop_at_loss > 0 or stop_at_presence > 0  # asking "is any image active?" makes a GPU wait
    passes = 0

    for j in range(shifts):
        on_shift(j)
        maps = maps_of(leaf)
        loss = objective(maps, subjects, context)
        value = loss.detach()
        losses.append(torch.where(active, value, torch.nan))
        going = active & ~(value <= stop_at_loss) if stop_at_loss > 0 else active
        levels = [present_at] * (only_if_needed and j == 0) + [stop_at_presence] * (stop_at_presence > 0)
        if maxima is None or levels:
            strongest = _strongest(maps, objective, subjects)  # [B, k]
            maxima = strongest if maxima is None else maxima
        if levels:
            lacking = ~_present(strongest, subjects, min(levels))
            going, needed = going & lacking, needed if j else lacking
        if (may_end or levels) and not going.any():
            good = leaf.detach()
            break
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        passes += 1
        del maps, loss  # so that this pass is not held while the next one runs
        failed = going & ~(value.isfinite() & gradient.isfinite().flatten(1).all(1))
        non_finite = non_finite | failed
        if j:
            made = made - failed.long()  # the update that led here is taken back
        good = torch.where(per_image(failed, z), good, leaf.detach())
        active = going & ~failed
        if may_end and not active.any():
            break
        leaf.grad = torch.where(per_image(active, z), gradient, 0.0)
        adam.step()
        with torch.no_grad():
            if max_displacement > 0:
                leaf.clamp_(start - max_displacement, start + max_displacement)
            leaf.copy_(torch.where(per_image(active, z), leaf, good))
        made = made + active.long()
    else:
        good = leaf.detach()
    return StepResult(good, torch.stack(losses), made, maxima, non_finite, needed, passes=passes)


class ImageAdam:
    """Adam whose second moment is one number per image: the mean square over its latent.

    Blockwise adaptivity (Zheng and Kwok 2019, "Blockwise Adaptivity: Faster Training and Better Generalization in Deep
    Learning"), a block being an image. Adam's own step is nearly lr * sign(g) wherever |g| > eps, so that in few steps it
    moves the whole latent by equal amounts; here a step is as long (root mean square lr * r / (r + eps), r that of g) and
    keeps the shape of the gradient: it moves the places that matter.
    """

    def __init__(self, leaf: Tensor, learning_rate: float, eps: float):
        self.leaf, self.learning_rate, self.eps, self.t = leaf, learning_rate, eps, 0
        self.mean, self.square = (
            torch.zeros_like(leaf),
            per_image(leaf.new_zeros(len(leaf)), leaf),
        )  # [B, ...], [B, 1, ...]

    @torch.no_grad()
    def step(self) -> None:
        """One update of the leaf by its `grad`."""
        self.t += 1
        (fast, slow), g = BETAS, self.leaf.grad
        self.mean = fast * self.mean + (1 - fast) * g
        self.square = slow * self.square + (1 - slow) * per_image(g.square().flatten(1).mean(1), g)
        mean, square = self.mean / (1 - fast**self.t), self.square / (1 - slow**self.t)
        self.leaf -= self.learning_rate * mean / (square.sqrt() + self.eps)


def _strongest(maps: AttentionMaps, objective: Objective, subjects: Sequence[SubjectColumns]) -> Tensor:
    """The highest attention of each subject: [B, k]."""
    with torch.no_grad():
        return subject_maps(maps, subjects, getattr(objective, "maps", MapOptions())).flatten(2).amax(-1)


def _present(strongest: Tensor, subjects: Sequence[SubjectColumns], at: float) -> Tensor:
    """Which images [B] have all the subjects that are wanted, from [B, k]."""
    wanted = [i for i, subject in enumerate(subjects) if subject.phrase.role == "wanted"]
    return (strongest[:, wanted] >= at).all(1)


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
    max_displacement: float = 0.0
    stop_at_loss: float = 0.0
    stop_at_presence: float = 0.0
    only_if_needed: bool = False
    present_at: float = 0.8
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    precision: str = "auto"
    priority = 2

    @property
    def disabled(self) -> bool:
        return self.shifts == 0

    def scaled(self, strength: float) -> Refine:
        """The recipe with shifts of this size (1 = as published, 0 = off)."""
        return (
            replace(self, learning_rate=self.learning_rate * strength)
            if strength
            else replace(self, shifts=0)
        )

    def when(self, schedule: Schedule) -> ActiveSteps:
        found = schedule.find(self.moment)
        return (
            ActiveSteps((), {}, found.reason)
            if found.step is None
            else ActiveSteps((found.step,), {found.step: self.shifts})
        )

    def start(self, schedule: Schedule, seed: int = 0) -> Callable[..., StepResult]:
        def work(
            z: Tensor,
            maps_of: MapsOf,
            subjects: tuple[SubjectColumns, ...],
            context: StepContext,
            on_shift: OnShift,
        ) -> StepResult:
            return refine(
                z,
                maps_of,
                self.objective,
                subjects,
                context,
                shifts=self.shifts,
                learning_rate=self.learning_rate,
                eps=self.eps,
                adaptive=self.adaptive,
                max_displacement=self.max_displacement,
                stop_at_loss=self.stop_at_loss,
                stop_at_presence=self.stop_at_presence,
                only_if_needed=self.only_if_needed,
                present_at=self.present_at,
                on_shift=on_shift,
            )

        return work
