"""RF-Inversion (Rout et al., ICLR 2025, arXiv 2410.10792): controlled steps of a flow in both directions."""

from __future__ import annotations

from torch import Tensor

from .ode import Velocity


def to_noise(
    y: Tensor, noise: Tensor, sigmas: tuple[float, float], velocity: Velocity, gamma: float
) -> Tensor:
    """One step of Algorithm 1 from sigmas[0] up to sigmas[1] < 1: the image y [...] is drawn towards `noise`
    [...].

    gamma: 0 = the model's own way, 1 = straight to the noise.
    """
    sigma, following = sigmas
    drift = (1 - gamma) * velocity(y, sigma) + gamma * (noise - y) / (1 - sigma)
    return y + (following - sigma) * drift


def to_image(
    x: Tensor, image: Tensor, sigmas: tuple[float, float], velocity: Velocity, eta: float | Tensor
) -> Tensor:
    """One step of Algorithm 2 from sigmas[0] > 0 down to sigmas[1]: x [...] is drawn towards `image` [...].

    eta: 0 = the prompt alone, 1 = the image alone; a number, or one for each place.
    """
    sigma, following = sigmas
    drift = -(1 - eta) * velocity(x, sigma) + eta * (image - x) / sigma
    return x + (sigma - following) * drift


def strength_at(share: float, eta: float, decay: float) -> float:
    """eta at a share of the steps, 0 ... 1: (1 - share) ** decay of it; decay 0 = the same at all."""
    return eta * (1 - share) ** decay
