"""What a sampler needs to know of a model's noise: its kind, its velocity, and the latents it begins with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import comfy.model_management
import comfy.model_sampling as kinds
import comfy.sample
import torch
from torch import Tensor

from ...editing.ode import Velocity
from ...editing.trajectory import Trajectory

OTHER_KIND = (
    "This model does not make images from noise step by step, so an image has no way back to noise: use "
    "another model."
)
EMPTY = "{node} edits an image, and its latent is empty: connect VAE Encode of your image."
OTHER_VAE = (
    "The latent has {found} channels, and this model works on {wanted}: encode the image with this model's "
    "VAE."
)
OTHER_DIMENSIONS = (
    "The latent has {found} dimensions, and this model works on {wanted}: encode the image with this model's "
    "VAE."
)
OTHER_MODEL = (
    "{node}: the trajectory was made by another kind of model. Connect this model to Invert Image too."
)
NO_LEVELS = (
    "{node}: the sigmas are not numbers, as kl_optimal gives for 1 step: use more steps, or another "
    "scheduler."
)
NOT_FALLING = (
    "{node} needs sigmas that fall to 0, and these go from {first} to {last}: connect those of "
    "BasicScheduler, without FlipSigmas, or the low ones of SplitSigmas."
)
PARTS = "{node}: this latent has several parts (image and sound, say). Connect one of images."
NOT_FINITE = (
    "{node}: the latent contains NaN or infinite values. The node before made them; a VAE in half precision "
    "is a common cause (try --fp32-vae)."
)
UNKNOWN = (kinds.IMG_TO_IMG, kinds.IMG_TO_IMG_FLOW, kinds.V_PREDICTION_DDPM)
FLIPPED_ZERO = 1e-3
"""FlipSigmas writes 1e-4 for the 0 at a schedule's end; levels below this are the image itself."""


def check_kind(model_sampling: Any) -> None:
    """Raises ValueError for a model whose x is not an image with noise added or mixed in."""
    known = isinstance(model_sampling, (kinds.EPS, kinds.CONST, kinds.COSMOS_RFLOW))
    if isinstance(model_sampling, UNKNOWN) or not known:
        raise ValueError(OTHER_KIND)


def is_flow(model_sampling: Any) -> bool:
    """Whether sigma is the share of the noise in x, 1 = noise alone."""
    return isinstance(model_sampling, kinds.CONST)


def velocity_of(predict: Any, model_sampling: Any, extra_args: dict, seen: list[Tensor]) -> Velocity:
    """v = (x - D) / sigma of a guider or of what stands for it. Below the model's least sigma: at that one.

    seen: its first entry becomes the last prediction D. A cancelled queue ends it.
    """
    least = float(model_sampling.sigma_min)

    def velocity(x: Tensor, sigma: float) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        sigma = max(float(sigma), least)
        denoised = predict(x, x.new_full((len(x),), sigma), **extra_args)
        seen[:] = [denoised]
        return (x - denoised) / sigma

    return velocity


def check_levels(levels: Sequence[float], node: str, falling: bool = True, to_zero: bool = False) -> None:
    """Raises ValueError for noise levels of a run that are not numbers, or do not fall (to 0) as asked."""
    if not all(map(math.isfinite, levels)):
        raise ValueError(NO_LEVELS.format(node=node))
    rise = falling and len(levels) > 1 and levels[-1] >= levels[0]
    if rise or (to_zero and levels[-1] > FLIPPED_ZERO):
        raise ValueError(NOT_FALLING.format(node=node, first=f"{levels[0]:g}", last=f"{levels[-1]:g}"))


def noise_kind(latent_format: Any, model_sampling: Any) -> str:
    """What the states of a trajectory are: of which latents, and how the noise is in them."""
    return f"{type(latent_format).__name__}, noise {'mixed in' if is_flow(model_sampling) else 'added'}"


def check_made_by(trajectory: Trajectory, latent_format: Any, model_sampling: Any, node: str) -> None:
    """Raises ValueError unless a model with these can have made the trajectory."""
    too_noisy = trajectory.sigmas[-1] > float(model_sampling.sigma_max) * (1 + 1e-4)
    if too_noisy or trajectory.kind != noise_kind(latent_format, model_sampling):
        raise ValueError(OTHER_MODEL.format(node=node))


def check_image(inner: Any, latent: Tensor, node: str) -> None:
    """Raises ValueError unless this latent [B, C, ...] of a run holds an image for the BaseModel `inner`."""
    if not latent.count_nonzero():
        raise ValueError(EMPTY.format(node=node))
    check_fits(inner.latent_format, latent, node)


def check_fits(latent_format: Any, latent: Tensor, node: str) -> None:
    """Raises ValueError unless a model of this format can work on the latent [B, C, ...]."""
    channels, dimensions = latent_format.latent_channels, latent_format.latent_dimensions + 2
    if latent.shape[1] != channels:
        raise ValueError(OTHER_VAE.format(found=latent.shape[1], wanted=channels))
    if latent.ndim != dimensions:
        raise ValueError(OTHER_DIMENSIONS.format(found=latent.ndim, wanted=dimensions))
    if not torch.isfinite(latent).all():
        raise ValueError(NOT_FINITE.format(node=node))


def image_latent(model: Any, latent: dict, node: str) -> Tensor:
    """The samples of a LATENT that holds an image for this model.

    Raises ValueError, with the cure, for what cannot be edited.
    """
    check_kind(model.get_model_object("model_sampling"))
    samples = latent["samples"]
    if not isinstance(samples, Tensor) or getattr(samples, "is_nested", False):
        raise ValueError(PARTS.format(node=node))
    if not samples.count_nonzero():
        raise ValueError(EMPTY.format(node=node))
    samples = comfy.sample.fix_empty_latent_channels(model, samples)
    check_fits(model.get_model_object("latent_format"), samples, node)
    return samples


def as_latent(model_sampling: Any, x: Tensor, sigma: float) -> Tensor:
    """What a sampler returns for its state x [B, ...] at this level.

    As ComfyUI has it, but x itself at sigma 1 of a flow model, where ComfyUI would divide by zero.
    """
    level = torch.tensor(sigma, device=x.device)
    return x if is_flow(model_sampling) and sigma >= 1 else model_sampling.inverse_noise_scaling(level, x)
