"""Many updates of one latent at one noise level: Latent Refine's loop (Grimal et al., IJCAI 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..maps import StepContext
from ..objectives.base import Objective, evaluate_loss, own_maxima
from ..objectives.cn_iou import PresenceAndSeparation
from ..prompt import SubjectColumns
from ..schedule import Schedule
from .between_calls import BETWEEN, NO, find_between
from .recipe import (
    NO_EXTRA_INPUTS,
    ActiveSteps,
    ExtraInputs,
    MapsOf,
    OnEvaluation,
    Priority,
    SingleStepRecipe,
    StepResult,
    Worker,
    per_image,
)
from .setting import learning_rate_setting, precision_setting, setting

BETAS = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class Refine(SingleStepRecipe):
    """Many Adam updates at one step (Latent Refine, Grimal et al., IJCAI 2025, section 3).

    moment: the step. shifts: number of updates. learning_rate, eps: Adam's, in the network's input space z.
    adaptive: Adam's second moment per "element" (as published) or per "image" (see `ImageAdam`).
    max_displacement: no element of z moves further than this (0 = no bound). stop_at_loss: an image stops
    when its loss is at or below it (0 = never). stop_at_presence: it stops when all its subjects have an
    attention maximum of at least this, at any evaluation (0 = never). only_if_needed: the same at the first
    evaluation only, with `present_at`. between: read between two calls of the model, see `between_calls`.
    """

    method: str = "Latent Refine at Step"
    objective: Objective = field(default_factory=PresenceAndSeparation)
    learning_rate: float = learning_rate_setting(0.01)
    eps: float = setting(1e-3, more_than=0, finite=True, cure="it must be greater than 0 (published: 0.001)")
    adaptive: str = setting("element", overridable=False)
    max_displacement: float = setting(
        0.0, at_least=0, cure="choose 0 (no bound) or more; 1 is the width of the latent's distribution"
    )
    stop_at_loss: float = setting(0.0, at_least=0, cure="choose 0 (never stop early) or more")
    stop_at_presence: float = setting(
        0.0,
        at_least=0,
        at_most=1,
        cure="it is an attention maximum and lies between 0 (never stop early) and 1",
    )
    only_if_needed: bool = setting(False, overridable=False)
    present_at: float = setting(
        0.8, at_least=0, at_most=1, cure="it is an attention maximum and lies between 0 and 1"
    )
    precision: str = precision_setting()
    between: str = setting(
        NO,
        choices=BETWEEN,
        cure="choose no (at a step), exact (at the wanted noise level, between two steps) or middle (halfway "
        "from the step to the next)",
    )

    priority = Priority.REFINEMENT

    def active_steps(self, schedule: Schedule) -> ActiveSteps:
        found, between = find_between(schedule, self.moment, self.between)
        if found.step is None:
            return ActiveSteps((), {}, found.reason)
        levels = {found.step: found.sigma} if between else {}
        return ActiveSteps((found.step,), {found.step: self.shifts}, note=found.note, levels=levels)

    def start(self, schedule: Schedule, seed: int = 0) -> RefineWorker:
        return RefineWorker(self)


class RefineWorker(Worker):
    """A Refine in one run. It carries nothing: there is one step."""

    def __init__(self, recipe: Refine):
        self.recipe = recipe

    def __call__(
        self,
        z: Tensor,
        maps_of: MapsOf,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_evaluation: OnEvaluation,
        extra: ExtraInputs = NO_EXTRA_INPUTS,
    ) -> StepResult:
        recipe = self.recipe
        return refine(
            z,
            maps_of,
            recipe.objective,
            subjects,
            context,
            shifts=recipe.shifts,
            learning_rate=recipe.learning_rate,
            eps=recipe.eps,
            adaptive=recipe.adaptive,
            max_displacement=recipe.max_displacement,
            stop_at_loss=recipe.stop_at_loss,
            stop_at_presence=recipe.stop_at_presence,
            only_if_needed=recipe.only_if_needed,
            present_at=recipe.present_at,
            concerned=extra.lacking,
            on_evaluation=on_evaluation,
        )


# One published loop, longer than other functions on purpose.
def refine(
    z: Tensor,
    maps_of: MapsOf,
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
    concerned: Tensor | None = None,
    on_evaluation: OnEvaluation = lambda j: None,
) -> StepResult:
    """Adam on the latent itself, in the network's space z [B, ...], never in place. The numbers are those of
    `Refine`.

    maps_of(z) is called at most `shifts` times (one forward pass each), on_evaluation(j) once before each;
    loss and attention after the last update are never evaluated. Images are independent: one stops without
    an effect on the others when its loss is at or below stop_at_loss (> 0); when all its subjects have a
    maximum of at least stop_at_presence (> 0; only_if_needed: of present_at, tested at the first evaluation
    only); when its loss or gradient is not finite. Images that are not concerned (bool [B]; None = all are)
    keep their z. The loop ends when all images have stopped, without a backward pass of the evaluation that
    found this. Needs grad mode and no inference mode. Raises ValueError for numbers that cannot work;
    exceptions of on_evaluation, maps_of and objective pass through.
    """
    if shifts < 1 or learning_rate <= 0 or eps <= 0:
        raise ValueError(
            f"A refinement needs shifts >= 1, learning_rate > 0 and eps > 0 "
            f"(got {shifts}, {learning_rate:g} and {eps:g}); published are 50, 0.01 and 0.001."
        )
    leaf = z.detach().to(torch.float32, copy=True).requires_grad_(True)
    adam = _optimiser(leaf, learning_rate, eps, adaptive)
    start = good = leaf.detach().clone()  # good: the last z of each image with a finite loss and gradient
    everyone = torch.ones(z.shape[0], dtype=torch.bool, device=z.device)
    active = everyone if concerned is None else concerned.to(z.device)
    non_finite, needed = ~everyone, active
    made = torch.zeros(z.shape[0], dtype=torch.int64, device=z.device)
    losses: list[Tensor] = []
    maxima: Tensor | None = None
    now: Tensor | None = None  # as maxima, at the last evaluation unless that was the first
    may_end = stop_at_loss > 0 or stop_at_presence > 0  # asking "is any image active?" makes a GPU wait
    passes = 0

    for j in range(shifts):
        on_evaluation(j)
        maps = maps_of(leaf)
        loss = evaluate_loss(objective, maps, subjects, context)
        value = loss.detach()
        losses.append(torch.where(active, value, torch.nan))
        going = active
        if stop_at_loss > 0:
            going = active & ~(value <= stop_at_loss)
        level = _presence_level(j, stop_at_presence, only_if_needed, present_at)
        if maxima is None or level is not None or may_end or j == shifts - 1:
            strongest = own_maxima(objective, maps, subjects)  # [B, k]
            now = strongest if j else None
            maxima = strongest if maxima is None else maxima
        if level is not None:
            lacking = ~_present(strongest, subjects, level)
            going = going & lacking
            if j == 0:
                needed = active & lacking
        if (may_end or level is not None) and not going.any():
            good = leaf.detach()
            break
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        passes += 1
        del maps, loss  # this pass must not be held while the next one runs
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
    made = torch.where((good != start).flatten(1).any(1), made, 0)  # a gradient of 0 moves nothing
    assert maxima is not None, "shifts >= 1"
    return StepResult(
        good, torch.stack(losses), made, maxima, non_finite, needed, maxima_after=now, passes=passes
    )


def _optimiser(leaf: Tensor, learning_rate: float, eps: float, adaptive: str) -> torch.optim.Adam | ImageAdam:
    """Raises ValueError for an unknown second moment."""
    if adaptive == "image":
        return ImageAdam(leaf, learning_rate, eps)
    if adaptive == "element":
        return torch.optim.Adam([leaf], lr=learning_rate, betas=BETAS, eps=eps, foreach=False)
    raise ValueError(f"Unknown second moment '{adaptive}': choose element or image.")


def _presence_level(j: int, stop_at: float, only_if_needed: bool, present_at: float) -> float | None:
    """The attention at which a subject counts as present at evaluation j; None = this is not tested."""
    levels = [stop_at] if stop_at > 0 else []
    if only_if_needed and j == 0:
        levels.append(present_at)
    return min(levels, default=None)


class ImageAdam:
    """Adam whose second moment is one number per image: the mean square over its latent.

    Blockwise adaptivity (Zheng and Kwok 2019, "Blockwise Adaptivity: Faster Training and Better
    Generalization in Deep Learning"), a block being an image. Adam's own step is nearly lr * sign(g) wherever
    |g| > eps, so in few steps it moves the whole latent by equal amounts. Here a step is as long (root mean
    square lr * r / (r + eps), r that of g) and keeps the shape of the gradient: it moves the positions that
    matter.
    """

    def __init__(self, leaf: Tensor, learning_rate: float, eps: float):
        self.leaf, self.learning_rate, self.eps = leaf, learning_rate, eps
        self.t = 0
        self.mean = torch.zeros_like(leaf)  # [B, ...]
        self.square = per_image(leaf.new_zeros(len(leaf)), leaf)  # [B, 1, ...]

    @torch.no_grad()
    def step(self) -> None:
        """One update of the leaf by its `grad`."""
        self.t += 1
        (fast, slow), g = BETAS, self.leaf.grad
        assert g is not None, "the gradient comes first"
        self.mean = fast * self.mean + (1 - fast) * g
        self.square = slow * self.square + (1 - slow) * per_image(g.square().flatten(1).mean(1), g)
        mean, square = self.mean / (1 - fast**self.t), self.square / (1 - slow**self.t)
        self.leaf -= self.learning_rate * mean / (square.sqrt() + self.eps)


def _present(strongest: Tensor, subjects: Sequence[SubjectColumns], at: float) -> Tensor:
    """Which images [B] have all the subjects that are wanted, from their maxima [B, k]."""
    wanted = [i for i, subject in enumerate(subjects) if subject.phrase.role == "wanted"]
    return (strongest[:, wanted] >= at).all(1)
