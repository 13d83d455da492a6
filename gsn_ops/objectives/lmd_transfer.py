"""LMD's attention transfer: inside its box as when it was generated alone (Lian et al., TMLR 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS, Region, box_mask
from ..subject_maps import no_column, total
from ..torch_ops.transfer import onto
from ._regions import must_be_placed, placed
from .base import register, with_role

NO_REFERENCES = (
    "it compares with the attention of each box generated alone, which only LMD Sampler has: connect this "
    "objective there, or choose the objective lmd"
)


def reference_key(label: str, level: int, index: int) -> str:
    """Key of a subject's reference [B or 1, layers, boxes, heads, h, w] at a step.

    The word's maps of the pass that generated this box alone, already moved to the box; boxes in the region's
    order.
    """
    return f"lmd_reference:{label}:{level}:{index}"


def word_maps(maps: AttentionMaps, subject: SubjectColumns, level: int) -> Tensor:
    """Maps per layer of the last token of the subject's noun (mean over encoders): [B, layers, heads, h, w].

    References are made of them, too. Raises ValueError for a subject without columns.
    """
    last = [columns[-1] for columns in subject.noun.values() if columns]
    if not last:
        raise ValueError(no_column(subject))
    indices = maps.index(list(dict.fromkeys(last)))
    words = [total(a[..., i] for i in indices) / len(indices) for a in maps.heads[level]]
    return torch.stack(words, 1)


def transfer(a: Tensor, r: Tensor, mask: Tensor) -> Tensor:
    """sum_u |hat(a)(u) - hat(r)(u)|, hat(a) = a B / (sum(a B) + 1e-5), a, r [..., h, w], B [h, w] -> [...].

    Eq. 4 of LMD.
    """
    b = onto(mask, a)
    a, r = (x * b / ((x * b).sum((-2, -1), keepdim=True) + 1e-5) for x in (a, r))
    return (a - r).abs().sum((-2, -1))


@register("lmd_transfer")
@dataclass(frozen=True)
class LMDTransfer:
    """E_ref = weight x mean over placed subjects and layers of the mean over boxes and heads of `transfer`.

    weight: lambda = 2. mask: box convention. LMD Sampler gives it the references, under `reference_key`; at a
    step and level without one (or in `context.memory`) the subject contributes 0. To be added to `lmd`.
    """

    weight: float = 2.0
    mask: str = "lmd"
    needs: MapNeeds = MapNeeds(heads=True)
    references: Mapping[str, Tensor] = field(default_factory=dict, compare=False, repr=False)
    check = staticmethod(must_be_placed)

    def __post_init__(self) -> None:
        choice("mask", self.mask, CONVENTIONS)
        number("weight", self.weight, at_least=0, published="2")

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """Why there is nothing to compare with, "" = there is."""
        return "" if self.references else NO_REFERENCES

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects, losses = with_role(subjects), []
        for level, layers in maps.heads.items():
            h, w = layers[0].shape[2:4]
            for j, whole in placed(subjects, context, (h, w), self.mask):
                a = word_maps(maps, subjects[j], level)  # [B, layers, heads, h, w]
                key = reference_key(subjects[j].label, level, context.index)
                r = self.references.get(key, context.memory.get(key))
                if r is None:
                    losses.append(0 * a.sum((2, 3, 4)))
                    continue
                region = context.regions[subjects[j].label]
                boxes = [box_mask(box, h, w, self.mask) for box in region.boxes] or [whole]
                each = [transfer(a, r[:, :, i].to(a), b).mean(2) for i, b in enumerate(boxes)]  # [B, layers]
                losses.append(total(each) / len(each))
        return self.weight * torch.cat(losses, 1).mean(1)
