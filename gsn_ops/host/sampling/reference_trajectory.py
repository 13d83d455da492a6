"""A denoising trajectory of its own beside the sampler's: what the model makes of the prompt from another noise (SAGA)."""

from __future__ import annotations

import comfy.model_management
import torch
from torch import Tensor

from ...optimise.seeded_noise import generator, noise_like
from ...schedule import Schedule


def predict_clean(
    guider, model_k, like: Tensor, schedule: Schedule, step: int, extra: dict, seed: int
) -> Tensor:
    """The clean latent [B, ...] that plain guided sampling predicts at step - 1, from noise of its own. step >= 1.

    Deterministic Euler steps of the run's own schedule, with whatever guidance the run has; `step` calls of the model.
    """
    device = like.device
    with torch.no_grad():
        noise = torch.stack(
            [noise_like(image, generator(seed, b, "trajectory")) for b, image in enumerate(like.float())]
        )  # [B, ...]
        sigmas = torch.tensor(schedule.sigmas[: step + 1], device=device)
        x = guider.inner_model.model_sampling.noise_scaling(sigmas[0], noise, torch.zeros_like(noise), True)
        for now, then in zip(sigmas, sigmas[1:], strict=False):
            comfy.model_management.throw_exception_if_processing_interrupted()
            denoised = model_k(x, now * x.new_ones(len(x)), **extra)
            x = x + (x - denoised) / now * (then - now)
    return denoised
