"""Presence: every subject needs a strong maximum (Attend-and-Excite, Chefer et al., SIGGRAPH 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import number
from ..prompt import SubjectColumns
from ..subject_maps import subject_maps
from ._regions import top_mean
from .base import register, with_role


def presence(m: Tensor, top_k: int = 1) -> Tensor:
    """L_CN = max_j max(0, 1 - max_yx M_j), maps [B, k, h, w] -> [B] in [0, 1].

    Eq. 2 of Attend-and-Excite (Chefer et al., SIGGRAPH 2023), eq. 5 of Grimal et al., IJCAI 2025.
    top_k: mean of the top_k largest values instead of the largest (Self-Cross Guidance).
    """
    values = m.flatten(2).amax(-1) if top_k <= 1 else top_mean(m.flatten(2), top_k)  # [B, k]
    return (1 - values).clamp(min=0).amax(1)


@register("presence")
@dataclass(frozen=True)
class Presence:
    """Increases the attention of the weakest subject: `presence`.

    top_k: values averaged instead of the maximum.
    """

    top_k: int = 1
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        number("top_k", self.top_k, at_least=1, published="1")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return presence(subject_maps(maps, with_role(subjects), self.maps), self.top_k)
