"""Bounded Attention's loss: a subject's words and cells attend in its box, not outside (Dahary et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..torch_ops.transfer import onto
from ._regions import has_area, must_be_placed, phrase_columns, placed
from ._self_attention import mixture
from .base import choice, register, with_role


def leak(foreground: Tensor, background: Tensor, n_boxes: int) -> Tensor:
    """(1 - r)^2 with r = fg / (fg + N_box bg): 0 = nothing outside, 1 = nothing inside."""
    return (1 - foreground / (foreground + n_boxes * background).clamp(min=1e-12)) ** 2


def words_and_end(maps: AttentionMaps, subject: SubjectColumns) -> list[int]:
    """Columns of a phrase and of the end marker behind it."""
    columns = phrase_columns(maps, subject)
    ends = {s.stop for s in maps.prompt if any(s.start <= c < s.stop for c in columns)}
    return columns + sorted(ends & set(maps.columns))


@register("bounded")
@dataclass(frozen=True)
class Bounded:
    """L = cross_weight sum_i leak(cross-attention) + self_weight sum_i leak(self-attention), i = subjects with a box.

    Cross: attention of the cells of box i to the words of i and the end marker, against that of the cells in no box;
    per head, mean over the layers of a level before the ratio. Self: attention of the cells of box i to box i, against
    that of the cells in no box to box i; mean over heads and layers. mask: convention of the boxes.
    The paper also masks attention itself, which needs no gradient and is not part of this.
    """

    cross_weight: float = 1.5
    self_weight: float = 0.5
    mask: str = "lmd"
    needs: MapNeeds = MapNeeds(heads=True, self_rows=True)
    check = staticmethod(must_be_placed)

    def __post_init__(self):
        choice("mask", self.mask, CONVENTIONS)

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects = with_role(subjects)
        loss = self.cross_weight * self._cross(maps, subjects, context)
        return loss + self.self_weight * self._self(maps, subjects, context) if self.self_weight else loss

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while L / N_box > threshold (0.2 as published)."""
        n_boxes = sum(has_area(context.regions.get(s.label)) for s in with_role(subjects))
        return self(maps, subjects, context) / max(1, n_boxes) - threshold

    def _cross(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext) -> Tensor:
        """Sum over boxes of the leak of cross-attention, mean over heads and levels: [B]."""
        levels = []
        for layers in maps.heads.values():
            boxes = placed(subjects, context, *layers[0].shape[2:4], self.mask)
            free = ~torch.stack([mask for _, mask in boxes]).any(0)
            a = torch.stack(layers).mean(0)  # [B, heads, h, w, n]
            leaks = []
            for j, mask in boxes:
                own = sum(a[..., n] for n in maps.index(words_and_end(maps, subjects[j])))  # [B, heads, h, w]
                inside, beside = ((own * onto(cells, own)).sum((2, 3)) for cells in (mask, free))
                leaks.append(leak(inside, beside, len(boxes)).mean(1))
            levels.append(torch.stack(leaks).sum(0))
        return torch.stack(levels).mean(0)

    def _self(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext) -> Tensor:
        """Sum over boxes of the leak of self-attention: [B]."""
        a = maps.cross[max(maps.cross)]  # [B, h, w, n]
        masks = torch.stack(
            [mask for _, mask in placed(subjects, context, *a.shape[1:3], self.mask)]
        )  # [k, h, w]
        cells = onto(torch.cat([masks, ~masks.any(0, keepdim=True)]), a)  # the last: in no box
        seen = mixture(maps, cells.expand(len(a), -1, -1, -1))  # [B, k + 1, h, w]
        inside, beside = (
            (seen[:, :-1] * cells[:-1]).sum((2, 3)),
            (seen[:, -1:] * cells[:-1]).sum((2, 3)),
        )  # [B, k]
        return leak(inside, beside, len(masks)).sum(1)
