"""Do gradients in bfloat16 agree with those in float32?"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..maps import AttentionMaps

AGREEMENT = 0.999
"""The least cosine of the two gradients, of every image."""


def agreement(a: Tensor, b: Tensor) -> float:
    """The least cosine over the images of two gradients [B, ...]; equal ones (also if zero) have 1, and NaN agrees with nothing."""
    cosines = F.cosine_similarity(a.flatten(1).double(), b.flatten(1).double())  # [B]
    same = (a == b).flatten(1).all(1)
    return float(torch.where(same, 1.0, cosines).nan_to_num(-1.0).min())


class GradientAgreementCheck:
    """Stands in for maps_of during a run's first evaluations: compares the first gradient with its like in bfloat16.

    The first evaluation is made in full precision; its gradient is kept as it comes by, and so is what the objective asked of
    the maps there (`map_gradients`: level -> gradient of the loss [B, h, w, n]). Before the second one (or when told to `decide`)
    in_half(z, map_gradients) makes the other gradient at the same z, and decided(cosine) is called. Asking the same of the maps
    compares the two passes. A loss has kinks as well (L_IoU takes the lesser of two maps at each place): beside one, both
    sides are right, and the two would turn away from each other without either being imprecise.
    Nothing more happens to a run that needs no gradient or only one.
    """

    def __init__(
        self,
        maps_of: Callable[[Tensor], AttentionMaps],
        in_half: Callable[[Tensor, dict[int, Tensor]], Tensor],
        decided: Callable[[float], None],
    ):
        self.maps_of, self.in_half, self.decided = maps_of, in_half, decided
        self.begun = False
        self.first: tuple[Tensor, Tensor] | None = (
            None  # z and the gradient there, until it has been compared
        )
        self.map_gradients: dict[int, Tensor] = {}

    def __call__(self, z: Tensor) -> AttentionMaps:
        if self.begun or not z.requires_grad:
            self.decide()
            return self.maps_of(z)
        self.begun, at = True, z.detach().clone()

        def keep(gradient: Tensor) -> None:
            self.first = at, gradient.detach().clone()
            hook.remove()

        hook = z.register_hook(keep)
        maps = self.maps_of(z)
        for level, m in maps.cross.items():
            m.register_hook(functools.partial(self._asked, level))
        return maps

    def _asked(self, level: int, gradient: Tensor) -> None:
        self.map_gradients[level] = gradient.detach().clone()

    def decide(self) -> None:
        """Compare, if there is something to compare."""
        if self.first is not None:
            (z, gradient), map_gradients = self.first, self.map_gradients
            self.first, self.map_gradients = None, {}
            self.decided(agreement(gradient, self.in_half(z, map_gradients)))
