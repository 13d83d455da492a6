"""Retention: a subject stays where it was or shall be (A-STAR, Agarwal et al., ICCV 2023; SAGA, AAAI 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..subject_maps import subject_maps
from ..torch_ops.transfer import onto
from ._foreground import blob
from ._regions import has_area
from .attend_and_excite import presence
from .base import choice, register, with_role
from .per_encoder import memory_key

SOURCES = ("previous", "frozen")


def outside(m: Tensor, place: Tensor) -> Tensor:
    """1 - sum(min(M, B)) / sum(M + B), maps [B, h, w] and places [B, h, w] or [h, w] -> [B] in [0.5, 1].

    One subject's term of L_ret in A-STAR (eq. 3).
    """
    b = place.to(m).expand_as(m)
    return 1 - torch.minimum(m, b).sum((1, 2)) / (m + b).sum((1, 2)).clamp(min=1e-12)


def places(
    maps: AttentionMaps,
    m: Tensor,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    options: MapOptions,
    mask: str,
    source: str,
) -> list[tuple[int, Tensor]]:
    """(index of the subject, its place B_j, bool [h, w] or [B, h, w]) for all subjects that have one, without gradient.

    The user's region on the grid, else the blob of the subject's map: of the last evaluated step (source "previous",
    none at the first), or of the first evaluation of the run, kept from then on ("frozen").
    m: today's maps [B, k, h, w].
    """
    regions = {j: context.regions.get(s.label) for j, s in enumerate(subjects)}
    drawn = {
        j: onto(r.on_grid(*m.shape[-2:], mask), m, torch.bool) for j, r in regions.items() if has_area(r)
    }
    found = None
    if len(drawn) < len(subjects):
        if source == "frozen":
            key = memory_key("retention", maps)
            if key not in context.memory:
                context.memory[key] = blob(m)
            found = context.memory[key]
        elif context.previous is not None:
            found = blob(subject_maps(context.previous, subjects, options))
    if found is not None:
        drawn = {j: drawn.get(j, found[:, j]) for j in range(len(subjects))}
    return list(drawn.items())


@register("retention")
@dataclass(frozen=True)
class Retention:
    """L = L_mask + L_CN, L_mask = mean_j of 1 - sum(min(M_j, B_j)) / sum(M_j + B_j) (SAGA with layout).

    reduction: "mean" = half the sum (authors), or "sum". B_j: the subject's region, else its own earlier place, see
    `places`; a subject without any counts in L_CN only. mask: how boxes become cells. source: "frozen" or "previous".
    """

    reduction: str = "mean"
    mask: str = "inclusive"
    source: str = "frozen"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self):
        choice("reduction", self.reduction, ("sum", "mean"))
        choice("mask", self.mask, CONVENTIONS)
        choice("source", self.source, SOURCES)

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects = with_role(subjects)
        m = subject_maps(maps, subjects, self.maps)
        loss, kept = presence(m), places(maps, m, subjects, context, self.maps, self.mask, self.source)
        if kept:
            loss = loss + sum(outside(m[:, j], place) for j, place in kept) / len(kept)
        return loss / 2 if self.reduction == "mean" else loss
