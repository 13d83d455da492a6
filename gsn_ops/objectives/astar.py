"""A-STAR: subjects apart from each other, each where it was before (Agarwal et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS, Region
from ..subject_maps import subject_maps, total
from .base import only_one, register, with_role
from .retention import SOURCES, kept_masks, lost_share
from .separation import separation


@register("astar")
@dataclass(frozen=True)
class AStar:
    """L = L_seg + L_ret (eq. 2 and 3 of A-STAR), both summed: over pairs and over subjects.

    The paper does not say how maps become masks B_j: ours is the Otsu foreground, component of the maximum,
    detached. At the first step L_ret is 0. mask, source: as in `retention`.
    """

    mask: str = "inclusive"
    source: str = "previous"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("mask", self.mask, CONVENTIONS)
        choice("source", self.source, SOURCES)

    @property
    def has_memory(self) -> bool:
        """Whether its loss at a run's first step lacks a term, for want of an earlier one."""
        return self.source == "previous"

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects = with_role(subjects)
        m = subject_maps(maps, subjects, self.maps)
        pairs = m.shape[1] * (m.shape[1] - 1) / 2
        masks = kept_masks(maps, m, subjects, context, self.maps, self.mask, self.source)
        segregation = separation(m) * pairs
        if not masks:
            return segregation
        return segregation + total(lost_share(m[:, j], mask) for j, mask in masks)

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """One subject overlaps with nothing; it can be kept at its earlier position, or in its region."""
        kept = self.source == "frozen" or compares or any(s.label in regions for s in subjects)
        return "" if kept else only_one(subjects)
