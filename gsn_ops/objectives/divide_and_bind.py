"""Total variation, alone and with attribute binding (Divide & Bind, Li et al., BMVC 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice
from ..prompt import SubjectColumns
from ..subject_maps import subject_maps, total
from .base import register, with_role

TV_KINDS = ("legacy", "textbook")


def total_variation(m: Tensor, kind: str = "legacy") -> Tensor:
    """TV(M) = mean |M[:, 1:] - M[:, :-1]| + V(M), maps [..., h, w] -> [...].

    Eq. 4 of Divide & Bind. kind: "textbook" V = mean |M[1:] - M[:-1]|; "legacy" V = mean |M[h-1] - M[1:]|,
    the last row against every later one, as in the authors' code, to which the published thresholds belong
    (about twice as large).
    """
    rows = m[..., -1:, :] - m[..., 1:, :] if kind == "legacy" else m[..., 1:, :] - m[..., :-1, :]
    return _mean_size(m[..., 1:] - m[..., :-1]) + _mean_size(rows)


def _mean_size(d: Tensor) -> Tensor:
    return d.abs().sum((-2, -1)) / max(1, d.shape[-2] * d.shape[-1])  # 0 where there is no neighbour


def attribute_divergence(m: Tensor, c: Tensor, variation: Tensor) -> Tensor:
    """JS divergence of the foregrounds of a subject's map and its attribute's, [B, h, w] each -> [B].

    L_bind of Divide & Bind (eq. 6) as in the authors' code: the attribute's map is scaled to the subject's
    maximum, both become distributions over pixels, what is below f max(p) is cut, nothing is normalised
    again.
    variation: TV of the subject's map [B]; f = 0.3 below 0.1, else 0.2.
    """
    m, c = m.flatten(1), c.flatten(1)  # [B, (h w)]
    c = c / c.amax(1, keepdim=True).clamp(min=1e-12) * m.amax(1, keepdim=True)
    p, q = m.softmax(1), c.softmax(1)
    f = 0.2 + 0.1 * (variation < 0.1).to(m)[:, None]  # [B, 1]
    threshold = f * p.amax(1, keepdim=True)
    p, q = ((x - threshold).relu() + 1e-5 for x in (p, q))
    middle = (p + q) / 2
    return ((p * (p / middle).log()).sum(1) + (q * (q / middle).log()).sum(1)) / 2


def binding_weight(index: float, n_steps: int) -> int:
    """Weight of L_bind: 1, 5, 10 from steps 0, 10, 20 of 50 on (authors' code), as shares of the run."""
    if 5 * index < n_steps:
        return 1
    return 5 if 5 * index < 2 * n_steps else 10


@register("tv")
@dataclass(frozen=True)
class TotalVariation:
    """L = -min_j TV(M_j): increases the variation of the flattest map (L_attend of Divide & Bind).

    tv: rows as in "legacy" or "textbook", see `total_variation`.
    """

    tv: str = "legacy"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("tv", self.tv, TV_KINDS)

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return -self._least(maps, subjects)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while min_j TV(M_j) < threshold: the published threshold is one of TV, not of the loss."""
        return threshold - self._least(maps, subjects)

    def _least(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns]) -> Tensor:
        return total_variation(subject_maps(maps, with_role(subjects), self.maps), self.tv).amin(1)


@register("tv_bind")
@dataclass(frozen=True)
class TotalVariationAndBinding:
    """L = max_j -(TV(M_j) - weight JS_j), weight by `binding_weight`; subjects without modifier: TV alone.

    Several modifiers: the mean of their JS. tv: rows as in "legacy" or "textbook". attribute_levels: "same" =
    attribute maps from the subjects' attention; "finer" (authors' code) = attribute maps from the captured
    levels finer than the coarsest, nearest pixel, the subjects' from the coarsest alone; with one level that
    is the same.
    """

    tv: str = "legacy"
    attribute_levels: str = "same"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("tv", self.tv, TV_KINDS)
        choice("attribute_levels", self.attribute_levels, ("same", "finer"))

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects = with_role(subjects)
        fine = self._fine(maps)
        m = subject_maps(self._coarse(maps), subjects, self.maps)
        variation = total_variation(m, self.tv)  # [B, k]
        weight = binding_weight(*context.position)
        values = []
        for j, subject in enumerate(subjects):
            value = variation[:, j]
            attributes = _attributes(subject)
            if attributes:
                c = subject_maps(fine, attributes, self.maps)  # [B, attributes, h, w]
                apart = [attribute_divergence(m[:, j], each, variation[:, j]) for each in c.unbind(1)]
                value = value - weight * total(apart) / len(apart)
            values.append(value)
        return -torch.stack(values, 1).amin(1)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while min_j TV(M_j) < threshold; the binding term does not count (authors' code)."""
        m = subject_maps(self._coarse(maps), with_role(subjects), self.maps)
        return threshold - total_variation(m, self.tv).amin(1)

    def _coarse(self, maps: AttentionMaps) -> AttentionMaps:
        """The maps that the subjects are read from."""
        if self.attribute_levels == "same":
            return maps
        level = max(maps.cross)
        return replace(maps, cross={level: maps.cross[level]})

    def _fine(self, maps: AttentionMaps) -> AttentionMaps:
        """The maps that the attributes are read from, on the coarsest grid."""
        if self.attribute_levels == "same" or len(maps.cross) == 1:
            return maps
        level = max(maps.cross)
        size = maps.cross[level].shape[1:3]
        finer = [
            F.interpolate(a.movedim(-1, 1), size, mode="nearest").movedim(1, -1)  # [B, h, w, n]
            for at, a in maps.cross.items()
            if at != level
        ]
        return replace(maps, cross={level: total(finer) / len(finer)})


def _attributes(subject: SubjectColumns) -> list[SubjectColumns]:
    """The modifiers of a subject that have columns, each as a subject of its own."""
    return [replace(subject, noun=words, modifiers=()) for words in subject.modifiers if any(words.values())]
