"""The recipes of LLM-grounded diffusion, in its two stages, with the published settings (TMLR 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ..layout.object_masks import THRESHOLD
from ..maps import MIDDLE_UP, MapNeeds
from ..objectives.base import Objective
from ..objectives.lmd import LMD
from ..objectives.lmd_boxes import EnergyAndTransfer, EnergyPerImage, ImageBox, with_references
from ..objectives.lmd_transfer import LMDTransfer
from ..option_checks import number
from .guidance import Guide
from .published_methods import lmd

AS_PUBLISHED = -1.0
NOISE, NOISE_GLIGEN = 0.01, 0.1
NEEDS = MapNeeds(heads=True, blocks=MIDDLE_UP)
FIRST_MAPS = 0.2
"""The share of the steps from which on a word's maps show where its object is: step 10 of 50."""


@dataclass(frozen=True)
class LMDSettings:
    """strength: of both energies, 0 = a plain run. noise_mix: r, the share of a box's own noise. frozen: the
    share of the steps in which the objects are held. mask_threshold: share of the maximum of a word's map.
    transfer: lambda. gligen: LMD+, whose boxes are generated in their places and without energy.
    """

    strength: float = 1.0
    noise_mix: float = AS_PUBLISHED
    frozen: float = 0.5
    mask_threshold: float = THRESHOLD
    transfer: float = 2.0
    gligen: bool = False

    def check(self) -> LMDSettings:
        """Raises ValueError, with the cure, for a value that cannot work."""
        number("strength", self.strength, at_least=0, published="1")
        if self.noise_mix != AS_PUBLISHED:
            number("noise_mix", self.noise_mix, at_least=0, at_most=1, published="0.01, with GLIGEN 0.1")
        number("frozen", self.frozen, at_least=0, at_most=1, published="0.5")
        number("mask_threshold", self.mask_threshold, more_than=0, at_most=1, published="0.25")
        number("transfer", self.transfer, at_least=0, published="2")
        return self

    @property
    def r(self) -> float:
        """The share of a box's own noise."""
        if self.noise_mix != AS_PUBLISHED:
            return self.noise_mix
        return NOISE_GLIGEN if self.gligen else NOISE


def box_recipe(settings: LMDSettings, boxes: tuple[ImageBox, ...]) -> Guide | None:
    """The energy of a run that generates a batch of boxes, each alone; None with GLIGEN."""
    if settings.gligen:
        return None
    return _named("LMD, single boxes", settings, EnergyPerImage(boxes, LMD(heads="mean", needs=NEEDS)))


def overall_recipe(
    settings: LMDSettings, references: Mapping[str, Tensor], objective: Objective | None = None
) -> Guide:
    """The energy of the run of the whole image; objective: instead of E + E_ref."""
    if objective is None:
        energy, transfer = LMD(heads="mean", needs=NEEDS), LMDTransfer(settings.transfer, needs=NEEDS)
        objective = EnergyAndTransfer(energy, transfer)
    return _named("LMD", settings, with_references(objective, references))


def _named(method: str, settings: LMDSettings, objective: Objective) -> Guide:
    (published,) = lmd()
    assert isinstance(published, Guide)
    recipe = replace(published, objective=objective, method=method, report="curve")
    return recipe.scaled(settings.strength)
