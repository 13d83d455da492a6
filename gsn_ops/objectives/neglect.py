"""Neglect: the inverse of presence, for unwanted objects (USTC study of Attend-and-Excite, 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import number
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import maxima, subject_maps
from .base import register, with_role


def excess(m: Tensor, tolerated: float) -> Tensor:
    """L_neg = max_j max(0, max_yx M_j - tolerated), maps [B, k, h, w] -> [B].

    The report gives no formula; this one is ours.
    """
    return (maxima(m) - tolerated).clamp(min=0).amax(1)


@register("neglect")
@dataclass(frozen=True)
class Neglect:
    """Reduces the attention of the strongest unwanted subject: `excess`. tau: attention that is tolerated.

    Reads only the subjects whose role is "unwanted"; add `presence` (weight 1) for the wanted ones.
    """

    tau: float = 0.05
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()
    role: ClassVar[str] = "unwanted"

    def __post_init__(self) -> None:
        number("tau", self.tau, at_least=0, at_most=1, published="0.05, ours")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        self.check(subjects, context.regions)
        return excess(subject_maps(maps, with_role(subjects, self.role), self.maps), self.tau)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while anything unwanted is above tau; the threshold does not matter."""
        return self(maps, subjects, context)

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool = False
    ) -> str:
        """Nothing to reduce without an unwanted subject."""
        if with_role(subjects, self.role):
            return ""
        return (
            "no subject is marked as unwanted: put a minus before one, as in '-glasses', or choose another "
            "method"
        )

    def check(self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
        """Raises ValueError if no subject is unwanted."""
        if not with_role(subjects, self.role):
            labels = ", ".join(f"'{s.label}'" for s in subjects) or "none"
            raise ValueError(
                "There is nothing to suppress: no subject is marked as unwanted "
                f"(subjects: {labels}). Put a minus before one, as in '-glasses', or choose another method."
            )
