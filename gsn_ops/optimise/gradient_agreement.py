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
    """The least cosine over the images of two gradients [B, ...]. Equal ones (also if zero) have 1, NaN has
    -1.
    """
    cosines = F.cosine_similarity(a.flatten(1).double(), b.flatten(1).double())  # [B]
    same = (a == b).flatten(1).all(1)
    return float(torch.where(same, 1.0, cosines).nan_to_num(-1.0).min())


class GradientAgreementCheck:
    """Stands in for maps_of during a run's first evaluations: compares the first gradient with its like in
    bfloat16.

    The first evaluation is made in full precision. Its gradient is kept, and so is the gradient of the loss
    with respect to the maps (map_gradients: level -> [B, h, w, n]). Before the second evaluation (or when
    told to `decide`) bfloat16_gradient(z, map_gradients) makes the other gradient at the same z, and
    decided(cosine) is called. Giving both passes the same map gradients compares the passes, not the loss.
    That has kinks (L_IoU takes the lesser of two maps at each position): near one, the two gradients could
    point in opposite directions without either being imprecise. A run that needs no gradient or only one
    makes no other evaluations.
    """

    def __init__(
        self,
        maps_of: Callable[[Tensor], AttentionMaps],
        bfloat16_gradient: Callable[[Tensor, dict[int, Tensor]], Tensor],
        decided: Callable[[float], None],
    ):
        self.maps_of, self.decided = maps_of, decided
        self.bfloat16_gradient = bfloat16_gradient
        self.begun = False
        self.first: tuple[Tensor, Tensor] | None = None  # z and the gradient there, until they are compared
        self.map_gradients: dict[int, Tensor] = {}

    def __call__(self, z: Tensor) -> AttentionMaps:
        if self.begun or not z.requires_grad:
            self.decide()
            return self.maps_of(z)
        self.begun = True
        at = z.detach().clone()

        def keep(gradient: Tensor) -> None:
            self.first = at, gradient.detach().clone()
            hook.remove()

        hook = z.register_hook(keep)
        maps = self.maps_of(z)
        for level, m in maps.cross.items():
            m.register_hook(functools.partial(self._keep_map_gradient, level))
        return maps

    def _keep_map_gradient(self, level: int, gradient: Tensor) -> None:
        self.map_gradients[level] = gradient.detach().clone()

    def decide(self) -> None:
        """Compare, if there is something to compare."""
        if self.first is not None:
            (z, gradient), map_gradients = self.first, self.map_gradients
            self.first, self.map_gradients = None, {}
            self.decided(agreement(gradient, self.bfloat16_gradient(z, map_gradients)))
