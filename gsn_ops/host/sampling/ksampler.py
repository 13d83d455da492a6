"""ComfyUI's own KSampler as a function."""

from __future__ import annotations

import comfy.samplers

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
