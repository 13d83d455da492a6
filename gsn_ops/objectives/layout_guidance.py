"""Layout guidance: all attention of a word inside its box (Chen et al., WACV 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..torch_ops.transfer import onto
from ._regions import must_be_placed, phrase_columns, placed
from .base import register, with_role


def box_energy(a: Tensor, mask: Tensor) -> Tensor:
    """(1 - sum(A B) / sum(A))^2 of maps a [..., h, w] in the box mask [h, w]: [...] in [0, 1].

    The energy of backward guidance for one word in one head (Chen et al., WACV 2024; equation number not
    verified).
    """
    inside = (a * onto(mask, a)).sum((-2, -1)) / a.sum((-2, -1)).clamp(min=1e-12)
    return (1 - inside) ** 2


@register("layout_guidance")
@dataclass(frozen=True)
class LayoutGuidance:
    """L = loss_scale * mean over layers and placed subjects of the mean over words and heads of `box_energy`.

    On raw maps per head; published for the middle block and the first up block with text attention (levels 8
    and 4 of SD1): blocks="middle_up". mask: box convention. loss_scale: published: 30.
    The published update is one of x: x - sigma^2 dL/dx.
    """

    mask: str = "floor"
    loss_scale: float = 30.0
    needs: MapNeeds = MapNeeds(heads=True)
    check = staticmethod(must_be_placed)

    def __post_init__(self) -> None:
        choice("mask", self.mask, CONVENTIONS)
        number("loss_scale", self.loss_scale, more_than=0, published="30")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects, losses = with_role(subjects), []
        for layers in maps.heads.values():
            boxes = placed(subjects, context, layers[0].shape[2:4], self.mask)
            for a in layers:  # [B, heads, h, w, n]
                for j, mask in boxes:
                    words = torch.stack([a[..., n] for n in maps.index(phrase_columns(maps, subjects[j]))], 1)
                    losses.append(box_energy(words, mask).mean((1, 2)))  # [B, words, heads] -> [B]
        return self.loss_scale * torch.stack(losses).mean(0)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while L / loss_scale > threshold (published: 0.2)."""
        return self(maps, subjects, context) / self.loss_scale - threshold
