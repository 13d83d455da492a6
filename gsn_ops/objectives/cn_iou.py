"""Latent Refine's objective: presence plus separation (Grimal et al., IJCAI 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice
from ..prompt import SubjectColumns
from ..subject_maps import subject_maps
from .attend_and_excite import presence
from .base import register, with_role
from .separation import separation


@register("cn_iou")
@dataclass(frozen=True)
class PresenceAndSeparation:
    """L = L_CN + L_IoU (eq. 7 of Grimal et al.), L_IoU being eq. 6 of Grimal et al.

    reduction: "sum" as in the paper, "mean" = half of it as in the authors' code.
    """

    reduction: str = "sum"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("reduction", self.reduction, ("sum", "mean"))

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        m = subject_maps(maps, with_role(subjects), self.maps)
        loss = presence(m) + separation(m)
        return loss / 2 if self.reduction == "mean" else loss
