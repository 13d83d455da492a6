"""Normalized Attention Guidance, as ComfyUI's core node computes it: what happens to a change of attention
after us.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-6


def normalized_guidance(positive: Tensor, negative: Tensor, scale: float, tau: float, alpha: float) -> Tensor:
    """Attention outputs [.., d] guided away from those of the negative prompt, bounded and blended.

    scale: of the guidance; tau: bound of the ratio of L1 norms; alpha: share of the guided output. A small
    change of `positive` is multiplied by 1 + alpha (scale - 1) as long as the bound is not reached.
    """
    guided = scale * positive - (scale - 1) * negative
    ratio = _norm(guided) / _norm(positive)
    guided = guided * torch.clamp(ratio, max=tau) / ratio
    return alpha * guided + (1 - alpha) * positive


def _norm(x: Tensor) -> Tensor:
    return x.abs().sum(-1, keepdim=True).clamp(min=EPS)
