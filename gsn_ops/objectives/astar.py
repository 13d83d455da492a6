"""A-STAR: subjects apart from each other, each where it was a step ago (Agarwal et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..subject_maps import subject_maps
from .base import choice, register, with_role
from .retention import SOURCES, outside, places
from .separation import separation


@register("astar")
@dataclass(frozen=True)
class AStar:
    """L = L_seg + L_ret (eq. 2 and 3 of A-STAR), both summed: over pairs and over subjects.

    How maps become places B_j is not published: Otsu foreground, component of the maximum, frozen. At the first step
    L_ret is 0. mask, source: as in `retention`.
    """

    mask: str = "inclusive"
    source: str = "previous"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self):
        choice("mask", self.mask, CONVENTIONS)
        choice("source", self.source, SOURCES)

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects = with_role(subjects)
        m = subject_maps(maps, subjects, self.maps)
        k = m.shape[1]
        kept = places(maps, m, subjects, context, self.maps, self.mask, self.source)
        return separation(m) * (k * (k - 1) / 2) + sum(outside(m[:, j], place) for j, place in kept)
