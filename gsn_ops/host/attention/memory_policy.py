"""The memory ladder: what guided passes store, chosen from what is free; and what the host is told to keep free for them.

Bytes that a pass stores, in units of the host's own estimate for a pass without gradients on fused attention (`unit`), by
accounting at real size in half precision, early exit included: SD1.5 at 512 px 4.1 on rung 0 and 1.4 on the last, SDXL at
1024 px 16.3 and 1.5, SD3.5-medium at 1024 px 11.5 and 1.2, Flux at 1024 px 7.1 and 1.0 (and 22 without early exit).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import comfy.model_management as management
import torch

from ..autograd.differentiable import storages
from .capture import Capture
from .checkpointing import blocks_of, recomputed

RUNGS = ("", "every second block computed twice to save memory", "every block computed twice to save memory")
LAST = len(RUNGS) - 1

SURE = 32
"""With this many units free, everything fits on rung 0 without a look at what a pass stores."""

LEAST, ALL = 3, 18
"""Units for a pass with its graph on the last rung, and on rung 0."""

NO_ROOM = (
    "There is not enough memory for the gradient of the attention, even with every block of the model computed twice. Make the picture "
    "or the batch smaller, close what else uses the device, or start ComfyUI with --lowvram (or a larger --reserve-vram)."
)


def unit(model, shape) -> float:
    """Bytes that the host expects of one pass of `model` (a BaseModel) without gradients on a latent of this shape [B, C, ...]."""
    area = shape[0] * math.prod(shape[2:])
    return (
        area * management.dtype_size(model.get_dtype_inference()) * 0.01 * model.memory_usage_factor * 2**20
    )


def batch_to_ask_for(model, shape, room: float) -> int:
    """The batch size to name to the host, which asks for its estimate of it at least, and for twice that if other models can go.

    room: bytes of the device beside this model's weights. All that a pass can use where that leaves the weights in place.
    """
    own = unit(model, shape)
    units = ALL / 2 if ALL * own <= room else LEAST
    return math.ceil(shape[0] * max(1.0, units * own / model.memory_required(list(shape))))


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, management.OOM_EXCEPTION) and management.OOM_EXCEPTION is not Exception


def no_room() -> Exception:
    """As the host's own exception, so that the host unloads its models as it always does then."""
    return management.OOM_EXCEPTION(NO_ROOM)


class CheckpointPolicy:
    """What the guided passes of one run store: everything (rung 0), or what enters every second block, or every block.

    Chosen before the first pass if there is room for sure; else that pass takes the last rung, and from what it stored
    follows the rung of the next ones. Holds numbers only. rung: begin there, without choosing.
    """

    def __init__(self, rung: int | None = None):
        self.rung, self.chosen = rung or 0, rung is not None
        self.inside: list[int] = []  # bytes of each block of a measured pass
        self.inputs = 0

    def surround(
        self, model, x: torch.Tensor, capture: Capture, around: Callable[[], AbstractContextManager]
    ) -> AbstractContextManager:
        """What a pass of `model` at x belongs in; around() as for `recomputed`."""
        if not torch.is_grad_enabled():
            return contextlib.nullcontext()
        network = model.diffusion_model
        if not self.chosen:
            self.choose(management.get_free_memory(x.device), unit(model, x.shape))
        weights = (
            set()
            if self.chosen
            else {s.data_ptr() for t in (*network.parameters(), *network.buffers()) for s in storages(t)}
        )
        return recomputed(
            self._blocks(network), capture, around, weights, None if self.chosen else self._note
        )

    def lower(self) -> bool:
        """Down by one rung, after an out-of-memory error; False = this was the last."""
        if self.rung == LAST:
            return False
        self.rung, self.chosen = self.rung + 1, True
        return True

    def choose(self, free: float, own: float) -> None:
        """The rung for the next pass; `own`: the unit, which is left to the pass itself. Final but for a measured pass."""
        if self.inside:
            everything, least = sum(self.inside), self.inputs + max(self.inside)
            needs = (everything, (everything + least) / 2)
            self.rung = next((rung for rung, need in enumerate(needs) if 1.1 * need + own <= free), LAST)
        else:
            self.rung = 0 if SURE * own <= free else LAST
        self.chosen = bool(self.inside) or self.rung == 0

    def _note(self, inside: int, inputs: int) -> None:
        self.inside.append(inside)
        self.inputs += inputs

    def _blocks(self, network: torch.nn.Module) -> list[torch.nn.Module]:
        """The blocks to compute twice: of each kind every 2nd, or all."""
        kinds: dict[type, list[torch.nn.Module]] = {}
        for block in blocks_of(network) if self.rung else ():
            kinds.setdefault(type(block), []).append(block)
        return [block for kind in kinds.values() for block in kind[:: 3 - self.rung]]
