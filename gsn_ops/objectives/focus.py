"""FOCUS: words of one subject attend to the same positions, different subjects do not (Bill et al. 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import NO_SUBJECT, aggregate, smooth, total
from ._regions import count_tokens, phrase_columns
from .base import only_one, register, with_role

BLUR = MapOptions(kernel_size=3, kernel_sigma=1.0, legacy_sigma=False)
"""FOCUS smooths with a true Gaussian of one cell."""


def js_divergence(rows: Tensor) -> Tensor:
    """Normalised Jensen-Shannon divergence of T >= 2 rows [B, T, n]: [B], 0 (equal) to 1 (disjoint).

    JSD = (1 / T) sum_t KL(q_t || mean_t q_t) / ln T with q = e^3 / sum(e^3), which emphasises a row's peak.
    FOCUS (Bill et al. 2025, arXiv 2510.02315; equation number not verified).
    """
    cubes = rows**3
    q = cubes / cubes.sum(-1, keepdim=True).clamp(min=1e-10)
    mean = q.mean(1, keepdim=True)
    return (q * ((q + 1e-10).log() - (mean + 1e-10).log())).sum(-1).mean(1) / math.log(rows.shape[1])


def bound_apart(groups: Sequence[Tensor]) -> Tensor:
    """L = (mean_j JSD(rows of group j) + 1 - JSD(mean rows of the groups)) / 2: k of [B, T_j, n] -> [B].

    FOCUS's loss (Bill et al. 2025, arXiv 2510.02315; equation number not verified).
    One group has no second part; without a group of two rows there is no first.
    """
    loss = total(0 * g.sum((1, 2)) for g in groups)
    inside = [js_divergence(g) for g in groups if g.shape[1] > 1]
    if inside:
        loss = loss + torch.stack(inside).mean(0)
    if len(groups) > 1:
        loss = loss + 1 - js_divergence(torch.stack([g.mean(1) for g in groups], 1))
    return loss / 2


def rows_of(maps: AttentionMaps, subjects: Sequence[SubjectColumns], options: MapOptions) -> list[Tensor]:
    """Raw attention to all tokens of a phrase in all encoders, smoothed: [B, tokens, h, w] per subject."""
    subjects = with_role(subjects)
    if not subjects:
        raise ValueError(NO_SUBJECT)
    a = aggregate(maps)
    rows = [torch.stack([a[..., n] for n in maps.index(phrase_columns(maps, s))], 1) for s in subjects]
    return [smooth(r, options.kernel_size, options.kernel_sigma, options.legacy_sigma) for r in rows]


@register("focus")
@dataclass(frozen=True)
class Focus:
    """Words of a subject together, subjects apart: `bound_apart`. For flow models.

    There is no second softmax; of `maps` only the smoothing is used.
    """

    maps: MapOptions = BLUR
    needs: MapNeeds = MapNeeds()

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return bound_apart([g.flatten(2) for g in rows_of(maps, subjects, self.maps)])

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """One subject of one token has neither words to keep together nor others to keep apart."""
        wanted = with_role(subjects)
        if len(wanted) == 1 and count_tokens(wanted[0]) > 1:
            return ""
        return only_one(subjects, "it keeps the words of a subject together and subjects apart")
