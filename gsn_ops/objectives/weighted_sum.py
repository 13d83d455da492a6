"""A weighted sum of objectives, each with the maps and subjects that it would have alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import total
from .base import (
    Objective,
    check_prompt,
    evaluate_loss,
    has_map_options,
    has_memory,
    has_shortfall,
    map_options,
    reason_to_skip,
    register,
    role_of,
)

Parts = tuple[tuple[float, Objective], ...]
"""(weight, objective) each."""


@register("weighted_sum")
@dataclass(frozen=True)
class WeightedSum:
    """L = sum over parts (weight, objective) of weight L_part.

    A part with levels reads only those; one without reads all levels that the others need. A part that reads
    subjects of a role of which there are none (neglect without anything unwanted) counts 0. Raises ValueError
    for no parts, or for parts that need different spans of the second softmax, blocks or encoders.
    """

    parts: Parts
    internal: ClassVar[bool] = True  # a user makes it by adding objectives

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("A weighted sum needs at least one objective.")
        flat: list[tuple[float, Objective]] = []  # a sum of sums is one sum
        for weight, part in self.parts:
            inner = part.parts if isinstance(part, WeightedSum) else ((1.0, part),)
            flat += [(weight * w, p) for w, p in inner]
        object.__setattr__(self, "parts", tuple(flat))
        spans = {part.needs.span: type(part).__name__ for _, part in self.parts if part.needs.span != "auto"}
        if len(spans) > 1:
            needed = ", ".join(f"{name} needs '{span}'" for span, name in spans.items())
            raise ValueError(
                f"These objectives compare words over different parts of the text ({needed}) and cannot "
                "share one pass: run them as two nodes, one after the other."
            )
        self._must_agree("blocks", [part.needs.blocks for _, part in self.parts])
        self._must_agree("encoders", [part.needs.encoders for _, part in self.parts])

    @staticmethod
    def _must_agree(name: str, values: Sequence[str]) -> None:
        needed = sorted(set(values))
        if len(needed) > 1:
            raise ValueError(
                f"These objectives need different {name} ({', '.join(needed)}) and cannot share one pass: "
                f"give them the same {name} in their options, or run them as two nodes, one after the other."
            )

    @property
    def needs(self) -> MapNeeds:
        """What all parts together need captured."""
        all_needs = [part.needs for _, part in self.parts]
        levels: set[int] = set()
        for needs in all_needs:
            levels.update(needs.levels or ())
        return MapNeeds(
            levels=tuple(sorted(levels)) or None,
            heads=any(n.heads for n in all_needs),
            self_rows=any(n.self_rows for n in all_needs),
            span=next((n.span for n in all_needs if n.span != "auto"), "auto"),
            blocks=all_needs[0].blocks,
            encoders=all_needs[0].encoders,
        )

    @property
    def maps(self) -> MapOptions:
        """How the first part with map options processes its maps (for the report)."""
        return next((map_options(part) for _, part in self.parts if has_map_options(part)), MapOptions())

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return total(
            weight * evaluate_loss(part, *_view(part, maps, subjects, context))
            for weight, part in self._parts(subjects)
        )

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B]: the largest of the parts' own tests; if none has one, loss - (1 - threshold)."""
        tested: list[Any] = [part for _, part in self._parts(subjects) if has_shortfall(part)]
        if not tested:
            return self(maps, subjects, context).detach() - (1 - threshold)
        own = [part.shortfall(*_view(part, maps, subjects, context), threshold) for part in tested]
        return torch.stack(own).amax(0)

    def check(self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
        """The parts' own checks."""
        for _, part in self._parts(subjects):
            check_prompt(part, subjects, regions)

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """The first part's reason, if no part with a weight can act."""
        parts = [part for weight, part in self._parts(subjects) if weight]
        if not parts:
            return "the weight of its loss is 0: set another weight in GSN Objective"
        reasons = [reason_to_skip(part, subjects, regions, compares) for part in parts]
        return reasons[0] if all(reasons) else ""

    @property
    def has_memory(self) -> bool:
        """Whether the loss of any part lacks a term at a run's first step."""
        return any(has_memory(part) for _, part in self.parts)

    def _parts(self, subjects: Sequence[SubjectColumns]) -> Parts:
        """The parts that have subjects of their role; all if none has, so that they say what is missing."""
        roles = {subject.phrase.role for subject in subjects}
        return tuple((weight, part) for weight, part in self.parts if role_of(part) in roles) or self.parts


def _view(
    part: Objective, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
) -> tuple[AttentionMaps, Sequence[SubjectColumns], StepContext]:
    """A part's arguments: the maps on its own levels only."""
    if part.needs.levels is None:
        return maps, subjects, context
    before = context.previous and _on_levels(context.previous, part.needs.levels)
    return _on_levels(maps, part.needs.levels), subjects, replace(context, previous=before)


def _on_levels(maps: AttentionMaps, levels: Sequence[int]) -> AttentionMaps:
    """The maps of these levels. Raises ValueError if none of them was captured."""
    if not set(levels) & set(maps.cross):
        raise ValueError(
            f"No map of level {', '.join(map(str, levels))} was captured; there are levels "
            f"{', '.join(map(str, maps.cross))}. Choose one of these, or 'auto'."
        )
    return replace(
        maps,
        cross={level: a for level, a in maps.cross.items() if level in levels},
        heads={level: layers for level, layers in maps.heads.items() if level in levels},
        self_rows={level: rows for level, rows in maps.self_rows.items() if level in levels},
    )
