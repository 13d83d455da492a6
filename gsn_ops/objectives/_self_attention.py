"""Weighted sums of self-attention rows, a few rows at a time: never the matrix of all positions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..maps import AttentionMaps
from ..subject_maps import total

ENTRIES_AT_ONCE = 256 * 256
"""Rows times positions held at one time: the whole matrix of a 16x16 grid, 16 rows of a 64x64 grid."""


def weighted_rows(maps: AttentionMaps, weights: Tensor) -> Tensor:
    """sum_u w_j(u) row(u), row(u) = self-attention of position u, weights [B, k, h, w] -> [B, k, h, w].

    Rows of the coarsest captured level, whose grid the weights must have. On larger grids rows are recomputed
    in the backward pass instead of being kept. Raises ValueError where the model has no self-attention on
    that level.
    """
    level = max(maps.cross)
    if level not in maps.self_rows:
        raise ValueError(
            f"No self-attention was captured on level {level}, which this objective needs (joint "
            "attention has none of its own). Choose another level or objective for this model."
        )
    rows = maps.self_rows[level]
    batch, _, h, w = weights.shape
    at_once = max(1, ENTRIES_AT_ONCE // (h * w))
    positions = torch.arange(h * w, device=weights.device).expand(batch, -1)  # [B, (h w)]

    def part(weight: Tensor, position: Tensor) -> Tensor:
        return weight @ rows(position).flatten(2).to(weight)  # [B, k, r] @ [B, r, (h w)]

    parts = list(zip(weights.flatten(2).split(at_once, 2), positions.split(at_once, 1), strict=True))
    if len(parts) == 1:
        return part(*parts[0]).unflatten(2, (h, w))
    summed = total(checkpoint(part, *p, use_reentrant=False, preserve_rng_state=False) for p in parts)
    return summed.unflatten(2, (h, w))
