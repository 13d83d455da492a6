"""Divide & Bind as the authors of FOCUS run it on flow models (Bill et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice
from ..prompt import SubjectColumns
from .base import register
from .divide_and_bind import TV_KINDS, total_variation
from .focus import BLUR, rows_of


def around_one(groups: Sequence[Tensor]) -> Tensor:
    """Each subject's mean row with a mean of 1 over its positions, k of [B, T_j, h, w] -> [B, k, h, w]."""
    rows = torch.stack([g.mean(1) for g in groups], 1)
    return rows / rows.mean((2, 3), keepdim=True).clamp(min=1e-12)


@register("focus_tv")
@dataclass(frozen=True)
class FocusVariation:
    """L = -min_j TV(row_j), rows with the sum H W: eq. 4 of Divide & Bind on them (authors' code of FOCUS).

    tv: "textbook" as published for flow models; "legacy" as in the code of Divide & Bind.
    There is no second softmax; of `maps` only the smoothing is used.
    """

    tv: str = "textbook"
    maps: MapOptions = BLUR
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("tv", self.tv, TV_KINDS)

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return -self._least(maps, subjects)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while min_j TV(row_j) < threshold, as for Divide & Bind."""
        return threshold - self._least(maps, subjects)

    def _least(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns]) -> Tensor:
        return total_variation(around_one(rows_of(maps, subjects, self.maps)), self.tv).amin(1)
