"""A differentiable host: inside `differentiable(...)` autograd works on models whose weights were loaded in inference mode."""
from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import comfy.model_management
import torch
from torch import Tensor

log = logging.getLogger(__name__)


def plain(t):
    """The tensor itself, or a copy that autograd may save if it was made in inference mode. Anything else is handed back."""
    return t.clone() if isinstance(t, Tensor) and t.is_inference() else t


@contextlib.contextmanager
def plain_weights(*modules: torch.nn.Module) -> Iterator[None]:
    """Inside, no parameter or buffer is an inference tensor: aliases over the same storage, nothing copied, put back on every exit."""
    swapped = []
    try:
        for module in (m for root in modules for m in root.modules()):
            for table in (module._parameters, module._buffers):
                for name, old in table.items():
                    if old is not None and old.is_inference():
                        new = torch.empty(0, dtype=old.dtype, device=old.device)
                        new.set_(old.untyped_storage(), old.storage_offset(), old.size(), old.stride())
                        if table is module._parameters:
                            new = torch.nn.Parameter(new, requires_grad=False)
                        table[name] = new
                        swapped.append((table, name, old, new))
        yield
    finally:
        for table, name, old, new in swapped:
            if table.get(name) is new:  # leave alone what somebody replaced meanwhile
                table[name] = old


@contextlib.contextmanager
def frozen_weights(*modules: torch.nn.Module) -> Iterator[None]:
    """Inside, no parameter asks for a gradient (some loaders leave that on); put back on every exit."""
    asked = [p for root in modules for p in root.parameters() if p.requires_grad]
    try:
        for p in asked:
            p.requires_grad_(False)
        yield
    finally:
        for p in asked:
            p.requires_grad_(True)


def _keep(t: Tensor) -> Tensor:
    """Partly offloaded models cast every layer into one shared buffer; what the graph saves from it must be a copy."""
    shared = {b.untyped_storage().data_ptr() for b in comfy.model_management.STREAM_CAST_BUFFERS.values()}
    return t.clone() if shared and t.untyped_storage().data_ptr() in shared else t


@contextlib.contextmanager
def differentiable(*modules: torch.nn.Module) -> Iterator[None]:
    """Autograd on, with respect to the latent only: gradients flow through the modules, none to their weights.

    Surround forward and backward with it. Undone on every exit; nothing global is written.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(plain_weights(*modules))  # first: inference tensors that ask for a gradient cannot be told twice
        stack.enter_context(frozen_weights(*modules))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(_keep, lambda t: t))
        yield


def static_clone(model):
    """A clone whose weights stay in place while a graph refers to them.

    Under dynamic VRAM the host may evict weights between forward and backward; whether gradients survive that has not been
    measured, so such a model is replaced by its non-dynamic delegate (the host reloads the checkpoint once).
    """
    if not model.is_dynamic():
        return model.clone()
    try:
        return model.get_non_dynamic_delegate()
    except RuntimeError:
        log.warning("This model has dynamic VRAM and cannot be reloaded without it; attention gradients may be wrong when memory is scarce. "
                    "Start ComfyUI with --disable-dynamic-vram to be safe.")
        return model.clone()
