"""Relation: subjects where the prompt says they are to each other, by the centres of their maps (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import number
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import subject_maps, total
from .base import register, with_role

SIGNS = {"left of": (-1, 1.0), "right of": (-1, -1.0), "above": (-2, 1.0), "below": (-2, -1.0)}
"""Relation -> (axis of the map, 1 if the first subject comes first on it)."""


def centre(m: Tensor, axis: int, power: float = 2.0) -> Tensor:
    """c = sum_u u M^power / sum M^power, u = (index + 0.5) / side on the axis -1 (x) or -2 (y): [B, h, w] ->
    [B] in 0 ... 1.
    """
    weight = m.clamp(min=0) ** power
    side = m.shape[axis]
    u = (torch.arange(side, dtype=m.dtype, device=m.device) + 0.5) / side
    along = weight.sum(-2 if axis == -1 else -1)  # [B, side]
    return (along * u).sum(-1) / along.sum(-1).clamp(min=1e-12)


def relation_hinge(a: Tensor, b: Tensor, relation: str, margin: float = 0.25, power: float = 2.0) -> Tensor:
    """relu(margin + c_a - c_b) for "left of" and "above", signs swapped for "right of" and "below"; maps
    [B, h, w] -> [B].
    """
    axis, sign = SIGNS[relation]
    return torch.relu(margin + sign * (centre(a, axis, power) - centre(b, axis, power)))


@register("relation")
@dataclass(frozen=True)
class Relation:
    """L = sum over the relations of the prompt of `relation_hinge`, 0 where all keep their margin.

    margin: the least distance of the centres, as a share of the image's side. power: of the map in its
    centre. A loss to add to another one: alone it may move a centre by thinning a map.
    """

    margin: float = 0.25
    power: float = 2.0
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        number("margin", self.margin, at_least=0, at_most=1, published="0.25, ours")
        number("power", self.power, more_than=0, published="2, ours")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects = with_role(subjects)
        m = subject_maps(maps, subjects, self.maps)
        hinges = [
            relation_hinge(m[:, i], m[:, j], name, self.margin, self.power)
            for i, name, j in _related(subjects)
        ]
        return total(hinges) if hinges else 0 * m.flatten(1).sum(1)

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """A prompt without a relation between its subjects."""
        if _related(with_role(subjects)):
            return ""
        names = ", ".join(f"'{s.label}'" for s in with_role(subjects)) or "none"
        return (
            "it keeps subjects where the prompt says they are to each other, and the prompt does not say so "
            f"of its subjects ({names}): write left of, right of, above or below between two of them"
        )


def _related(subjects: Sequence[SubjectColumns]) -> list[tuple[int, str, int]]:
    """(index, relation, index of the other) of each relation between these subjects."""
    index = {subject.label: n for n, subject in enumerate(subjects)}
    return [
        (n, name, index[other])
        for n, subject in enumerate(subjects)
        for name, other in subject.relations
        if other in index and other != subject.label
    ]
