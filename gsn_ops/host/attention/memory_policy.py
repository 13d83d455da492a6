"""Activation-checkpointing policy: what guided passes store, and what memory ComfyUI reserves for them.

Bytes that a pass stores, in units of ComfyUI's own estimate for a pass without gradients on fused attention
(`host_estimate_bytes`), by accounting at real size in half precision, early exit included: SD1.5 at 512 px
4.1 on level 0 and 1.4 on the last, SDXL at 1024 px 16.3 and 1.5, SD3.5-medium at 1024 px 11.5 and 1.2, Flux
at 1024 px 7.1 and 1.0 (and 22 without early exit).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import comfy.model_management as management
import torch
from comfy.model_base import BaseModel

from ..autograd.differentiable import storages
from .capture import Capture
from .checkpointing import Recomputation, blocks_of, recomputed

LEVELS = ("", "every second block computed twice to save memory", "every block computed twice to save memory")
"""What each level does, as reports say it. Level 0 stores everything."""

LAST_LEVEL = len(LEVELS) - 1

CERTAIN_UNITS = 32
"""With this many units free, everything fits on level 0, and no pass needs to be measured."""

MINIMUM_UNITS = 3
"""For a pass with its graph on the last level."""

FULL_UNITS = 18
"""For a pass with its graph on level 0."""

MARGIN = 1.1
"""Free memory that a level must leave, as a multiple of what its pass is measured to store."""

OUT_OF_MEMORY = (
    "There is not enough memory for the gradient of the attention, even with every block of the model "
    "computed twice. Make the image or the batch smaller, close what else uses the device, or start ComfyUI "
    "with --lowvram (or a larger --reserve-vram)."
)


def host_estimate_bytes(model: BaseModel, shape: Sequence[int]) -> float:
    """ComfyUI's estimate for one pass without gradients on a latent of this shape [B, C, ...]."""
    area = shape[0] * math.prod(shape[2:])
    dtype_size = management.dtype_size(model.get_dtype_inference())
    return area * dtype_size * 0.01 * model.memory_usage_factor * 2**20


def reported_batch_size(model: BaseModel, shape: Sequence[int], room: float) -> int:
    """Batch size to report to ComfyUI so that it reserves enough memory for passes on latents [B, C, ...].

    room: bytes of the device that this model's weights leave. Asks for level 0 where that fits into the room.
    ComfyUI reserves its estimate for this batch at least, and twice that if other models can be unloaded for
    it.
    """
    estimate = host_estimate_bytes(model, shape)
    units = FULL_UNITS / 2 if FULL_UNITS * estimate <= room else MINIMUM_UNITS
    return math.ceil(shape[0] * max(1.0, units * estimate / model.memory_required(list(shape))))


def is_out_of_memory(error: BaseException) -> bool:
    """Is it the out-of-memory exception of this device?"""
    return isinstance(error, management.OOM_EXCEPTION) and management.OOM_EXCEPTION is not Exception


def out_of_memory() -> Exception:
    """The error for a pass that does not fit on the last level.

    ComfyUI's own exception, for which it unloads its models.
    """
    return management.OOM_EXCEPTION(OUT_OF_MEMORY)


class CheckpointPolicy:
    """What the guided passes of one run store: all (level 0), or inputs alone of every second block or all.

    Chosen before the first pass if there is certainly room; otherwise that pass runs on the last level, and
    what it would have stored decides the level of the next ones. Holds numbers only. level: begin there,
    without choosing.
    """

    def __init__(self, level: int | None = None):
        self.level = level or 0
        self.chosen = level is not None
        self.block_bytes: list[int] = []  # of each block of a measured pass
        self.input_bytes = 0  # of all blocks together

    def checkpointed(
        self,
        model: BaseModel,
        x: torch.Tensor,
        capture: Capture,
        context: Callable[[], AbstractContextManager],
    ) -> AbstractContextManager:
        """Surround a pass of `model` at x [B, ...] with it; context() as for `Recomputation`."""
        if not torch.is_grad_enabled():
            return contextlib.nullcontext()
        network = model.diffusion_model
        if not self.chosen:
            self.choose(management.get_free_memory(x.device), host_estimate_bytes(model, x.shape))
        how = Recomputation(capture, context)
        if not self.chosen:
            how = Recomputation(capture, context, _addresses(network), self._note)
        return recomputed(self._blocks(network), how)

    def store_less(self) -> bool:
        """One level further, after an out-of-memory error; False = this was the last."""
        if self.level == LAST_LEVEL:
            return False
        self.level += 1
        self.chosen = True
        return True

    def choose(self, free: float, estimate: float) -> None:
        """Choose the level of the next pass; final unless that pass is to be measured.

        free: bytes. estimate: `host_estimate_bytes`, which is left to the pass itself.
        """
        if self.block_bytes:
            everything = sum(self.block_bytes)
            least = self.input_bytes + max(self.block_bytes)
            needs = (everything, (everything + least) / 2)
            fitting = (level for level, need in enumerate(needs) if MARGIN * need + estimate <= free)
            self.level = next(fitting, LAST_LEVEL)
            self.chosen = True
            return
        self.chosen = CERTAIN_UNITS * estimate <= free
        self.level = 0 if self.chosen else LAST_LEVEL

    def _note(self, stored: int, inputs: int) -> None:
        self.block_bytes.append(stored)
        self.input_bytes += inputs

    def _blocks(self, network: torch.nn.Module) -> list[torch.nn.Module]:
        """The blocks to compute twice: of each kind every second one, or all."""
        if self.level == 0:
            return []
        kinds: dict[type, list[torch.nn.Module]] = {}
        for block in blocks_of(network):
            kinds.setdefault(type(block), []).append(block)
        step = 2 if self.level == 1 else 1
        return [block for kind in kinds.values() for block in kind[::step]]


def _addresses(network: torch.nn.Module) -> set[int]:
    """Of the storages of its weights and buffers."""
    tensors = (*network.parameters(), *network.buffers())
    return {storage.data_ptr() for t in tensors for storage in storages(t)}
