"""FOCUS: the words of one subject share a place, different subjects do not (Bill et al. 2025, for flow models)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..subject_maps import NO_SUBJECT, aggregate, smooth
from ._regions import phrase_columns
from .base import register, with_role

BLUR = MapOptions(kernel_size=3, kernel_sigma=1.0, legacy_sigma=False)
"""FOCUS smooths with a true Gaussian of one cell."""


def divergence(rows: Tensor) -> Tensor:
    """Normalised Jensen-Shannon divergence of T >= 2 rows [B, T, n] of weights: [B], 0 (the same) to 1 (disjoint).

    JSD = (1 / T) sum_t KL(q_t || mean_t q_t) / ln T with q = e^3 / sum(e^3): cubes make a row its peak.
    """
    cubes = rows**3
    q = cubes / cubes.sum(-1, keepdim=True).clamp(min=1e-10)
    mean = q.mean(1, keepdim=True)
    return (q * ((q + 1e-10).log() - (mean + 1e-10).log())).sum(-1).mean(1) / math.log(rows.shape[1])


def bound_apart(groups: Sequence[Tensor]) -> Tensor:
    """L = (mean over groups of >= 2 rows of JSD(rows) + 1 - JSD(mean row of each group)) / 2: k of [B, T_j, n] -> [B].

    One group has no second part; without a group of two rows there is no first.
    """
    loss = sum(0 * g.sum((1, 2)) for g in groups)
    inside = [divergence(g) for g in groups if g.shape[1] > 1]
    if inside:
        loss = loss + torch.stack(inside).mean(0)
    if len(groups) > 1:
        loss = loss + 1 - divergence(torch.stack([g.mean(1) for g in groups], 1))
    return loss / 2


def rows_of(maps: AttentionMaps, subjects: Sequence[SubjectColumns], options: MapOptions) -> list[Tensor]:
    """Raw attention to all pieces of a phrase in all encoders, smoothed: one [B, pieces, h, w] per wanted subject."""
    subjects = with_role(subjects)
    if not subjects:
        raise ValueError(NO_SUBJECT)
    a = aggregate(maps)
    rows = [torch.stack([a[..., n] for n in maps.index(phrase_columns(maps, s))], 1) for s in subjects]
    return [smooth(r, options.kernel_size, options.kernel_sigma, options.legacy_sigma) for r in rows]


@register("focus")
@dataclass(frozen=True)
class Focus:
    """Words of a subject together, subjects apart. There is no second softmax; maps: only its smoothing is used."""

    maps: MapOptions = BLUR
    needs: MapNeeds = MapNeeds()

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return bound_apart([g.flatten(2) for g in rows_of(maps, subjects, self.maps)])
