"""The state of a sampler at one call of its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy.samplers import CFGGuider
from torch import Tensor


@dataclass(frozen=True)
class SamplerState:
    """What a sampler shows at one call of its model.

    guider: ComfyUI's guider of this run. model: what the sampler calls as its model (it blends inpainting
    masks). x: the state [B, ...]. sigma: its noise level [B]. arguments: the keyword arguments of the call
    (model_options, seed, denoise_mask).
    """

    guider: CFGGuider
    model: Callable[..., Tensor]
    x: Tensor
    sigma: Tensor
    arguments: dict[str, Any]
