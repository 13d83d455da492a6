"""The picture that a model predicts, with gradients: by preview colours or a VAE; its CLIP embedding."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autograd.differentiable import DifferentiableForward

NO_COLOURS = "This model has no preview colours, so its predicted picture cannot be seen: connect its VAE."
NOT_OF_IMAGES = "This VAE is not one of images: leave vae empty to use the preview colours."
OTHER_KIND = (
    "This CLIP Vision is of the kind {kind}, which shares no space with a text encoder of ComfyUI: load a "
    "CLIP, for example ViT-B/16."
)
OTHER_CHANNELS = (
    "This VAE decodes latents of {found} channels, and this model makes {wanted}: connect the VAE of this "
    "model, or leave vae empty."
)
CLIP_KIND = "clip_vision_model"


class Decoder(Protocol):
    """Predicted x0 of a model -> pictures."""

    @property
    def models(self) -> list:
        """ComfyUI's patchers of what it needs loaded."""
        ...

    def __call__(self, inner: Any, x0: Tensor) -> Tensor:
        """x0 [B, C, ...] of the BaseModel `inner`, in its own space -> [B, H, W, 3], about 0 ... 1."""
        ...


class PreviewColours:
    """ComfyUI's linear preview: a pixel per position of the latent."""

    def __init__(self, model: Any):
        if model.get_model_object("latent_format").latent_rgb_factors is None:
            raise ValueError(NO_COLOURS)
        self.models: list = []

    def __call__(self, inner: Any, x0: Tensor) -> Tensor:
        known = inner.latent_format
        if known.latent_rgb_factors_reshape is not None:
            x0 = known.latent_rgb_factors_reshape(x0)
        x0 = one_frame(x0).float().movedim(1, -1)
        shown = x0 @ torch.tensor(known.latent_rgb_factors, device=x0.device, dtype=x0.dtype)
        if known.latent_rgb_factors_bias is not None:
            shown = shown + torch.tensor(known.latent_rgb_factors_bias, device=x0.device, dtype=x0.dtype)
        return (shown + 1) / 2


class DecodedByVAE:
    """A VAE's decoder: exact, and as large as the picture. Raises ValueError for a VAE of videos or sound, or
    of another model.
    """

    def __init__(self, vae: Any, model: Any):
        if vae.latent_dim != 2 or vae.output_channels != 3:
            raise ValueError(NOT_OF_IMAGES)
        channels = model.get_model_object("latent_format").latent_channels
        if vae.latent_channels != channels:
            raise ValueError(OTHER_CHANNELS.format(found=vae.latent_channels, wanted=channels))
        self.vae, self.models = vae, [vae.patcher]

    def __call__(self, inner: Any, x0: Tensor) -> Tensor:
        latent = inner.process_latent_out(one_frame(x0))
        decoded = self.vae.first_stage_model.decode(latent.to(self.vae.device, self.vae.vae_dtype))
        return self.vae.process_output(decoded.float().clone()).movedim(1, -1).to(x0.device)


def one_frame(x0: Tensor) -> Tensor:
    """[B, C, H, W] of a latent [B, C, (1,) H, W]."""
    return x0[:, :, 0] if x0.ndim == 5 else x0


class ClipVision:
    """The image tower with gradients. Raises ValueError for another kind of CLIP Vision."""

    def __init__(self, vision: Any):
        if vision.model_type != CLIP_KIND:
            raise ValueError(OTHER_KIND.format(kind=vision.model_type))
        self.vision, self.models = vision, [vision.patcher]

    def __call__(self, pictures: Tensor) -> Tensor:
        """[B, H, W, 3] -> [B, d]: ComfyUI's centre square, without its rounding to 8 bit, which has no
        gradient.
        """
        see = self.vision
        x = pictures.to(see.load_device).movedim(-1, 1).float()
        factor = see.image_size / min(x.shape[2:])
        size = [round(factor * side) for side in x.shape[2:]]
        x = F.interpolate(x, size=size, mode="bicubic", antialias=True)
        top, left = ((side - see.image_size) // 2 for side in size)
        x = x[:, :, top : top + see.image_size, left : left + see.image_size].clamp(0, 1)
        mean, std = (torch.tensor(v, device=x.device)[:, None, None] for v in (see.image_mean, see.image_std))
        with DifferentiableForward(rope_kernels=False, in_place=True):
            return see.model(pixel_values=(x - mean) / std, intermediate_output=-2)[2].float()
