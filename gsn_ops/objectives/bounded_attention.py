"""Bounded Attention's loss: words and positions attend inside their box (Dahary et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..subject_maps import total
from ..torch_ops.transfer import onto
from ._regions import has_area, must_be_placed, phrase_columns, placed
from ._self_attention import weighted_rows
from .base import register, with_role


def leak(foreground: Tensor, background: Tensor, n_boxes: int) -> Tensor:
    """(1 - r)^2 with r = fg / (fg + N_box bg): 0 = nothing outside, 1 = nothing inside.

    Loss of one subject in Bounded Attention (Dahary et al., ECCV 2024; equation number not verified).
    """
    return (1 - foreground / (foreground + n_boxes * background).clamp(min=1e-12)) ** 2


def words_and_end(maps: AttentionMaps, subject: SubjectColumns) -> list[int]:
    """Columns of a phrase and of the end marker after it."""
    columns = phrase_columns(maps, subject)
    ends = {s.stop for s in maps.prompt if any(s.start <= c < s.stop for c in columns)}
    return columns + sorted(ends & set(maps.columns))


@register("bounded")
@dataclass(frozen=True)
class BoundedAttention:
    """L = cross_weight sum_i leak(cross-attention) + self_weight sum_i leak(self-attention), boxes i.

    Cross: attention of the positions in box i to the words of i and the end marker, against that of the
    positions in no box; per head, mean over the layers of a level before the ratio. Self: attention of the
    positions in box i to box i, against that of the positions in no box to box i; mean over heads and layers.
    mask: box convention. The paper also masks attention itself, which needs no gradient and is not part of
    this objective.
    """

    cross_weight: float = 1.5
    self_weight: float = 0.5
    mask: str = "lmd"
    needs: MapNeeds = MapNeeds(heads=True, self_rows=True)
    check = staticmethod(must_be_placed)

    def __post_init__(self) -> None:
        choice("mask", self.mask, CONVENTIONS)
        number("cross_weight", self.cross_weight, at_least=0, published="1.5")
        number("self_weight", self.self_weight, at_least=0, published="0.5")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects = with_role(subjects)
        loss = self.cross_weight * self._cross(maps, subjects, context)
        if not self.self_weight:
            return loss
        return loss + self.self_weight * self._self(maps, subjects, context)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while L / N_box > threshold (published: 0.2)."""
        n_boxes = sum(has_area(context.regions.get(s.label)) for s in with_role(subjects))
        return self(maps, subjects, context) / max(1, n_boxes) - threshold

    def _cross(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext) -> Tensor:
        """Sum over boxes of the leak of cross-attention, mean over heads and levels: [B]."""
        levels = []
        for layers in maps.heads.values():
            boxes = placed(subjects, context, layers[0].shape[2:4], self.mask)
            free = ~torch.stack([mask for _, mask in boxes]).any(0)
            a = torch.stack(layers).mean(0)  # [B, heads, h, w, n]
            leaks = []
            for j, mask in boxes:
                own = total(
                    a[..., n] for n in maps.index(words_and_end(maps, subjects[j]))
                )  # [B, heads, h, w]
                inside = (own * onto(mask, own)).sum((2, 3))  # [B, heads]
                outside = (own * onto(free, own)).sum((2, 3))
                leaks.append(leak(inside, outside, len(boxes)).mean(1))
            levels.append(torch.stack(leaks).sum(0))
        return torch.stack(levels).mean(0)

    def _self(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext) -> Tensor:
        """Sum over boxes of the leak of self-attention: [B]."""
        a = maps.cross[max(maps.cross)]  # [B, h, w, n]
        boxes = placed(subjects, context, a.shape[1:3], self.mask)
        masks = torch.stack([mask for _, mask in boxes])  # [k, h, w]
        cells = onto(torch.cat([masks, ~masks.any(0, keepdim=True)]), a)  # the last: in no box
        seen = weighted_rows(maps, cells.expand(len(a), -1, -1, -1))  # [B, k + 1, h, w]
        inside = (seen[:, :-1] * cells[:-1]).sum((2, 3))  # [B, k]
        outside = (seen[:, -1:] * cells[:-1]).sum((2, 3))
        return leak(inside, outside, len(masks)).sum(1)
