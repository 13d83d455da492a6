"""LMD's energy in its two stages: images with a box each, and one image with all boxes and references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import total
from ._regions import must_be_placed
from .base import Objective
from .lmd import LMD
from .lmd_transfer import LMDTransfer, word_maps
from .per_encoder import ByEncoder
from .weighted_sum import WeightedSum


@dataclass(frozen=True)
class ImageBox:
    """What one image of a batch shows: its subject, with the columns of its own prompt, and where."""

    subject: SubjectColumns
    region: Region


@dataclass(frozen=True)
class EnergyPerImage:
    """`lmd` of a batch in which every image has a box, a subject and a prompt of its own.

    boxes: one per image. The subjects and regions of the run, which are those of one prompt, are not read.
    """

    boxes: tuple[ImageBox, ...]
    energy: LMD = LMD()
    internal: ClassVar[bool] = True

    @property
    def needs(self) -> MapNeeds:
        """As the energy."""
        return self.energy.needs

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        losses = []
        for b, box in enumerate(self.boxes):
            own = replace(context, regions={box.subject.label: box.region})
            losses.append(self.energy(maps.image(b), (box.subject,), own))
        return torch.cat(losses)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while E > threshold (published: 5)."""
        return self(maps, subjects, context) - threshold


@dataclass(frozen=True)
class EnergyAndTransfer:
    """E + E_ref of LMD's overall run. Its loops test the whole: while E + E_ref > 5."""

    energy: LMD
    transfer: LMDTransfer
    check = staticmethod(must_be_placed)
    internal: ClassVar[bool] = True

    @property
    def needs(self) -> MapNeeds:
        """As the energy, whose layers the references are of."""
        return self.energy.needs

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        return self.energy(maps, subjects, context) + self.transfer(maps, subjects, context)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while E + E_ref > threshold (published: 5)."""
        return self(maps, subjects, context) - threshold


def with_references(objective: Objective, references: Mapping[str, Tensor]) -> Objective:
    """The objective, in which every `lmd_transfer` has these references."""
    if isinstance(objective, LMDTransfer):
        return replace(objective, references=references)
    if isinstance(objective, ByEncoder):
        return replace(objective, objective=with_references(objective.objective, references))
    if isinstance(objective, WeightedSum):
        return replace(
            objective, parts=tuple((w, with_references(p, references)) for w, p in objective.parts)
        )
    if isinstance(objective, EnergyAndTransfer):
        return replace(objective, transfer=replace(objective.transfer, references=references))
    return objective


def words_of_image(maps: AttentionMaps, b: int, subject: SubjectColumns) -> dict[int, Tensor]:
    """level -> maps [layers, heads, h, w] of the word that references are of, in image b of a batch."""
    image: Any = maps.image(b)
    return {level: word_maps(image, subject, level)[0] for level in maps.heads}


def mean_map(words: Mapping[int, Tensor]) -> Tensor:
    """The mean over layers and heads [h, w], on the level with the largest grid."""
    finest = max(words.values(), key=lambda layers: layers.shape[-2] * layers.shape[-1])
    return total(finest.flatten(0, 1)) / (finest.shape[0] * finest.shape[1])
