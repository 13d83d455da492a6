"""The last call of the model above each noise level at which a recipe reads between two calls."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...optimise.between_calls import point_between
from ..attention.sampler_state import SamplerState


@dataclass(frozen=True)
class Call:
    """A state x [B, ...] at noise level sigma, and what the model predicted there."""

    x: Tensor
    sigma: float
    denoised: Tensor


class LastCalls:
    """Of one sampler call. Keeps nothing for a run in which nobody reads between calls."""

    def __init__(self, levels: Collection[float]):
        self._last: dict[float, Call | None] = dict.fromkeys(levels)

    def remember(self, x: Tensor, sigma: Tensor, denoised: Tensor) -> None:
        """A call of the model, after it. Tensors are copied: samplers write into theirs."""
        if not self._last:
            return
        found = float(sigma.max())
        above = [level for level in self._last if found > level]
        if above:
            call = Call(x.clone(), found, denoised.clone())
            self._last.update(dict.fromkeys(above, call))

    def state_at(self, level: float | None, state: SamplerState) -> SamplerState:
        """The state on the way to this one at a noise level; this one where no way passes that level."""
        if level is None:
            return state
        call = self._last.get(level)
        if call is None or call.x.shape != state.x.shape or float(state.sigma.max()) >= level:
            return state
        with torch.no_grad():
            x = point_between(call.x, call.denoised, call.sigma, level).to(state.x.dtype)
        return replace(state, x=x, sigma=torch.full_like(state.sigma, level))
