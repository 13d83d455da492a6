"""FlowEdit (Kulikov et al., ICCV 2025, arXiv 2412.08629): an edit without inversion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .ode import Velocity


def noisy(x: Tensor, noise: Tensor, sigma: float, flow: bool) -> Tensor:
    """The image x [...] with noise [...] at this level, in ComfyUI's x.

    flow: sigma is the share of the noise. Else the noise is added (EPS and v models; ours, not published).
    """
    return (1 - sigma) * x + sigma * noise if flow else x + sigma * noise


def edit_step(
    source: Tensor,
    edited: Tensor,
    sigmas: tuple[float, float],
    noises: Sequence[Tensor],
    velocities: tuple[Velocity, Velocity],
    flow: bool = True,
    mask: Tensor | None = None,
) -> Tensor:
    """One step of the edited image from sigmas[0] to sigmas[1].

    source, edited: [...] clean images. noises: one [...] per sample of the average. velocities: under the
    source and the target prompt. mask: where the image may change, broadcast to it (ours).
    """
    sigma, following = sigmas
    of_source, of_target = velocities
    differences = []
    for noise in noises:
        from_source = noisy(source, noise, sigma, flow)
        from_target = from_source + (edited - source)  # exact where nothing has changed yet
        differences.append(of_target(from_target, sigma) - of_source(from_source, sigma))
    change = torch.stack(differences).mean(0)
    return edited + (following - sigma) * (change if mask is None else change * mask)
