"""Latents as RGB images."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Decoder(Protocol):
    """What is used of a VAE."""

    def decode(self, latents: Tensor) -> Tensor: ...


def latent_rgb(latents: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Latents [B, C, h, w] (video: [B, C, t, h, w], first frame) in preview colours: [B, h, w, 3] in 0 ... 1.

    matrix: one row (red, green, blue) per channel, then the bias.
    """
    if latents.ndim == 5:
        latents = latents[:, :, 0]
    rows = torch.tensor(matrix, dtype=torch.float32)
    rgb = latents.float().cpu().movedim(1, -1) @ rows[:-1] + rows[-1]  # [B, h, w, 3]
    return (rgb / 2 + 0.5).clamp(0, 1)


def decode(vae: Decoder, latents: Tensor) -> Tensor:
    """Latents [B, C, ...] decoded by a VAE: images [B, H, W, 3] in 0 ... 1 (video: the first frame)."""
    images = vae.decode(latents.float())
    return images[:, 0] if images.ndim == 5 else images


def latent_images(
    latents: Tensor | None, vae: Decoder | None, matrix: tuple[tuple[float, ...], ...] | None
) -> Tensor | None:
    """Latents as images [B, H, W, 3]: decoded if there is a VAE, else in preview colours, else None."""
    if latents is None:
        return None
    if vae is not None:
        return decode(vae, latents)
    return None if matrix is None else latent_rgb(latents, matrix)
