"""The mask of DiffEdit as ComfyUI's MASK, and as heat over the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...report.drawing.heat_map import heat_map
from ...report.preview import latent_rgb
from ..sampling.sampler_report import preview_matrix
from .diff_edit import FoundMask


def mask_pictures(
    model: Any, latent: dict, found: FoundMask, image: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mask [B, H, W] in pixels of the picture, and the contrast over the picture [B, H, W, 3], grey
    outside the mask.

    image: [B or 1, H, W, 3]; None = the latent's preview colours, or plain grey.
    """
    ratio = model.get_model_object("latent_format").spacial_downscale_ratio
    mask = enlarged(found.mask, ratio)
    ground = grounds(model, latent, mask, image)
    drawn = []
    for b, contrast in enumerate(found.contrast):
        picture = ground[min(b, len(ground) - 1)]
        heat = heat_map(picture, contrast.numpy(), opacity=0.6, peak=1.0)
        inside = torch.nn.functional.interpolate(mask[b][None, None], picture.shape[:2]).numpy()[
            0, 0, ..., None
        ]
        grey = picture.mean(-1, keepdims=True) * 0.6 + 0.1
        drawn.append(torch.from_numpy(np.where(inside > 0.5, heat, grey).astype(np.float32)))
    return mask, torch.stack(drawn)


def enlarged(mask: Tensor, ratio: int) -> Tensor:
    """[B, h, w] -> [B, h ratio, w ratio], positions as squares."""
    return mask.repeat_interleave(ratio, 1).repeat_interleave(ratio, 2)


def grounds(model: Any, latent: dict, mask: Tensor, image: Tensor | None) -> list[np.ndarray]:
    """The pictures to draw on."""
    if image is not None:
        return [one[..., :3].float().cpu().numpy() for one in image]
    matrix = preview_matrix(model.get_model_object("latent_format"))
    if matrix is None:
        return [np.full((*mask.shape[1:], 3), 0.5, np.float32)]
    small = latent_rgb(latent["samples"], matrix).movedim(-1, 1)
    large = torch.nn.functional.interpolate(small, mask.shape[1:], mode="bilinear").movedim(1, -1)
    return list(large.numpy())
