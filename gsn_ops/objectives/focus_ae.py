"""Attend-and-Excite as the authors of FOCUS run it on flow models (Bill et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import total
from .attend_and_excite import presence
from .base import only_one, register
from .focus import BLUR, rows_of


def shares(groups: Sequence[Tensor]) -> Tensor:
    """Each subject's share of every position, k of [B, T_j, h, w] -> [B, k, h, w].

    Rows are divided by the sum of all subjects' rows; a subject is the mean of its own. Authors' code.
    """
    all_rows = total(g.sum(1) for g in groups).clamp(min=1e-12)  # [B, h, w]
    return torch.stack([g.mean(1) / all_rows for g in groups], 1)


@register("focus_ae")
@dataclass(frozen=True)
class FocusPresence:
    """L = max(0, 1 - min_j max_yx share_j): eq. 2 of Attend-and-Excite on shares (authors' code of FOCUS).

    There is no second softmax; of `maps` only the smoothing is used.
    """

    maps: MapOptions = BLUR
    needs: MapNeeds = MapNeeds()

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return presence(shares(rows_of(maps, subjects, self.maps)))

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """One subject has all of every position's attention."""
        return only_one(subjects, "it compares the shares of subjects")
