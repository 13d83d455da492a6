"""BoxDiff: every subject inside its box, not outside, and up to the box's edges (Xie et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..subject_maps import subject_maps
from ..torch_ops.transfer import onto
from ._regions import must_be_placed, placed, top_mean
from .base import register, with_role


def strongest(m: Tensor, mask: Tensor, share: float) -> Tensor:
    """fg: mean of the floor(share |B|) largest values (at least 1) of M B; m [B, h, w], mask [h, w] -> [B].

    1 - fg is BoxDiff's inner-box constraint L_IB; with the complement as mask, fg is the outer-box constraint
    L_OB (Xie et al., ICCV 2023; equation numbers not verified). The authors' code omits "at least 1" and
    gives NaN for small boxes.
    """
    return top_mean((m * onto(mask, m)).flatten(1), int(share * mask.sum().item()))


def corner(m: Tensor, mask: Tensor, reach: int) -> Tensor:
    """dx = mean_x(|max_y M - max_y B| c), m [B, h, w], mask [h, w] -> [B]; transpose both for dy.

    BoxDiff's corner constraint L_CC = dx + dy (Xie et al., ICCV 2023; equation number not verified).
    c(x) = 1 within `reach` cells of the box's first column and of the one after its last.
    """
    box = mask.any(0)  # [w]
    first, width = int(box.int().argmax()), len(box)
    stop = width - int(box.flip(0).int().argmax())
    x = torch.arange(width)
    near = ((x - first).abs() <= reach) | ((x - stop).abs() <= reach)
    return ((m.amax(1) - onto(box, m)).abs() * onto(near, m)).mean(1)


@register("boxdiff")
@dataclass(frozen=True)
class BoxDiff:
    """L = sum over subjects with a region of L_IB + L_OB + L_CC = max(0, 1 - fg) + max(0, bg) + dx + dy.

    mask, floor_at_zero: "round" and True as published; "inclusive" and False in SAGA's variant (AAAI 2026).
    p: share of the cells that is averaged. corner: reach of the corner constraint in cells.
    """

    mask: str = "round"
    floor_at_zero: bool = True
    p: float = 0.2
    corner: int = 1
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()
    check = staticmethod(must_be_placed)

    def __post_init__(self) -> None:
        choice("mask", self.mask, CONVENTIONS)
        number("p", self.p, more_than=0, at_most=1, published="0.2")
        number("corner", self.corner, at_least=0, published="1")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        losses = []
        for m, mask in self._pairs(maps, subjects, context):
            inner, outer = 1 - strongest(m, mask, self.p), strongest(m, ~mask, self.p)
            if self.floor_at_zero:
                inner, outer = inner.clamp(min=0), outer.clamp(min=0)
            dx, dy = corner(m, mask, self.corner), corner(m.mT, mask.T, self.corner)
            losses.append(inner + outer + dx + dy)
        return torch.stack(losses).sum(0)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while max_j (1 - fg_j) > 1 - threshold: the weakest box alone decides (authors' code)."""
        inside = [strongest(m, mask, self.p) for m, mask in self._pairs(maps, subjects, context)]
        return threshold - torch.stack(inside).amin(0)

    def _pairs(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> list[tuple[Tensor, Tensor]]:
        """Map [B, h, w] and cells [h, w] of each subject that has a region."""
        subjects = with_role(subjects)
        m = subject_maps(maps, subjects, self.maps)
        return [(m[:, j], mask) for j, mask in placed(subjects, context, m.shape[-2:], self.mask)]
