"""Whether a recipe's gradients use bfloat16 products: decided once per run, by its first gradient."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management
import torch
from torch import Tensor

from ...maps import StepContext
from ...objectives.base import evaluate_loss
from ...optimise.gradient_agreement import AGREEMENT, GradientAgreementCheck
from ...optimise.recipe import Recipe
from ...prompt import SubjectColumns
from ...torch_ops.bfloat16 import should_try_bfloat16
from ..attention.joint_probe import AnyProbe


class GradientPrecision:
    """The decision of one recipe in one run.

    updates: how many updates it may make. cosine: of the first gradient in bfloat16 with that in full
    precision, None = they were not compared. backwards: passes spent on the comparison.
    """

    def __init__(self, recipe: Recipe, updates: int):
        self.recipe, self.updates = recipe, updates
        self.cosine: float | None = None
        self.backwards = 0

    @property
    def bfloat16(self) -> bool:
        """Are products in bfloat16 from now on?"""
        return self.cosine is not None and self.cosine >= AGREEMENT

    def check(
        self,
        probe: AnyProbe,
        device: torch.device,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
    ) -> GradientAgreementCheck | None:
        """The comparison that decides, used in place of probe.maps_of; None where none is to be made."""
        if self.cosine is not None or not self._wanted(probe, device):
            return None

        def bfloat16_gradient(z: Tensor, map_gradients: dict[int, Tensor]) -> Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            probe.bfloat16 = True
            return self._gradient(probe, z, map_gradients, subjects, context)

        def decide(cosine: float) -> None:
            self.cosine = cosine
            probe.bfloat16 = self.bfloat16

        return GradientAgreementCheck(probe.maps_of, bfloat16_gradient, decide)

    def _wanted(self, probe: AnyProbe, device: torch.device) -> bool:
        if self.recipe.precision == "auto":
            dtype = probe.guider.inner_model.get_dtype_inference()
            return should_try_bfloat16(probe.network, dtype, device, self.updates)
        return self.recipe.precision == "bfloat16"

    def _gradient(
        self,
        probe: AnyProbe,
        z: Tensor,
        map_gradients: dict[int, Tensor],
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
    ) -> Tensor:
        """At z: of the loss if it reads more than the maps, else of the maps times their map_gradients."""
        objective, leaf = self.recipe.objective, z.requires_grad_(True)
        maps = probe.maps_of(leaf)
        if objective.needs.heads or objective.needs.self_rows:
            loss = evaluate_loss(objective, maps, subjects, replace(context, memory={})).sum()
        else:
            products = [(maps.cross[level] * wanted).sum() for level, wanted in map_gradients.items()]
            loss = torch.stack(products).sum()
        self.backwards += 1
        return torch.autograd.grad(loss, leaf)[0]
