"""What layout objectives share: the cells that a subject shall have, the columns of its phrase, strongest cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..maps import AttentionMaps, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from .base import with_role


def has_area(region: Region | None) -> bool:
    """Does a region say more than a point?"""
    return region is not None and bool(region.boxes or region.mask is not None)


def must_be_placed(subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
    """Raises ValueError if no wanted subject has a box or a mask (an objective's `check`)."""
    subjects = with_role(subjects)
    if not any(has_area(regions.get(s.label)) for s in subjects):
        labels = ", ".join(f"'{s.label}'" for s in subjects) or "none"
        raise ValueError(
            "A layout method must know where a subject shall be, and no subject of this prompt has a box "
            f"or mask (subjects: {labels}). Add a Subject Region for one of them, or choose a method "
            "without layout."
        )


def placed(
    subjects: Sequence[SubjectColumns], context: StepContext, height: int, width: int, convention: str
) -> list[tuple[int, Tensor]]:
    """(index of the subject, cells bool [height, width], at least one) for every subject that has a box or a mask.

    The cells stay on the CPU: counts and edges of boxes are then known without waiting for the device.
    Raises ValueError if no subject has one, or for an unknown convention (`regions.CONVENTIONS`).
    """
    must_be_placed(subjects, context.regions)
    return [
        (j, context.regions[s.label].on_grid(height, width, convention).cpu())
        for j, s in enumerate(subjects)
        if has_area(context.regions.get(s.label))
    ]


def phrase_columns(maps: AttentionMaps, subject: SubjectColumns) -> list[int]:
    """Columns of all words of a phrase in all encoders of the maps, each once. Raises ValueError if there is none."""
    columns = subject.columns("phrase")
    found = {c for span in maps.spans for c in columns.get(span.encoder, ()) if span.start <= c < span.stop}
    if not found:
        raise ValueError(f"The subject '{subject.label}' has no column in the captured text.")
    return sorted(found)


def top_mean(m: Tensor, count: int) -> Tensor:
    """Mean of the `count` (at least 1, at most all) largest values on the last axis: [..., n] -> [...]."""
    return m.topk(min(max(1, count), m.shape[-1]), -1).values.mean(-1)
