"""Guidance of flow models by their velocity (FOCUS, 2025, arXiv 2510.02315)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..maps import StepContext
from ..objectives.base import Objective
from ..objectives.focus import Focus
from ..prompt import SubjectColumns
from ..schedule import Schedule
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
    per_image,
)
from .setting import setting, share_of_run

EPS = 1e-3


NO_FLOW = (
    "it modifies the velocity of flow models (SD3, Flux and their kind), and this model predicts noise: "
    "choose a method that updates the latent, such as SynGen or Latent Refine"
)


@dataclass(frozen=True, kw_only=True)
class SteerVelocity(Recipe):
    """A term in the velocity of every step of a window (FOCUS), for flow models; the latent is not updated.

    weight: lambda, 1 to 5 as published. start_percent ... end_percent: the window, as published the whole
    run.
    """

    method: str = "FOCUS"
    objective: Objective = field(default_factory=Focus)
    weight: float = setting(4.0, overridable=False)
    start_percent: float = share_of_run(0.0)
    end_percent: float = share_of_run(1.0)

    priority = Priority.VELOCITY
    modifies_prediction = True

    @property
    def disabled(self) -> bool:
        return self.weight == 0 or self.start_percent >= self.end_percent

    def scaled(self, strength: float) -> SteerVelocity:
        return replace(self, weight=self.weight * strength)

    def active_steps(self, schedule: Schedule) -> ActiveSteps:
        if not schedule.flow:
            return ActiveSteps((), {}, NO_FLOW)
        steps = schedule.window(self.start_percent, self.end_percent)
        reason = "" if steps else "no step of this run lies in the window: widen it"
        return ActiveSteps(steps, dict.fromkeys(steps, 1), reason)

    def start(self, schedule: Schedule, seed: int = 0) -> VelocityWorker:
        return VelocityWorker(self)


class VelocityWorker(Worker):
    """A SteerVelocity in one run. It carries nothing from step to step."""

    def __init__(self, recipe: SteerVelocity):
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
        return evaluate_velocity_term(
            z,
            maps_of,
            self.recipe.objective,
            subjects,
            context,
            weight=self.recipe.weight,
            on_evaluation=on_evaluation,
        )


def velocity_factor(sigma: float) -> float:
    """2 s (s + eps) / (1 - s + eps), eps = 1e-3: the gradient's factor at flow sigma s in 0 ... 1 (2002 at
    1).
    """
    return 2 * sigma * (sigma + EPS) / (1 - sigma + EPS)


def velocity_term(gradient: Tensor, sigma: float, weight: float = 4.0) -> Tensor:
    """g = lambda factor(s) dL/dx in v <- v + g, gradient [B, ...] -> [B, ...]; weight: lambda, 1 to 5 as
    published.

    Plus is descent: sampling goes towards smaller sigma, so +g in v moves x along -g (the authors' Flux file
    has the sign the wrong way round). An image whose gradient is not finite gets 0.
    """
    finite = gradient.isfinite().flatten(1).all(1)  # [B]
    return torch.where(per_image(finite, gradient), weight * velocity_factor(sigma) * gradient, 0.0)


def with_velocity_term(denoised: Tensor, term: Tensor, sigma: float | Tensor) -> Tensor:
    """The denoised prediction x - sigma v of a flow model with v + g for v: denoised - sigma g, in the dtype
    of denoised.

    sigma: of this call, a number or something that broadcasts over denoised [B, ...].
    """
    return (denoised - sigma * term).to(denoised.dtype)


def evaluate_velocity_term(
    z: Tensor,
    maps_of: MapsOf,
    objective: Objective,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    *,
    weight: float = 4.0,
    on_evaluation: OnEvaluation = lambda j: None,
) -> StepResult:
    """One evaluation at z (= x in a flow model), without an update: the result holds the velocity term g [B,
    ...].
    """
    descent = Descent(z, maps_of, objective, subjects, context, on_evaluation)
    descent.evaluate(descent.everyone)
    gradient = torch.where(per_image(descent.non_finite, z), 0.0, descent.gradient)
    result = descent.result(torch.zeros_like(descent.updates))
    return replace(result, velocity_term=velocity_term(gradient, context.sigma, weight))
