"""ComfyUI's own KSampler as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

import nodes  # ComfyUI's module; ours of that name is inside the pack

SAMPLERS: tuple[str, ...] = tuple(comfy.samplers.KSampler.SAMPLERS)
SCHEDULERS: tuple[str, ...] = tuple(comfy.samplers.KSampler.SCHEDULERS)


def sample(
    model,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive,
    negative,
    latent: dict,
    denoise: float = 1.0,
) -> dict:
    """One KSampler run: the LATENT it returns."""
    # The type checker takes our own package `nodes` for it.
    return nodes.common_ksampler(  # type: ignore[attr-defined]
        model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent, denoise=denoise
    )[0]


def sample_noise(
    model,
    noise: Tensor,
    seed: int,
    numbers: tuple[int, float, str, str],
    conditionings: tuple[Any, Any],
    on_step: Callable[[int, Tensor, Tensor, int], None],
) -> Tensor:
    """A KSampler run that begins with this noise [B, ...] and no image: its samples.

    numbers: steps, cfg, sampler_name and scheduler.
    """
    samples = comfy.sample.sample(
        model,
        noise,
        *numbers,
        *conditionings,
        torch.zeros_like(noise),
        callback=on_step,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    return samples


def sigmas(model, numbers: tuple[int, float, str, str]) -> Tensor:
    """The noise levels of a whole KSampler run."""
    steps, _, sampler_name, scheduler = numbers
    made = comfy.samplers.KSampler(
        model, steps, model.load_device, sampler_name, scheduler, 1.0, model.model_options
    )
    return made.sigmas


def empty_latent(model, latent: dict) -> Tensor:
    """The latent that this model samples from the one given: its channels and dimensions."""
    return comfy.sample.fix_empty_latent_channels(
        model,
        latent["samples"],
        latent.get("downscale_ratio_spacial", None),
        latent.get("downscale_ratio_temporal", None),
    )
