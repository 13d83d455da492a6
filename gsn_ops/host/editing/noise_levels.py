"""What a sampler needs to know of a model's noise: its kind, its velocity, and the latents it begins with."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.model_sampling as kinds
import comfy.sample
import torch
from torch import Tensor

from ...editing.ode import Velocity

OTHER_KIND = (
    "This model does not make images from noise step by step, so an image has no way back to noise: use "
    "another model."
)
EMPTY = "{node} edits an image, and its latent is empty: connect VAE Encode of your image."
OTHER_VAE = (
    "The latent has {found} channels, and this model works on {wanted}: encode the image with this model's "
    "VAE."
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


def check_image(inner: Any, latent: Tensor, node: str) -> None:
    """Raises ValueError unless this latent [B, C, ...] of a run holds an image for the BaseModel `inner`."""
    if not latent.count_nonzero():
        raise ValueError(EMPTY.format(node=node))
    channels = inner.latent_format.latent_channels
    if latent.shape[1] != channels:
        raise ValueError(OTHER_VAE.format(found=latent.shape[1], wanted=channels))
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
    channels = model.get_model_object("latent_format").latent_channels
    if samples.shape[1] != channels:
        raise ValueError(OTHER_VAE.format(found=samples.shape[1], wanted=channels))
    if not torch.isfinite(samples).all():
        raise ValueError(NOT_FINITE.format(node=node))
    return samples


def as_latent(model_sampling: Any, x: Tensor, sigma: float) -> Tensor:
    """What a sampler returns for its state x [B, ...] at this level.

    As ComfyUI has it, but x itself at sigma 1 of a flow model, where ComfyUI would divide by zero.
    """
    level = torch.tensor(sigma, device=x.device)
    return x if is_flow(model_sampling) and sigma >= 1 else model_sampling.inverse_noise_scaling(level, x)
