"""SAGA: learn the mean of a Gaussian of latents in which the subjects appear, then sample from it (AAAI 2026, arXiv 2508.13866)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapOptions, StepContext
from ..objectives.base import Objective, choice
from ..objectives.cn_iou import PresenceAndSeparation
from ..prompt import SubjectColumns, SubjectPhrase
from ..schedule import Moment, Schedule
from ..subject_maps import subject_maps
from .recipe import ActiveSteps, StepResult, per_image
from .seeded_noise import generator, noise_like

ORIGINS = ("x0_mean", "x0", "zeros", "random")


@dataclass(frozen=True)
class Saga:
    """SAGA at one step: SGD on the mean (and log-variance) of the latent's Gaussian, averaged over fresh noises.

    moment: the step. shifts: SGD updates, each from `noises` forward and backward passes. learning_rate, momentum: SGD's.
    block: side in cells of the squares in which the variance is learned too (SAGA-Sigma), 0 = it stays that of the noise;
    per_channel: in each channel by itself. origin: where the mean starts, see `saga`. report, subjects, strict: as in Refine.
    """

    method: str = "SAGA"
    objective: Objective = field(
        default_factory=lambda: PresenceAndSeparation(reduction="mean", maps=MapOptions(pieces="phrase"))
    )
    moment: Moment = Moment(percent=0.218)  # step 10 of 50
    shifts: int = 50
    noises: int = 10
    learning_rate: float = 20.0
    momentum: float = 0.4
    block: int = 0
    per_channel: bool = False
    origin: str = "x0_mean"
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    priority = 1
    starts_from_new_noise = True
    wants_trajectory = True

    @property
    def disabled(self) -> bool:
        return self.shifts == 0

    def scaled(self, strength: float) -> Saga:
        """The recipe with SGD steps of this size (1 = as published, 0 = off)."""
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
        """A worker for one run: beside what every worker gets it wants x0_hat and noise, see `saga`."""

        def work(
            z: Tensor,
            maps_of: Callable[[Tensor], AttentionMaps],
            subjects: tuple[SubjectColumns, ...],
            context: StepContext,
            on_shift: Callable[[int], None],
            *,
            x0_hat: Tensor,
            noise: Tensor,
        ) -> StepResult:
            a, b = signal_and_noise(context, schedule.flow)
            return saga(
                x0_hat,
                noise,
                maps_of,
                self.objective,
                subjects,
                context,
                a=a,
                b=b,
                seed=seed,
                shifts=self.shifts,
                noises=self.noises,
                learning_rate=self.learning_rate,
                momentum=self.momentum,
                block=self.block,
                per_channel=self.per_channel,
                origin=self.origin,
                on_shift=on_shift,
            )

        return work


def signal_and_noise(context: StepContext, flow: bool) -> tuple[float, float]:
    """a and b in z = a x0 + b noise: sqrt(abar), sqrt(1 - abar) = 1 / c, sigma / c (variance preserving), or 1 - sigma, sigma (flow)."""
    return (1 - context.sigma, context.sigma) if flow else (1 / context.c, context.sigma / context.c)


def first_guess(z: Tensor, a: float, b: float, flow: bool) -> Tensor:
    """x0_hat at the very first step, where nothing has been predicted yet: z (1 - b) / a, or 0 for a flow model."""
    return torch.zeros_like(z) if flow else z * (1 - b) / a


def capped(mu: Tensor, reference: Tensor) -> Tensor:
    """mu' = mu min(1, reference / std(mu)), mu [B, ...], reference [B] = std(a x0_hat): the picture's contrast, not more.

    One unbiased std per image; differentiable. Without a reference (0: a flow model's first step) there is no cap.
    """
    ratio = (reference / mu.flatten(1).std(1).clamp(min=1e-12)).clamp(max=1)
    return mu * per_image(torch.where(reference > 0, ratio, 1), mu)


def spread(logvar: Tensor, block: int, like: Tensor) -> Tensor:
    """exp(v / 2) of a log-variance per block of cells [B, 1 or C, ..., rows, columns], cell by cell: broadcasts over `like`."""
    if block:
        h, w = like.shape[-2:]
        logvar = logvar.repeat_interleave(block, -2).repeat_interleave(block, -1)[..., :h, :w]
    return torch.exp(logvar / 2)


def saga(
    x0_hat: Tensor,
    noise: Tensor,
    maps_of: Callable[[Tensor], AttentionMaps],
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
    on_shift: Callable[[int], None] = lambda j: None,
) -> StepResult:
    """Learn mu in z = mu' + exp(v / 2) e, v = 2 ln b, and sample the image with its own noise.

    x0_hat: predicted clean latent [B, ...] of a trajectory of its own. noise: the images' initial noise [B, ...], unit
    variance. a, b: see `signal_and_noise`. origin: mu starts at a times the mean colour of x0_hat ("x0_mean"), x0_hat itself
    ("x0"), 0 ("zeros") or a colour by chance ("random"). mu' = mu capped by the contrast of a x0_hat, see `capped`.
    Each update: L = mean loss over `noises` fresh noises, one forward and backward for the whole batch per noise. The noises
    come from a generator of each image's own (seed, place in the batch); the global stream is not touched.
    on_shift(r) is called before every forward of update r. Images are independent; one whose loss or gradient is not finite
    keeps its last good mean, and counts no updates if there is none. Raises ValueError for numbers that cannot work.
    """
    choice("origin", origin, ORIGINS)
    if shifts < 1 or noises < 1 or block < 0 or learning_rate <= 0 or not 0 <= momentum < 1:
        raise ValueError(
            f"SAGA needs shifts >= 1, noises >= 1, block >= 0, learning_rate > 0 and 0 <= momentum < 1 (got {shifts}, {noises}, "
            f"{block}, {learning_rate:g} and {momentum:g}); published are 50, 10, 0, 20 and 0.4."
        )
    x0_hat, noise = x0_hat.detach().float(), noise.detach().float()
    sources = [generator(seed, i, "saga") for i in range(len(noise))]
    reference = (a * x0_hat).flatten(1).std(1)  # [B]
    good = [a * _origin(x0_hat, origin, sources), _log_variance(noise, b, block, per_channel)]
    learned = good[: 2 if block else 1]
    buffers = [torch.zeros_like(p) for p in learned]
    made = torch.zeros(len(noise), dtype=torch.int64, device=noise.device)
    non_finite = torch.zeros_like(made, dtype=torch.bool)
    losses: list[Tensor] = []
    maxima = None

    def sample(mu: Tensor, logvar: Tensor, e: Tensor) -> Tensor:
        return capped(mu, reference) + spread(logvar, block, e) * e

    for r in range(shifts):
        loss, gradients = 0, [0] * len(learned)
        for _ in range(noises):
            on_shift(r)
            leaves = [p.detach().requires_grad_(True) for p in learned]
            e = torch.stack(
                [noise_like(own, source) for own, source in zip(noise, sources, strict=True)]
            )  # [B, ...]
            maps = maps_of(sample(*leaves, *good[len(leaves) :], e))
            value = objective(maps, subjects, context) / noises
            gradients = [
                g + new for g, new in zip(gradients, torch.autograd.grad(value.sum(), leaves), strict=True)
            ]
            loss = loss + value.detach()
            if maxima is None:
                options = getattr(objective, "maps", MapOptions())
                maxima = subject_maps(maps, subjects, options).detach().flatten(2).amax(-1)  # [B, k]
            del maps
        losses.append(torch.where(non_finite, torch.nan, loss))
        finite = torch.stack([loss.isfinite(), *(g.isfinite().flatten(1).all(1) for g in gradients)]).all(0)
        failed = ~finite & ~non_finite
        made, non_finite = (
            made - failed.long() * (made > 0),
            non_finite | failed,
        )  # the update that led here is taken back
        learned = [_where(non_finite, g, p) for g, p in zip(good, learned)]
        good = [*learned, *good[len(learned) :]]
        if non_finite.all():
            break
        buffers = [momentum * m + g for m, g in zip(buffers, gradients, strict=True)]
        learned = [
            _where(non_finite, p, p - learning_rate * m) for p, m in zip(learned, buffers, strict=True)
        ]
        made = made + (~non_finite).long()
    final = sample(*learned, *good[len(learned) :], noise)
    return StepResult(final, torch.stack(losses), made, maxima, non_finite, passes=noises * len(losses))


def _origin(x0_hat: Tensor, origin: str, sources: Sequence[torch.Generator]) -> Tensor:
    """mu_init [B, ...]."""
    if origin == "x0":
        return x0_hat
    if origin == "zeros":
        return torch.zeros_like(x0_hat)
    colour = x0_hat.flatten(2).mean(-1)  # [B, C]
    if origin == "random":
        colour = torch.stack([noise_like(c, source) for c, source in zip(colour, sources, strict=True)])
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
