"""How promising the start of an image is, from the attention of its first steps: for choosing among seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .maps import AttentionMaps, MapOptions
from .prompt import SubjectColumns
from .subject_maps import aggregate, maxima, subject_maps

PRESENCE, FOCUS = "presence", "focus"
RANKINGS = (PRESENCE, FOCUS)
NO_SPREAD = 0.05
"""Standard deviation over seeds below which choosing among them is of no use. The demo UNet has 0.21."""


@dataclass(frozen=True)
class StartScore:
    """One start. maxima: the highest attention of each subject. focus: how concentrated each one's is, 0 flat
    to 1 one cell.
    """

    labels: tuple[str, ...]
    maxima: tuple[float, ...]
    focus: tuple[float, ...]

    def value(self, rank_by: str) -> float:
        """The weakest subject's number."""
        return min(self.maxima if rank_by == PRESENCE else self.focus)

    def weakest(self, rank_by: str) -> str:
        """The weakest subject."""
        values = self.maxima if rank_by == PRESENCE else self.focus
        return self.labels[values.index(min(values))]


def score_start(maps: AttentionMaps, subjects: Sequence[SubjectColumns]) -> StartScore:
    """The score of image 0 of these maps. Only wanted subjects count; raises ValueError without any."""
    wanted = [subject for subject in subjects if subject.phrase.role == "wanted"]
    found = maxima(subject_maps(maps, wanted, MapOptions()))[0]
    concentrated = torch.stack([_focus(maps, subject)[0] for subject in wanted])
    labels = tuple(subject.label for subject in wanted)
    return StartScore(labels, tuple(found.tolist()), tuple(concentrated.tolist()))


def _focus(maps: AttentionMaps, subject: SubjectColumns) -> Tensor:
    """1 + sum P ln P / ln(hw) [B], P the raw attention to the noun, normalised over the map."""
    columns = [c for own in subject.columns("noun").values() for c in own if c in maps.columns]
    raw = aggregate(maps)[..., maps.index(columns)].mean(-1).flatten(1).double()  # [B, hw]
    p = raw / raw.sum(1, keepdim=True).clamp(min=1e-30)
    return 1 + (p * p.clamp(min=1e-30).log()).sum(1) / math.log(max(p.shape[1], 2))


def ranked(values: Sequence[float]) -> list[int]:
    """Indices from the best value to the worst; equal ones in their order."""
    return sorted(range(len(values)), key=lambda i: -values[i])


def spread(values: Sequence[float]) -> float:
    """Standard deviation over the starts, 0 for one."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
