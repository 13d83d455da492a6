"""A differentiable host: inside `differentiable(...)` autograd works on models whose weights were loaded in inference mode."""

from __future__ import annotations

import contextlib
import functools
import logging
import types
from collections.abc import Callable, Iterator, Sequence

import comfy.model_management
import comfy.quant_ops
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

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
                        new = _alias(old)
                        if table is module._parameters:
                            new = torch.nn.Parameter(new, requires_grad=False)
                        table[name] = new
                        swapped.append((table, name, old, new))
        yield
    finally:
        for table, name, old, new in swapped:
            if table.get(name) is new:  # leave alone what somebody replaced meanwhile
                table[name] = old


def storages(t: Tensor) -> list[torch.UntypedStorage]:
    """Where its numbers lie. The host's quantized weights are tensors that consist of several others."""
    if hasattr(t, "__tensor_flatten__"):
        return [s for part in t.__tensor_flatten__()[0] for s in storages(getattr(t, part))]
    return [t.untyped_storage()]


def _alias(t: Tensor) -> Tensor:
    """The same numbers at the same place, as a tensor made outside of inference mode."""
    if hasattr(t, "__tensor_flatten__"):
        parts, context = t.__tensor_flatten__()
        return type(t).__tensor_unflatten__(
            {part: _alias(getattr(t, part)) for part in parts}, context, t.size(), t.stride()
        )
    same = torch.empty(0, dtype=t.dtype, device=t.device).set_(
        t.untyped_storage(), t.storage_offset(), t.size(), t.stride()
    )
    if type(t) in (Tensor, torch.nn.Parameter):
        return same
    same = same.as_subclass(
        type(t)
    )  # another pack's kind of weight (GGUF) lives on what it carries beside its numbers
    vars(same).update(vars(t))
    return same


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


def keep(t: Tensor) -> tuple[Tensor, int]:
    """A tensor as a graph may hold it, and its version.

    Partly offloaded models cast every layer into one shared buffer; what the graph saves from it must be a copy. With it
    goes its version: autograd itself does not check that of tensors that pass through hooks. Detached, because a graph
    that holds its own outputs would never be freed if no backward pass comes (the tail after the last wanted layer, a
    cancelled run).
    """
    t = t.detach()
    shared = {b.untyped_storage().data_ptr() for b in comfy.model_management.STREAM_CAST_BUFFERS.values()}
    t = t.clone() if shared and any(s.data_ptr() in shared for s in storages(t)) else t
    return t, t._version


def kept(saved: tuple[Tensor, int]) -> Tensor:
    t, version = saved
    if t._version != version:
        raise RuntimeError(
            "A part of this model, or of another pack, writes into a tensor that the gradient still needs, so the attention's "
            "gradient would be wrong. Remove ControlNets and patches of the model one by one to find it; without it this works."
        )
    return t


@contextlib.contextmanager
def differentiable(*modules: torch.nn.Module) -> Iterator[None]:
    """Autograd on, with respect to the latent only: gradients flow through the modules, none to their weights.

    Surround forward and backward with it. Undone on every exit; nothing global is written.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(
            plain_weights(*modules)
        )  # first: inference tensors that ask for a gradient cannot be told twice
        stack.enter_context(frozen_weights(*modules))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, kept))
        yield


class DifferentiableForward(TorchFunctionMode):
    """Surrounds a forward pass, in this thread only, of networks that autograd cannot follow as they are.

    rope_kernels: the host's rotary kernels, which have no backward, run as their own plain torch code.
    in_place: layer_norm works on a copy of its input, since Flux-like blocks write into that tensor afterwards.
    """

    def __init__(self, rope_kernels: bool, in_place: bool):
        super().__init__()
        self.plain, self.in_place = _plain_kernels() if rope_kernels else {}, in_place

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if self.in_place and func is torch.nn.functional.layer_norm and torch.is_grad_enabled():
            args = (args[0].clone(), *args[1:])
        return self.plain.get(str(func).removesuffix(".default"), func)(*args, **(kwargs or {}))


@functools.cache
def _plain_kernels() -> dict[str, Callable]:
    """Name of a rotary kernel as torch prints it -> the same in plain torch, both from the host's own kernel package."""
    kitchen = getattr(comfy.quant_ops, "ck", None)
    if kitchen is None:  # the host works without it, in plain torch
        return {}
    rope, names = (
        kitchen.backends.eager.rope,
        ("apply_rope", "rms_rope", "apply_rope_split_half", "rms_rope_split_half"),
    )
    return {
        f"comfy_kitchen.{name}": getattr(rope, name)
        for first in names
        for name in (first, f"{first}1")
        if hasattr(rope, name)
    }


@contextlib.contextmanager
def pass_options(network: torch.nn.Module, modules: Sequence[str], options: dict) -> Iterator[None]:
    """Inside, attention calls made by the network's parts from these Python modules carry `options`, which they else drop.

    Only instances are changed: their forward is the same code with one global replaced. Undone on every exit.
    """

    def with_options(attention, *args, **kwargs):
        return attention(*args, **{"transformer_options": options, **kwargs})

    changed = []
    try:
        for part in network.modules() if modules else ():
            f = type(part).forward
            if (
                f.__module__ in modules
                and "optimized_attention" in f.__code__.co_names
                and "forward" not in part.__dict__
            ):
                scope = {
                    **f.__globals__,
                    "optimized_attention": functools.partial(
                        with_options, f.__globals__["optimized_attention"]
                    ),
                }
                part.forward = types.MethodType(
                    types.FunctionType(f.__code__, scope, f.__name__, f.__defaults__, f.__closure__), part
                )
                changed.append(part)
        yield
    finally:
        for part in changed:
            del part.__dict__["forward"]


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
        log.warning(
            "This model has dynamic VRAM and cannot be reloaded without it; attention gradients may be wrong when memory is scarce. "
            "Start ComfyUI with --disable-dynamic-vram to be safe."
        )
        return model.clone()
