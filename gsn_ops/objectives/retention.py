"""Retention: a subject stays in its mask (A-STAR, Agarwal et al., ICCV 2023; SAGA, AAAI 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..subject_maps import subject_maps, total
from ..torch_ops.transfer import onto
from ._foreground import blob
from ._regions import has_area
from .attend_and_excite import presence
from .base import register, with_role
from .per_encoder import memory_key

SOURCES = ("previous", "frozen")


def lost_share(m: Tensor, mask: Tensor) -> Tensor:
    """1 - sum(min(M, B)) / sum(M + B), maps [B, h, w] and masks [B, h, w] or [h, w] -> [B] in [0.5, 1].

    One subject's term of L_ret in A-STAR (eq. 3).
    """
    b = mask.to(m).expand_as(m)
    return 1 - torch.minimum(m, b).sum((1, 2)) / (m + b).sum((1, 2)).clamp(min=1e-12)


def kept_masks(
    maps: AttentionMaps,
    m: Tensor,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    options: MapOptions,
    convention: str,
    source: str,
) -> list[tuple[int, Tensor]]:
    """(index, mask B_j, bool [h, w] or [B, h, w]) of all subjects that have one, detached.

    The user's region on the grid, else the blob of the subject's map: of the last evaluated step (source
    "previous", none at the first), or of the first evaluation of the run ("frozen").
    m: the subject maps [B, k, h, w] of this evaluation.
    """
    h, w = m.shape[-2:]
    masks: dict[int, Tensor] = {}
    for j, subject in enumerate(subjects):
        region = context.regions.get(subject.label)
        if region is not None and has_area(region):
            masks[j] = onto(region.on_grid(h, w, convention), m, torch.bool)
    if len(masks) == len(subjects):
        return list(masks.items())
    found = None  # [B, k, h, w]
    if source == "frozen":
        key = memory_key("retention", maps)
        if key not in context.memory:
            context.memory[key] = blob(m)
        found = context.memory[key]
    elif context.previous is not None:
        found = blob(subject_maps(context.previous, subjects, options))
    if found is None:
        return list(masks.items())
    return [(j, masks.get(j, found[:, j])) for j in range(len(subjects))]


@register("retention")
@dataclass(frozen=True)
class Retention:
    """L = L_mask + L_CN, L_mask = mean_j of 1 - sum(min(M_j, B_j)) / sum(M_j + B_j) (SAGA with layout).

    reduction: "mean" = half the sum (authors' code), or "sum". B_j: the subject's region, else its own
    earlier mask, see `kept_masks`; a subject without any counts in L_CN only. mask: box convention. source:
    "frozen" or "previous".
    """

    reduction: str = "mean"
    mask: str = "inclusive"
    source: str = "frozen"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("reduction", self.reduction, ("sum", "mean"))
        choice("mask", self.mask, CONVENTIONS)
        choice("source", self.source, SOURCES)

    @property
    def has_memory(self) -> bool:
        """Whether its loss at a run's first step lacks a term, for want of an earlier one."""
        return self.source == "previous"

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects = with_role(subjects)
        m = subject_maps(maps, subjects, self.maps)
        loss = presence(m)
        masks = kept_masks(maps, m, subjects, context, self.maps, self.mask, self.source)
        if masks:
            loss = loss + total(lost_share(m[:, j], mask) for j, mask in masks) / len(masks)
        return loss / 2 if self.reduction == "mean" else loss
