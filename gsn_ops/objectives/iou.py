"""Separation: no two subjects may share their place (A-STAR's segregation; Grimal et al., IJCAI 2025)."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext, subject_maps
from ..prompt import SubjectColumns
from . import register


def separation(m: Tensor) -> Tensor:
    """L_IoU = mean over pairs of sum(min(M_a, M_b)) / sum(M_a + M_b), maps [B, k, h, w] -> [B] in [0, 0.5]. Eq. 6 of Grimal et al.

    One subject: a differentiable 0.
    """
    flat = m.flatten(2)  # [B, k, (h w)]
    if flat.shape[1] == 1:
        return 0 * flat.sum((1, 2))
    a, b = torch.triu_indices(flat.shape[1], flat.shape[1], offset=1, device=m.device)
    shared = torch.minimum(flat[:, a], flat[:, b]).sum(-1)  # [B, pairs]
    return (shared / (flat[:, a] + flat[:, b]).sum(-1).clamp(min=1e-12)).mean(1)


@register("iou")
@dataclass(frozen=True)
class Separation:
    """Pushes the maps of different subjects apart."""

    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __call__(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext) -> Tensor:
        return separation(subject_maps(maps, subjects, self.maps))
