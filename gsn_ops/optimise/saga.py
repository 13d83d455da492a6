"""SAGA (AAAI 2026, arXiv 2508.13866): learn a Gaussian of latents in which the subjects appear, and sample
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..maps import StepContext
from ..objectives.base import Objective, evaluate_loss, own_maxima
from ..objectives.cn_iou import PresenceAndSeparation
from ..option_checks import choice
from ..prompt import SubjectColumns
from ..schedule import Moment, Schedule
from .recipe import (
    NO_EXTRA_INPUTS,
    ExtraInputs,
    MapsOf,
    OnEvaluation,
    Priority,
    SingleStepRecipe,
    StepResult,
    Worker,
    per_image,
)
from .seeded_noise import generator, noise_like
from .setting import learning_rate_setting, setting

ORIGINS = ("x0_mean", "x0", "zeros", "random")


@dataclass(frozen=True, kw_only=True)
class Saga(SingleStepRecipe):
    """SAGA at one step: SGD on the mean (and log-variance) of the latent's Gaussian, averaged over new
    noises.

    moment: the step. shifts: SGD updates, each from `noises` forward and backward passes. learning_rate,
    momentum: SGD's. block: side in positions of the squares in which the variance is learned too
    (SAGA-Sigma), 0 = it stays that of the noise; per_channel: separately in each channel. origin: where the
    mean starts, see `saga`.
    """

    method: str = "SAGA"
    objective: Objective = field(default_factory=lambda: PresenceAndSeparation(reduction="mean"))
    moment: Moment = Moment(percent=0.218)  # step 10 of 50
    noises: int = setting(10, overridable=False)
    learning_rate: float = learning_rate_setting(20.0)
    momentum: float = setting(0.4, overridable=False)
    block: int = setting(0, overridable=False)
    per_channel: bool = setting(False, overridable=False)
    origin: str = setting("x0_mean", overridable=False)

    priority = Priority.SAGA
    starts_from_new_noise = True
    extra_inputs = frozenset({"initial_noise", "predicted_x0"})

    @property
    def evaluations_per_update(self) -> int:
        return self.noises

    def start(self, schedule: Schedule, seed: int = 0) -> SagaWorker:
        return SagaWorker(self, schedule.flow, seed)


class SagaWorker(Worker):
    """A Saga in one run. It carries nothing: there is one step."""

    def __init__(self, recipe: Saga, flow: bool, seed: int):
        self.recipe, self.flow, self.seed = recipe, flow, seed

    def __call__(
        self,
        z: Tensor,
        maps_of: MapsOf,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_evaluation: OnEvaluation,
        extra: ExtraInputs = NO_EXTRA_INPUTS,
    ) -> StepResult:
        if extra.initial_noise is None:
            raise ValueError("SAGA needs the run's initial noise: give it as an extra input.")
        recipe = self.recipe
        a, b = signal_and_noise(context, self.flow)
        x0_hat = extra.predicted_x0
        if x0_hat is None:
            x0_hat = first_guess(z, a, b, self.flow)
        return saga(
            x0_hat,
            extra.initial_noise,
            maps_of,
            recipe.objective,
            subjects,
            context,
            a=a,
            b=b,
            seed=self.seed,
            shifts=recipe.shifts,
            noises=recipe.noises,
            learning_rate=recipe.learning_rate,
            momentum=recipe.momentum,
            block=recipe.block,
            per_channel=recipe.per_channel,
            origin=recipe.origin,
            on_evaluation=on_evaluation,
        )


def signal_and_noise(context: StepContext, flow: bool) -> tuple[float, float]:
    """a and b in z = a x0 + b noise.

    sqrt(abar), sqrt(1 - abar) = 1 / c, sigma / c (variance preserving), or 1 - sigma, sigma (flow).
    """
    if flow:
        return 1 - context.sigma, context.sigma
    return 1 / context.c, context.sigma / context.c


def first_guess(z: Tensor, a: float, b: float, flow: bool) -> Tensor:
    """x0_hat at step 0, where nothing has been predicted yet: z (1 - b) / a, or 0 for a flow model."""
    return torch.zeros_like(z) if flow else z * (1 - b) / a


def capped(mu: Tensor, reference: Tensor) -> Tensor:
    """mu' = mu min(1, reference / std(mu)), mu [B, ...], reference [B] = std(a x0_hat): the contrast of
    x0_hat, not more.

    One unbiased std per image; differentiable. Without a reference (0: a flow model's first step) there is no
    cap.
    """
    ratio = (reference / mu.flatten(1).std(1).clamp(min=1e-12)).clamp(max=1)
    return mu * per_image(torch.where(reference > 0, ratio, 1), mu)


def spread(logvar: Tensor, block: int, like: Tensor) -> Tensor:
    """exp(v / 2) of a log-variance per block [B, 1 or C, ..., rows, columns], one per position: broadcasts
    over `like`.
    """
    if block:
        h, w = like.shape[-2:]
        logvar = logvar.repeat_interleave(block, -2).repeat_interleave(block, -1)[..., :h, :w]
    return torch.exp(logvar / 2)


# One published loop, longer than other functions on purpose.
def saga(
    x0_hat: Tensor,
    noise: Tensor,
    maps_of: MapsOf,
    objective: Objective,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    *,
    a: float,
    b: float,
    seed: int = 0,
    shifts: int = 50,
    noises: int = 10,
    learning_rate: float = 20.0,
    momentum: float = 0.4,
    block: int = 0,
    per_channel: bool = False,
    origin: str = "x0_mean",
    on_evaluation: OnEvaluation = lambda j: None,
) -> StepResult:
    """Learn mu in z = mu' + exp(v / 2) e, v = 2 ln b, and sample the image with its own noise.

    x0_hat: predicted clean latent [B, ...] of a reference trajectory. noise: the images' initial noise [B,
    ...], unit variance. a, b: see `signal_and_noise`. origin: mu starts at a times the mean colour of x0_hat
    ("x0_mean"), x0_hat itself ("x0"), 0 ("zeros") or a random colour ("random"). mu' = mu capped by the
    contrast of a x0_hat, see `capped`. Each update: L = mean loss over `noises` new noises, one forward and
    backward pass for the whole batch per noise. The noises come from one generator per image (seed, index in
    the batch); the global random state is not touched. on_evaluation(r) is called before every forward pass
    of update r. Images are independent; one whose loss or gradient is not finite keeps its last good mean,
    and counts no updates if there is none. Raises ValueError for numbers that cannot work.
    """
    choice("origin", origin, ORIGINS)
    if shifts < 1 or noises < 1 or block < 0 or learning_rate <= 0 or not 0 <= momentum < 1:
        raise ValueError(
            "SAGA needs shifts >= 1, noises >= 1, block >= 0, learning_rate > 0 and 0 <= momentum < 1 "
            f"(got {shifts}, {noises}, {block}, {learning_rate:g} and {momentum:g}); "
            "published are 50, 10, 0, 20 and 0.4."
        )
    x0_hat, noise = x0_hat.detach().float(), noise.detach().float()
    sources = [generator(seed, i, "saga") for i in range(len(noise))]
    reference = (a * x0_hat).flatten(1).std(1)  # [B]
    good = [a * _origin(x0_hat, origin, sources), _log_variance(noise, b, block, per_channel)]
    learned = good[: 2 if block else 1]
    buffers = [torch.zeros_like(p) for p in learned]
    made = torch.zeros(len(noise), dtype=torch.int64, device=noise.device)
    learned_something = torch.zeros_like(made, dtype=torch.bool)
    non_finite = torch.zeros_like(made, dtype=torch.bool)
    losses: list[Tensor] = []
    maxima: Tensor | None = None

    def sample(gaussian: Sequence[Tensor], e: Tensor) -> Tensor:
        mu, logvar = gaussian
        return capped(mu, reference) + spread(logvar, block, e) * e

    for r in range(shifts):
        loss = torch.zeros((), device=noise.device)
        gradients = [torch.zeros((), device=noise.device) for _ in learned]
        for _ in range(noises):
            on_evaluation(r)
            leaves = [p.detach().requires_grad_(True) for p in learned]
            e = _new_noise(noise, sources)  # [B, ...]
            maps = maps_of(sample([*leaves, *good[len(leaves) :]], e))
            value = evaluate_loss(objective, maps, subjects, context) / noises
            added = torch.autograd.grad(value.sum(), leaves)
            gradients = [g + new for g, new in zip(gradients, added, strict=True)]
            loss = loss + value.detach()
            if maxima is None:
                maxima = own_maxima(objective, maps, subjects)  # [B, k]
            del maps
        losses.append(torch.where(non_finite, torch.nan, loss))
        finite = torch.stack([loss.isfinite(), *(g.isfinite().flatten(1).all(1) for g in gradients)]).all(0)
        failed = ~finite & ~non_finite
        made = made - failed.long() * (made > 0)  # the update that led here is taken back
        non_finite = non_finite | failed
        learned = [_where(non_finite, g, p) for g, p in zip(good, learned)]
        good = [*learned, *good[len(learned) :]]
        if non_finite.all():
            break
        learned_something = learned_something | torch.stack([g.flatten(1).any(1) for g in gradients]).any(0)
        buffers = [momentum * m + g for m, g in zip(buffers, gradients, strict=True)]
        learned = [
            _where(non_finite, p, p - learning_rate * m) for p, m in zip(learned, buffers, strict=True)
        ]
        made = made + (~non_finite).long()
    made = torch.where(learned_something, made, 0)
    final = sample([*learned, *good[len(learned) :]], noise)
    assert maxima is not None, "shifts >= 1"
    return StepResult(final, torch.stack(losses), made, maxima, non_finite, passes=noises * len(losses))


def _new_noise(noise: Tensor, sources: Sequence[torch.Generator]) -> Tensor:
    """Noise shaped like `noise` [B, ...], each image's from its own generator."""
    return torch.stack([noise_like(own, source) for own, source in zip(noise, sources, strict=True)])


def _origin(x0_hat: Tensor, origin: str, sources: Sequence[torch.Generator]) -> Tensor:
    """mu_init [B, ...]."""
    if origin == "x0":
        return x0_hat
    if origin == "zeros":
        return torch.zeros_like(x0_hat)
    colour = x0_hat.flatten(2).mean(-1)  # [B, C]
    if origin == "random":
        colour = _new_noise(colour, sources)
    return colour.view(*colour.shape, *[1] * (x0_hat.ndim - 2)).expand_as(x0_hat)  # [B, C, ...]


def _log_variance(noise: Tensor, b: float, block: int, per_channel: bool) -> Tensor:
    """v = 2 ln b, one per block and channel [B, 1 or C, ..., rows, columns], or one number for all."""
    if not block:
        return noise.new_tensor(2 * math.log(b))
    batch, channels, *middle, h, w = noise.shape
    shape = (batch, channels if per_channel else 1, *middle, -(-h // block), -(-w // block))
    return noise.new_full(shape, 2 * math.log(b))


def _where(flags: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(per_image(flags, other), one, other)
