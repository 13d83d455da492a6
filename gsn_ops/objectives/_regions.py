"""Helpers of layout objectives: the cells of each subject's region, the columns of its phrase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..maps import AttentionMaps, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import no_column
from .base import with_role


def has_area(region: Region | None) -> bool:
    """Whether a region is more than a point."""
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
    subjects: Sequence[SubjectColumns], context: StepContext, grid: Sequence[int], convention: str
) -> list[tuple[int, Tensor]]:
    """(index, cells bool on the grid (h, w), at least one) of every subject that has a box or a mask.

    The cells are on the CPU, so that counting them and finding a box's edges does not wait for the device.
    Raises ValueError if no subject has one, or for an unknown convention (`regions.CONVENTIONS`).
    """
    must_be_placed(subjects, context.regions)
    height, width = grid
    return [
        (j, context.regions[s.label].on_grid(height, width, convention).cpu())
        for j, s in enumerate(subjects)
        if has_area(context.regions.get(s.label))
    ]


def phrase_columns(maps: AttentionMaps, subject: SubjectColumns) -> list[int]:
    """Columns of all words of a phrase in all encoders of the maps, each once.

    Raises ValueError if there is none.
    """
    columns = subject.columns("phrase")
    found: set[int] = set()
    for span in maps.spans:
        found.update(c for c in columns.get(span.encoder, ()) if span.start <= c < span.stop)
    if not found:
        raise ValueError(no_column(subject))
    return sorted(found)


def count_tokens(subject: SubjectColumns) -> int:
    """Number of a subject's tokens in all encoders, one that two encoders share counted once."""
    return len({column for columns in subject.columns("phrase").values() for column in columns})


def top_mean(m: Tensor, count: int) -> Tensor:
    """Mean of the `count` (at least 1, at most all) largest values on the last axis: [..., n] -> [...]."""
    return m.topk(min(max(1, count), m.shape[-1]), -1).values.mean(-1)
