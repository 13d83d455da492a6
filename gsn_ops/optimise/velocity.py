"""Guidance of flow models by their velocity (FOCUS, 2025, arXiv 2510.02315): the latent stays, the prediction is turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, StepContext
from ..objectives.base import Objective
from ..objectives.focus import Focus
from ..prompt import SubjectColumns, SubjectPhrase
from ..schedule import Schedule
from .guidance import Descent
from .recipe import ActiveSteps, StepResult, per_image

EPS = 1e-3


@dataclass(frozen=True)
class SteerVelocity:
    """A term in the velocity of every step of a window (FOCUS); flow models only.

    weight: lambda, 1 to 5 as published. start_percent ... end_percent: the window, as published the whole run.
    report, subjects, strict: as in Refine.
    """

    method: str = "FOCUS"
    objective: Objective = field(default_factory=Focus)
    weight: float = 4.0
    start_percent: float = 0.0
    end_percent: float = 1.0
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    priority = 4
    modifies_prediction = True

    @property
    def disabled(self) -> bool:
        return self.weight == 0 or self.start_percent >= self.end_percent

    def scaled(self, strength: float) -> SteerVelocity:
        """The recipe with a term of this size (1 = as published, 0 = off)."""
        return replace(self, weight=self.weight * strength)

    def when(self, schedule: Schedule) -> ActiveSteps:
        """Raises ValueError for a model that is no flow model."""
        if not schedule.flow:
            raise ValueError(
                f"{self.method} turns the velocity of flow models (SD3, Flux and their kind); this model predicts noise. "
                "Choose a method that shifts the latent, such as SynGen or Latent Refine."
            )
        steps = schedule.window(self.start_percent, self.end_percent)
        return ActiveSteps(
            steps,
            dict.fromkeys(steps, 1),
            "" if steps else "no step of this run lies in the window: widen it",
        )

    def start(self, schedule: Schedule, seed: int = 0) -> Callable[..., tuple[StepResult, Tensor]]:
        def work(
            z: Tensor,
            maps_of: Callable[[Tensor], AttentionMaps],
            subjects: tuple[SubjectColumns, ...],
            context: StepContext,
            on_shift: Callable[[int], None],
        ) -> tuple[StepResult, Tensor]:
            return steer(z, maps_of, self.objective, subjects, context, weight=self.weight, on_shift=on_shift)

        return work


def velocity_factor(sigma: float) -> float:
    """2 s (s + eps) / (1 - s + eps), eps = 1e-3: how much of the gradient the velocity gets at flow sigma s (0 ... 1); 2002 at s = 1."""
    return 2 * sigma * (sigma + EPS) / (1 - sigma + EPS)


def velocity_term(gradient: Tensor, sigma: float, weight: float = 4.0) -> Tensor:
    """g = lambda factor(s) dL/dx in v <- v + g, gradient [B, ...] -> [B, ...]; weight: lambda, 1 to 5 as published.

    Plus is descent: sampling goes towards smaller sigma, so +g in v moves x along -g (the authors' Flux file has the sign
    the wrong way round). An image whose gradient is not finite gets 0.
    """
    finite = gradient.isfinite().flatten(1).all(1)  # [B]
    return torch.where(per_image(finite, gradient), weight * velocity_factor(sigma) * gradient, 0.0)


def steered(denoised: Tensor, term: Tensor, sigma: float | Tensor) -> Tensor:
    """The denoised prediction x - sigma v of a flow model with v + g for v: denoised - sigma g, in the dtype of denoised.

    sigma: of this very call, a number or something that broadcasts over denoised [B, ...].
    """
    return (denoised - sigma * term).to(denoised.dtype)


def steer(
    z: Tensor,
    maps_of: Callable[[Tensor], AttentionMaps],
    objective: Objective,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    *,
    weight: float = 4.0,
    on_shift: Callable[[int], None] = lambda j: None,
) -> tuple[StepResult, Tensor]:
    """One look at z (= x in a flow model): what happened, without any update of z, and the term g [B, ...] of this step."""
    descent = Descent(z, maps_of, objective, subjects, context, on_shift)
    descent.evaluate(descent.everyone)
    kept = torch.where(per_image(descent.non_finite, z), 0.0, descent.gradient)
    return descent.result(torch.zeros_like(descent.shifts)), velocity_term(kept, context.sigma, weight)
