"""The contract of an objective, attention maps in and one loss per image out, and the registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import maxima, subject_maps


class Objective(Protocol):
    """`objective(maps, subjects, context) -> Tensor[B]`: float32, differentiable, one value per image.

    `needs` says what to capture. These members are optional, each read in one function only:
    maps: MapOptions, how attention becomes subject maps, see `map_options`.
    role: the subjects it reads, "unwanted" for one that suppresses objects, see `role_of`.
    shortfall(maps, subjects, context, threshold) -> Tensor[B]: its own test of a refinement, see `shortfall`.
    check(subjects, regions): raises ValueError for a prompt that it can do nothing for, see `check_prompt`.
    cannot_act(subjects, regions, compares): why its loss has no slope for these subjects, see
    `reason_to_skip`.
    internal: True keeps it out of the choices of a user, see `user_choices`.
    """

    @property
    def needs(self) -> MapNeeds:
        """What it needs captured."""
        ...

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor: ...


REGISTRY: dict[str, Callable[..., Objective]] = {}
"""Objective id -> its class."""

ObjectiveClass = TypeVar("ObjectiveClass", bound=Callable[..., Objective])


def register(name: str) -> Callable[[ObjectiveClass], ObjectiveClass]:
    """Class decorator: make an objective known under `name`.

    Raises ValueError if another class has it, TypeError for anything but a text and a dataclass.
    """
    if not isinstance(name, str):
        raise TypeError(f"An objective needs an id: register it with its id as a text, not {name!r}.")

    def add(cls: ObjectiveClass) -> ObjectiveClass:
        if not (isinstance(cls, type) and is_dataclass(cls)):
            raise TypeError(f"The objective '{name}' is {cls!r}: register a frozen dataclass.")
        if REGISTRY.get(name, cls) is not cls:
            raise ValueError(f"The objective id '{name}' is already taken by {REGISTRY[name].__module__}.")
        REGISTRY[name] = cls
        return cls

    return add


def user_choices() -> list[str]:
    """The ids that a user can choose, sorted: all but those of classes with `internal = True`."""
    return sorted(name for name, cls in REGISTRY.items() if not getattr(cls, "internal", False))


def has_map_options(objective: Objective) -> bool:
    """Whether the objective says how attention becomes subject maps."""
    return hasattr(objective, "maps")


def map_options(objective: Objective) -> MapOptions:
    """How attention becomes this objective's subject maps: its own `maps`, else the defaults."""
    return getattr(objective, "maps", MapOptions())


def role_of(objective: Objective) -> str:
    """The role of the subjects that the objective reads: its own `role`, else "wanted"."""
    return getattr(objective, "role", "wanted")


def own_subject_maps(objective: Objective, maps: AttentionMaps, subjects: Sequence[SubjectColumns]) -> Tensor:
    """The subject maps [B, k, h, w] that this objective reads."""
    return subject_maps(maps, subjects, map_options(objective))


def own_maxima(objective: Objective, maps: AttentionMaps, subjects: Sequence[SubjectColumns]) -> Tensor:
    """The highest attention per subject [B, k] in the maps that this objective reads, without a graph."""
    with torch.no_grad():
        return maxima(own_subject_maps(objective, maps, subjects))


def has_shortfall(objective: Objective) -> bool:
    """Whether the objective has its own test of a refinement."""
    return hasattr(objective, "shortfall")


def shortfall(
    objective: Objective,
    maps: AttentionMaps,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    threshold: float,
    loss: Tensor,
) -> Tensor:
    """[B], > 0 while refinement at a checkpoint continues.

    The objective's own `shortfall`, else loss - (1 - threshold).

    loss: the objective's value [B] on these maps, detached.
    """
    own = getattr(objective, "shortfall", None)
    return loss - (1 - threshold) if own is None else own(maps, subjects, context, threshold)


def has_memory(objective: Objective) -> bool:
    """Whether its loss at a run's first step lacks a term, for want of an earlier step to compare with."""
    return getattr(objective, "has_memory", False)


def check_prompt(
    objective: Objective, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]
) -> None:
    """Raises ValueError, before any model call, if the objective lacks a region, a point or a subject."""
    of_parts = hasattr(objective, "parts")  # each part of a sum is checked by itself
    if subjects and not with_role(subjects) and role_of(objective) == "wanted" and not of_parts:
        raise ValueError(
            f"The subjects field names only what is unwanted ('{subjects[0].label}'): a leading dash, 'no' "
            "and 'without' mark that. To have it in the image remove the dash or the word; to suppress it "
            "choose the method Neglect."
        )
    own = getattr(objective, "check", None)
    if own is not None:
        own(subjects, regions)


def reason_to_skip(
    objective: Objective,
    subjects: Sequence[SubjectColumns],
    regions: Mapping[str, Region],
    compares: bool = False,
) -> str:
    """Why the loss of these subjects is the same at every latent, in words; "" = it can act.

    Asked before any model call: the objective's own `cannot_act`, if it has one. compares: the loop gives it
    the maps of an earlier step (`StepContext.previous`).
    """
    own = getattr(objective, "cannot_act", None)
    return "" if own is None else own(subjects, regions, compares)


def only_one(subjects: Sequence[SubjectColumns], aim: str = "it keeps subjects apart") -> str:
    """The reason of an objective that needs two wanted subjects; "" = there are two."""
    wanted = with_role(subjects)
    if len(wanted) > 1:
        return ""
    names = " and ".join(f"'{s.label}'" for s in wanted) or "none"
    return f"{aim}, and the prompt has only {names}: name a second subject, or choose Latent Refine"


def evaluate_loss(
    objective: Objective, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
) -> Tensor:
    """objective(maps, subjects, context), checked: one number per image, [B], with a gradient if maps have.

    Raises ValueError that names the objective for anything else: objectives of other packs may be wrong.
    """
    loss = objective(maps, subjects, context)
    attention = next(iter(maps.cross.values()))
    pack = re.split(r"[/\\\\]", type(objective).__module__.partition(".")[0])[-1]
    name = f"The objective {type(objective).__name__} ({pack})"
    cure = "This is for the pack that it comes from to change."
    if not isinstance(loss, Tensor) or loss.shape != attention.shape[:1]:
        found = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise ValueError(
            f"{name} returned {found}, but a loss is one number per image, a tensor of shape "
            f"[{len(attention)}]: reduce over positions and subjects, not over images. {cure}"
        )
    if attention.requires_grad and torch.is_grad_enabled() and not loss.requires_grad:
        raise ValueError(
            f"{name} returned a loss without a gradient: it must be computed from the maps by "
            f"differentiable operations, without detach or item. {cure}"
        )
    return loss


def options(name: str) -> dict[str, str | int | float | bool]:
    """Names and defaults of a registered objective's options that are text, numbers or flags.

    Raises KeyError for an unknown id.
    """
    cls: Any = REGISTRY[name]
    return {f.name: f.default for f in fields(cls) if isinstance(f.default, str | int | float | bool)}


def with_role(subjects: Sequence[SubjectColumns], role: str = "wanted") -> list[SubjectColumns]:
    """The subjects that the user wants to see, or (role="unwanted") does not want to see."""
    return [subject for subject in subjects if subject.phrase.role == role]
