"""Subjects that the person has given a place: what the layout objectives share."""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..maps import StepContext
from ..prompt import SubjectColumns


def placed(subjects: Sequence[SubjectColumns], context: StepContext, height: int, width: int,
           convention: str) -> list[tuple[int, Tensor]]:
    """(index of the subject, cells bool [height, width], at least one) for every subject that has a region.

    The cells stay on the CPU: counts and edges of boxes are then known without waiting for the device.
    Raises ValueError if no subject has a region, or for an unknown convention (`regions.CONVENTIONS`).
    """
    found = [(j, context.regions[s.label].on_grid(height, width, convention).cpu())
             for j, s in enumerate(subjects) if s.label in context.regions]
    if not found:
        labels = ", ".join(f"'{s.label}'" for s in subjects) or "none"
        raise ValueError("A layout method must know where a subject shall be, and no subject of this prompt has a region "
                         f"(subjects: {labels}). Add a Subject Region for one of them, or choose a method without layout.")
    return found


def top_mean(m: Tensor, count: int) -> Tensor:
    """Mean of the `count` (at least 1, at most all) largest values on the last axis: [..., n] -> [...]."""
    return m.topk(min(max(1, count), m.shape[-1]), -1).values.mean(-1)
