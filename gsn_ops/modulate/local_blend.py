"""Prompt-to-Prompt's LocalBlend: where an edit may change the image.

Hertz et al., ICLR 2023, arXiv 2208.01626. Equation number not verified.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

THRESHOLD = 0.3


def word_mask(maps: Tensor, size: tuple[int, int], threshold: float = THRESHOLD) -> Tensor:
    """Where the edited words are in one image: bool [.., H, W] of the latent's size.

    maps [.., h, w]: attention summed over the words, mean over layers and heads. The highest of 3x3 cells,
    relative to the image's maximum, must exceed the threshold.
    """
    grid = maps.reshape(-1, 1, *maps.shape[-2:])
    grid = F.max_pool2d(grid, 3, stride=1, padding=1)
    grid = F.interpolate(grid, size, mode="nearest")
    grid = grid / grid.amax((-1, -2), keepdim=True).clamp(min=1e-12)
    return (grid > threshold).reshape(*maps.shape[:-2], *size)


def blend_mask(source: Tensor, target: Tensor, size: tuple[int, int], threshold: float = THRESHOLD) -> Tensor:
    """Where the source or the target image has its edited words: bool [.., H, W]."""
    return word_mask(source, size, threshold) | word_mask(target, size, threshold)


def blend(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The target latent inside the mask, the source latent elsewhere; [.., C, H, W], mask [.., H, W]."""
    return target.where(mask.unsqueeze(-3), source)
