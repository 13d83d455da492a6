"""Prompt Reinjection: features of the prompt from an early block are added to those before later blocks.

Prompt Reinjection, ICML 2026, arXiv 2602.06886. Equation numbers not verified.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DEVIATION_EPS = 1e-6
NORM_EPS = 1e-6


def reinject(target: Tensor, origin: Tensor, w: float) -> Tensor:
    """Base form: x_l + w x_o. target, origin: the text's features [.., tokens, D] before two blocks."""
    return target + w * origin


def reinject_anchored(target: Tensor, origin: Tensor, w: float, rotation: Tensor | None = None) -> Tensor:
    """Anchored form: the standardised features are mixed, normalised, and given back the target's mean and
    deviation.

    target, origin [.., tokens, D]; mean and deviation are each token's over D. rotation [D, D], from
    `procrustes`: the aligned form. Independent of how large each block's features are.
    """
    mean, deviation = _moments(target)
    added = standardised(origin)
    if rotation is not None:
        added = added @ rotation
    mixed = (target - mean) / deviation + w * added
    return deviation * F.layer_norm(mixed, mixed.shape[-1:], eps=NORM_EPS) + mean


def standardised(x: Tensor) -> Tensor:
    """Each token's features [.., D] with mean 0 and deviation 1."""
    mean, deviation = _moments(x)
    return (x - mean) / deviation


def procrustes(origin: Tensor, target: Tensor, centre: bool = True) -> Tensor:
    """The rotation [D, D] that brings standardised features of the origin nearest to the target's.

    origin, target [n, D]: features of the same n tokens before two blocks. centre: subtract the mean over
    tokens first. Orthogonal Procrustes: U V^T of the singular vectors of X^T Y.
    """
    x, y = standardised(origin), standardised(target)
    if centre:
        x, y = x - x.mean(0), y - y.mean(0)
    u, _, vh = torch.linalg.svd(x.T @ y)
    return u @ vh


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over the last dimension, kept."""
    return x.mean(-1, keepdim=True), x.std(-1, keepdim=True) + DEVIATION_EPS
