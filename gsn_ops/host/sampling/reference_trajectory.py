"""A plain Euler trajectory from another noise: the x0 that the model predicts for the prompt (SAGA)."""

from __future__ import annotations

import comfy.model_management
import torch
from torch import Tensor

from ...optimise.seeded_noise import generator, noise_like
from ...schedule import Schedule
from ..attention.sampler_state import SamplerState


def predict_x0(state: SamplerState, schedule: Schedule, step: int, seed: int) -> Tensor:
    """The clean latent [B, ...] that plain guided sampling predicts at step - 1, from another noise. step >=
    1.

    Deterministic Euler steps of the run's own schedule, with whatever guidance the run has; `step` calls of
    the model.
    """
    with torch.no_grad():
        noises = [
            noise_like(image, generator(seed, b, "trajectory")) for b, image in enumerate(state.x.float())
        ]
        noise = torch.stack(noises)  # [B, ...]
        sigmas = torch.tensor(schedule.sigmas[: step + 1], device=state.x.device)
        model_sampling = state.guider.inner_model.model_sampling
        x = model_sampling.noise_scaling(sigmas[0], noise, torch.zeros_like(noise), True)
        for now, then in zip(sigmas, sigmas[1:], strict=False):
            comfy.model_management.throw_exception_if_processing_interrupted()
            denoised = state.model(x, now * x.new_ones(len(x)), **state.arguments)
            x = x + (x - denoised) / now * (then - now)
    return denoised
