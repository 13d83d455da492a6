"""Separation: subjects must not overlap (segregation of A-STAR, ICCV 2023; Grimal et al., IJCAI 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import subject_maps
from .base import only_one, register, with_role


def separation(m: Tensor) -> Tensor:
    """L_IoU = mean over pairs of sum(min(M_a, M_b)) / sum(M_a + M_b), maps [B, k, h, w] -> [B] in [0, 0.5].

    Eq. 6 of Grimal et al.; times the number of pairs eq. 2 of A-STAR. One subject: a differentiable 0.
    """
    subjects = m.flatten(2).unbind(1)  # k of [B, (h w)]
    if len(subjects) == 1:
        return 0 * subjects[0].sum(1)
    overlaps = [
        torch.minimum(a, b).sum(1) / (a + b).sum(1).clamp(min=1e-12) for a, b in combinations(subjects, 2)
    ]
    return torch.stack(overlaps).mean(0)


@register("iou")
@dataclass(frozen=True)
class Separation:
    """Pushes the maps of different subjects apart: `separation`."""

    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return separation(subject_maps(maps, with_role(subjects), self.maps))

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """One subject overlaps with nothing."""
        return only_one(subjects)
