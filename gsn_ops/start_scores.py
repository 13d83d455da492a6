"""How promising the start of an image is, from the attention of its first steps: for choosing among seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from .maps import AttentionMaps, MapOptions
from .prompt import SubjectColumns
from .subject_maps import aggregate, maxima, separation, subject_maps

PRESENCE, FOCUS = "presence", "focus"
RANKINGS = (PRESENCE, FOCUS)
NO_SPREAD = 0.05
"""Standard deviation over seeds below which choosing among them is of no use. The demo UNet has 0.21."""
LOOK, LOOK_SHARE = 2, 0.35
GRID_STEP, GRID_POINTS = 0.05, 240  # 12 standard deviations to each side


@dataclass(frozen=True)
class StartScore:
    """One start. maxima: the highest attention of each subject. focus: how concentrated each one's is, 0 flat
    to 1 one cell. overlap: of the subjects' maps, 0 none to 0.5.
    """

    labels: tuple[str, ...]
    maxima: tuple[float, ...]
    focus: tuple[float, ...]
    overlap: float = 0.0

    def value(self, rank_by: str) -> float:
        """The weakest subject's number."""
        return presence(self.maxima) if rank_by == PRESENCE else min(self.focus)

    def weakest(self, rank_by: str) -> str:
        """The weakest subject."""
        values = self.maxima if rank_by == PRESENCE else self.focus
        return self.labels[values.index(min(values))]


def score_start(maps: AttentionMaps, subjects: Sequence[SubjectColumns]) -> StartScore:
    """The score of image 0 of these maps. Only wanted subjects count; raises ValueError without any."""
    wanted = [subject for subject in subjects if subject.phrase.role == "wanted"]
    found = subject_maps(maps, wanted, MapOptions())[:1]  # [1, k, h, w]
    concentrated = torch.cat([focus(_noun_map(maps, subject)) for subject in wanted])
    labels = tuple(subject.label for subject in wanted)
    peaks, overlap = maxima(found)[0].tolist(), float(separation(found))
    return StartScore(labels, tuple(peaks), tuple(concentrated.tolist()), overlap)


def best_look(steps: int, flow: bool) -> int:
    """The model call, from 1, whose attention ranks the starts of a run best: docs/seeds.md.

    The second; on flow models that after a third of the steps, since their first ones say little.
    """
    return min(steps, max(LOOK, round(LOOK_SHARE * steps)) if flow else LOOK)


def presence(peaks: Sequence[float], overlap: float = 0.0, overlap_weight: float = 0.0) -> float:
    """The weakest subject's highest attention, less its weight times the overlap of the maps.

    Overlap says nothing about which start will be right (docs/seeds.md), so its weight is 0, and it decides
    between equal starts only.
    """
    return min(peaks) - overlap_weight * overlap


def focus(raw: Tensor) -> Tensor:
    """1 + sum P ln P / ln(hw) [k] of maps [k, h, w], P a map normalised to the sum 1: 0 flat, 1 one cell."""
    flat = raw.flatten(1).double()  # [k, hw]
    p = flat / flat.sum(1, keepdim=True).clamp(min=1e-30)
    return 1 + (p * p.clamp(min=1e-30).log()).sum(1) / math.log(max(p.shape[1], 2))


def _noun_map(maps: AttentionMaps, subject: SubjectColumns) -> Tensor:
    """The raw attention to the noun in image 0, [1, h, w]."""
    columns = [c for own in subject.columns("noun").values() for c in own if c in maps.columns]
    return aggregate(maps)[:1, ..., maps.index(columns)].mean(-1)


def ranked(values: Sequence[float], overlaps: Sequence[float] = ()) -> list[int]:
    """Indices from the best value to the worst; of equal ones first the one with less overlap, if given, then
    in their order. Values that are not numbers come last.
    """
    overlaps = overlaps or [0.0] * len(values)
    known = [-math.inf if math.isnan(value) else value for value in values]
    return sorted(range(len(values)), key=lambda i: (-known[i], overlaps[i]))


def passes_per_image(
    starts: int, kept: int, look_at: int, steps: int, per_step: float = 1, look: float = 0
) -> float:
    """Passes for each finished image when `starts` are made up to their look and `kept` of them go on.

    per_step: passes of a model call, 2 with a negative prompt. look: passes of a look; 0 inside a call of the
    run.
    """
    return (starts * (look_at * per_step + look) + kept * (steps - look_at) * per_step) / kept


def right_when_picked(starts: int, share: float, auc: float) -> float:
    """How often the best ranked of several starts is right.

    share: of right images among all. auc: how often a right start is ranked above a wrong one of the same
    prompt. Scores are normal, of one width, and further apart by sqrt(2) times the normal quantile of auc
    (the binormal model); starts are independent.
    """
    normal = NormalDist()
    apart = math.sqrt(2) * normal.inv_cdf(auc)
    # The best one is right and at x, all others below x: a trapezoid sum over a smooth density is exact.
    points = [apart / 2 + GRID_STEP * k for k in range(-GRID_POINTS, GRID_POINTS + 1)]
    below = ((x, share * normal.cdf(x - apart) + (1 - share) * normal.cdf(x)) for x in points)
    return GRID_STEP * sum(starts * share * normal.pdf(x - apart) * rest ** (starts - 1) for x, rest in below)


def spread(values: Sequence[float]) -> float:
    """Standard deviation over the starts, 0 for one."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
