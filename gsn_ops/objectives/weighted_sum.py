"""A weighted sum of objectives, each looking at the maps and subjects that it would have alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from .base import Objective, check, register


@register("weighted_sum")
@dataclass(frozen=True)
class WeightedSum:
    """L = sum over parts (weight, objective) of weight L_part.

    A part whose levels are given sees only those; one without takes all that the others ask for. A part that looks at
    subjects of a role of which there are none (neglect without anything unwanted) counts 0.
    Raises ValueError for no parts, or for parts that want different spans of the second softmax, blocks or encoders.
    """

    parts: tuple[tuple[float, Objective], ...]

    def __post_init__(self):
        if not self.parts:
            raise ValueError("A weighted sum needs at least one objective.")
        flat = [
            (weight * w, p) for weight, part in self.parts for w, p in getattr(part, "parts", ((1.0, part),))
        ]
        object.__setattr__(self, "parts", tuple(flat))  # a sum of sums is one sum
        spans = {part.needs.span: type(part).__name__ for _, part in self.parts if part.needs.span != "auto"}
        if len(spans) > 1:
            asked = ", ".join(f"{name} wants '{span}'" for span, name in spans.items())
            raise ValueError(
                f"These objectives compare words over different parts of the text ({asked}) and cannot "
                "share one pass: run them as two nodes, one after the other."
            )

        for name in ("blocks", "encoders"):
            wanted = sorted({getattr(part.needs, name) for _, part in self.parts})
            if len(wanted) > 1:
                raise ValueError(
                    f"These objectives look at different {name} ({', '.join(wanted)}) and cannot share one pass: give them the "
                    f"same {name} in their options, or run them as two nodes, one after the other."
                )

    @property
    def needs(self) -> MapNeeds:
        all_needs = [part.needs for _, part in self.parts]
        levels = sorted({level for needs in all_needs for level in needs.levels or ()})
        return MapNeeds(
            tuple(levels) or None,
            any(n.heads for n in all_needs),
            any(n.self_rows for n in all_needs),
            next((n.span for n in all_needs if n.span != "auto"), "auto"),
            all_needs[0].blocks,
            all_needs[0].encoders,
        )

    @property
    def maps(self) -> MapOptions:
        """How the first part that says so processes its maps (for the report)."""
        return next((part.maps for _, part in self.parts if hasattr(part, "maps")), MapOptions())

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return sum(
            weight * part(*_view(part, maps, subjects, context)) for weight, part in self._parts(subjects)
        )

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B]: the largest of the parts' own tests; if none has one, loss - (1 - threshold)."""
        own = [
            part.shortfall(*_view(part, maps, subjects, context), threshold)
            for _, part in self._parts(subjects)
            if hasattr(part, "shortfall")
        ]
        if not own:
            return self(maps, subjects, context).detach() - (1 - threshold)
        return torch.stack(own).amax(0)

    def check(self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
        for _, part in self._parts(subjects):
            check(part, subjects, regions)

    def _parts(self, subjects: Sequence[SubjectColumns]) -> list[tuple[float, Objective]]:
        roles = {subject.phrase.role for subject in subjects}
        parts = [(weight, part) for weight, part in self.parts if getattr(part, "role", "wanted") in roles]
        return parts or list(self.parts)  # none fits: let the parts say what is missing


def _view(
    part: Objective, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
) -> tuple:
    """What a part is called with: everything, the maps on its own levels."""
    if part.needs.levels is None:
        return maps, subjects, context
    before = context.previous and _on_levels(context.previous, part.needs.levels)
    return _on_levels(maps, part.needs.levels), subjects, replace(context, previous=before)


def _on_levels(maps: AttentionMaps, levels: Sequence[int]) -> AttentionMaps:
    """Raises ValueError if none of the levels was captured."""
    if not set(levels) & set(maps.cross):
        raise ValueError(
            f"No map of level {', '.join(map(str, levels))} was captured; there are levels "
            f"{', '.join(map(str, maps.cross))}. Choose one of these, or 'auto'."
        )
    return replace(
        maps,
        **{
            name: {level: found for level, found in getattr(maps, name).items() if level in levels}
            for name in ("cross", "heads", "self_rows")
        },
    )
