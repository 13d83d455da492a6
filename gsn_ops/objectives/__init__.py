"""Objectives: attention maps in, one loss per image out. One idea per file, imported at the end of this one."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..prompt import SubjectColumns


class Objective(Protocol):
    """`objective(maps, subjects, context) -> Tensor[B]`: float32, differentiable, one value per image.

    `needs` says what to capture.
    """

    needs: MapNeeds

    def __call__(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext) -> Tensor: ...


REGISTRY: dict[str, Callable[..., Objective]] = {}


def register(name: str) -> Callable:
    """Class decorator: make an objective known under `name`. Raises ValueError if another class has it."""
    def add(cls):
        if REGISTRY.get(name, cls) is not cls:
            raise ValueError(f"The objective id '{name}' is already taken by {REGISTRY[name].__module__}.")
        REGISTRY[name] = cls
        return cls
    return add


def shortfall(objective: Objective, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float,
              loss: Tensor) -> Tensor:
    """[B], > 0 while refinement at a checkpoint must go on: the objective's own `shortfall`, else loss - (1 - threshold).

    loss: the objective's value [B] on these maps, detached.
    """
    own = getattr(objective, "shortfall", None)
    return loss - (1 - threshold) if own is None else own(maps, subjects, context, threshold)


from . import cn_iou, iou, presence  # noqa: E402, F401  registers them
from . import boxdiff  # noqa: E402, F401
