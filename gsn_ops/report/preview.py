"""Latents as small RGB images."""

from __future__ import annotations

import torch
from torch import Tensor


def latent_rgb(latents: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Latents [B, C, h, w] (video: [B, C, t, h, w], first frame) as small pictures [B, h, w, 3] in 0..1."""
    if latents.ndim == 5:
        latents = latents[:, :, 0]
    rows = torch.tensor(matrix, dtype=torch.float32)
    rgb = latents.float().cpu().movedim(1, -1) @ rows[:-1] + rows[-1]  # [B, h, w, 3]
    return (rgb / 2 + 0.5).clamp(0, 1)


def decode(vae, latents: Tensor) -> Tensor:
    """Latents [B, C, ...] as pictures [B, H, W, 3] in 0..1 by a VAE (video: first frame)."""
    images = vae.decode(latents.float())
    return images[:, 0] if images.ndim == 5 else images


def pictures(latents: Tensor | None, vae, matrix: tuple[tuple[float, ...], ...] | None) -> Tensor | None:
    """Latents as pictures [B, H, W, 3]: by the VAE if there is one, else by the preview colours, else None."""
    if latents is None or (vae is None and matrix is None):
        return None
    return latent_rgb(latents, matrix) if vae is None else decode(vae, latents)
