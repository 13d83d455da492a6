"""DiffEdit (Couairon et al., ICLR 2023, arXiv 2210.11427): where two prompts make another image."""

from __future__ import annotations

import torch
from torch import Tensor


def contrast_map(differences: Tensor, clip: float = 3.0) -> Tensor:
    """Differences of two predictions, averaged over noises and channels: [B, h, w] -> [B, h, w] in 0 ... 1.

    They are cut at `clip` times their mean in each image, and divided by it. A flat zero stays zero.
    """
    most = clip * differences.mean((-2, -1), keepdim=True)
    return torch.minimum(differences, most) / most.clamp(min=1e-12)


def edit_mask(contrast: Tensor, threshold: float = 0.5) -> Tensor:
    """Where a contrast map [B, h, w] is above the threshold: float [B, h, w] of 0 and 1."""
    return (contrast > threshold).float()
