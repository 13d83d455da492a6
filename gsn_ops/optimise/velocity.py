"""Guidance of flow models by their velocity (FOCUS, 2025, arXiv 2510.02315): the latent stays, the prediction is turned."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..maps import AttentionMaps, StepContext
from ..objectives import Objective
from ..prompt import SubjectColumns
from .guidance import Descent
from .refine import per_image
from .work import Worked

EPS = 1e-3


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


def steer(z: Tensor, maps_of: Callable[[Tensor], AttentionMaps], objective: Objective, subjects: Sequence[SubjectColumns], context: StepContext,
          *, weight: float = 4.0, on_shift: Callable[[int], None] = lambda j: None) -> tuple[Worked, Tensor]:
    """One look at z (= x in a flow model): what happened, without any update of z, and the term g [B, ...] of this step."""
    descent = Descent(z, maps_of, objective, subjects, context, on_shift)
    descent.evaluate(descent.everyone)
    kept = torch.where(per_image(descent.non_finite, z), 0.0, descent.gradient)
    return descent.result(torch.zeros_like(descent.shifts)), velocity_term(kept, context.sigma, weight)
