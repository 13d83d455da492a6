"""Layout: which subject belongs in which region."""
from __future__ import annotations

from collections.abc import Sequence

from .prompt import PromptTokens, SubjectColumns
from .regions import Region
from .subjects import resolve


def place_subjects(subjects: Sequence[SubjectColumns], tokens: PromptTokens) -> tuple[tuple[SubjectColumns, ...], dict[str, Region]]:
    """The subjects, those that only a region names among them, and label -> region.

    A region belongs to the subject with the same noun in the prompt, however its phrase was typed. Several regions of one
    subject are one region of several parts. Raises ValueError for a region whose subject is not in the prompt.
    """
    placed, regions = list(subjects), {}
    for phrase, region in tokens.regions:
        (named,) = resolve((phrase,), tokens)
        same = next((s for s in placed if s.noun == named.noun), None)
        if same is None:
            placed.append(same := named)
        regions[same.label] = regions[same.label] | region if same.label in regions else region
    return tuple(placed), regions
