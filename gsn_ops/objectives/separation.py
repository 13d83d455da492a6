"""Separation: subjects must not overlap (segregation of A-STAR, ICCV 2023; Grimal et al., IJCAI 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import separation, subject_maps
from .base import only_one, register, with_role


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
