"""Total variation: a subject's map shall have a foreground (Divide & Bind, Li et al., BMVC 2023)."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext, subject_maps
from ..prompt import SubjectColumns
from . import choice, register, with_role

KINDS = ("legacy", "textbook")


def total_variation(m: Tensor, kind: str = "legacy") -> Tensor:
    """TV(M) = mean |M[:, 1:] - M[:, :-1]| + V(M), maps [..., h, w] -> [...].

    Eq. 4 of Divide & Bind. kind: "textbook" V = mean |M[1:] - M[:-1]|; "legacy" V = mean |M[h-1] - M[1:]|, the last row
    against every later one, as in the authors' code, to which the published thresholds belong (about twice as large).
    """
    rows = m[..., -1:, :] - m[..., 1:, :] if kind == "legacy" else m[..., 1:, :] - m[..., :-1, :]
    return _mean_size(m[..., 1:] - m[..., :-1]) + _mean_size(rows)


def _mean_size(d: Tensor) -> Tensor:
    return d.abs().sum((-2, -1)) / max(1, d.shape[-2] * d.shape[-1])  # 0 where there is no neighbour


@register("tv")
@dataclass(frozen=True)
class TotalVariation:
    """L = -min_j TV(M_j): lifts the flattest map (L_attend of Divide & Bind). tv: "legacy" or "textbook" rows."""

    tv: str = "legacy"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self):
        choice("tv", self.tv, KINDS)

    def __call__(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext) -> Tensor:
        return -total_variation(subject_maps(maps, with_role(subjects), self.maps), self.tv).amin(1)

    def shortfall(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext,
                  threshold: float) -> Tensor:
        """[B], > 0 while min_j TV(M_j) < threshold: the published test looks at the variation, not at the loss."""
        return threshold - total_variation(subject_maps(maps, with_role(subjects), self.maps), self.tv).amin(1)
