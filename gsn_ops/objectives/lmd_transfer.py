"""LMD's attention transfer: a subject attends inside its box as it did when it was drawn alone (TMLR 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS, box_mask
from ..torch_ops.transfer import onto
from ._regions import must_be_placed, placed
from .base import choice, register, with_role


def reference_key(label: str, level: int, index: int) -> str:
    """Where `context.memory` holds the reference of a subject, level and step: [B or 1, layers, boxes, heads, h, w].

    The word's maps of the pass that drew this box alone, already shifted to the box; boxes in the region's order.
    """
    return f"lmd_reference:{label}:{level}:{index}"


def word_maps(maps: AttentionMaps, subject: SubjectColumns, level: int) -> Tensor:
    """Maps of the subject's word, the last piece of its noun (mean over encoders), per layer: [B, layers, heads, h, w].

    Also what a reference is made of. Raises ValueError for a subject without columns.
    """
    last = [columns[-1] for columns in subject.noun.values() if columns]
    if not last:
        raise ValueError(f"The subject '{subject.label}' has no column in the captured text.")
    where = maps.index(dict.fromkeys(last))
    return torch.stack([sum(a[..., i] for i in where) / len(where) for a in maps.heads[level]], 1)


def transfer(a: Tensor, r: Tensor, mask: Tensor) -> Tensor:
    """sum_u |hat(a)(u) - hat(r)(u)|, hat(a) = a B / (sum(a B) + 1e-5), maps [..., h, w] and B [h, w] -> [...].

    Eq. 4 of LMD.
    """
    b = onto(mask, a)
    a, r = (x * b / ((x * b).sum((-2, -1), keepdim=True) + 1e-5) for x in (a, r))
    return (a - r).abs().sum((-2, -1))


@register("lmd_transfer")
@dataclass(frozen=True)
class LMDTransfer:
    """E_ref = weight x mean over subjects with a region and over layers of mean over boxes and heads of `transfer`.

    weight: lambda = 2. mask: how boxes become cells. The references lie in `context.memory` under `reference_key`, for
    every step and level that has one; elsewhere the subject contributes 0. Added to `lmd` in a weighted sum.
    """

    weight: float = 2.0
    mask: str = "lmd"
    needs: MapNeeds = MapNeeds(heads=True)
    check = staticmethod(must_be_placed)

    def __post_init__(self):
        choice("mask", self.mask, CONVENTIONS)

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects, losses = with_role(subjects), []
        for level, layers in maps.heads.items():
            h, w = layers[0].shape[2:4]
            for j, whole in placed(subjects, context, h, w, self.mask):
                a = word_maps(maps, subjects[j], level)  # [B, layers, heads, h, w]
                r = context.memory.get(reference_key(subjects[j].label, level, context.index))
                if r is None:
                    losses.append(0 * a.sum((2, 3, 4)))
                    continue
                boxes = [
                    box_mask(box, h, w, self.mask) for box in context.regions[subjects[j].label].boxes
                ] or [whole]
                each = [
                    transfer(a, r[:, :, i].to(a), box).mean(2) for i, box in enumerate(boxes)
                ]  # [B, layers]
                losses.append(sum(each) / len(each))
        return self.weight * torch.cat(losses, 1).mean(1)
