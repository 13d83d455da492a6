"""Objectives: attention maps in, one loss per image out. One idea per file, imported at the end of this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Protocol

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..prompt import SubjectColumns
from ..regions import Region


class Objective(Protocol):
    """`objective(maps, subjects, context) -> Tensor[B]`: float32, differentiable, one value per image.

    `needs` says what to capture. An objective may have more:
    role: the subjects it looks at, "unwanted" for one that suppresses things ("wanted" if it does not say).
    shortfall(maps, subjects, context, threshold) -> Tensor[B]: its own test of a refinement, see `shortfall`.
    check(subjects, regions): raises ValueError for a prompt that it can do nothing for, see `check`.
    """

    needs: MapNeeds

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor: ...


REGISTRY: dict[str, Callable[..., Objective]] = {}


def register(name: str) -> Callable:
    """Class decorator: make an objective known under `name`. Raises ValueError if another class has it."""

    def add(cls):
        if REGISTRY.get(name, cls) is not cls:
            raise ValueError(f"The objective id '{name}' is already taken by {REGISTRY[name].__module__}.")
        REGISTRY[name] = cls
        return cls

    return add


def shortfall(
    objective: Objective,
    maps: AttentionMaps,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    threshold: float,
    loss: Tensor,
) -> Tensor:
    """[B], > 0 while refinement at a checkpoint must go on: the objective's own `shortfall`, else loss - (1 - threshold).

    loss: the objective's value [B] on these maps, detached.
    """
    own = getattr(objective, "shortfall", None)
    return loss - (1 - threshold) if own is None else own(maps, subjects, context, threshold)


def check(objective: Objective, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
    """Raises ValueError, before any model call, where the objective lacks something: a region, a point, a subject."""
    own = getattr(objective, "check", None)
    if own is not None:
        own(subjects, regions)


def options(name: str) -> dict[str, str | int | float | bool]:
    """Names and defaults of the plain options of a registered objective. Raises KeyError for an unknown one."""
    return {
        f.name: f.default
        for f in fields(REGISTRY[name])
        if f.default is not MISSING and isinstance(f.default, (str, int, float, bool))
    }


def choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Raises ValueError, naming the option and its values, if `value` is not one of them."""
    if value not in allowed:
        raise ValueError(f"The option '{option}' cannot be '{value}': choose one of {', '.join(allowed)}.")


def with_role(subjects: Sequence[SubjectColumns], role: str = "wanted") -> list[SubjectColumns]:
    """The subjects that the person wants to see, or (role="unwanted") wants to keep out."""
    return [subject for subject in subjects if subject.phrase.role == role]
