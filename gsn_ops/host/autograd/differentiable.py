"""Makes ComfyUI's models differentiable: autograd on models whose weights were loaded in inference mode."""

from __future__ import annotations

import contextlib
import functools
import logging
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeGuard, cast

import comfy.model_management
import comfy.quant_ops
import torch
from comfy.model_patcher import ModelPatcher, ModelPatcherDynamic
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...torch_ops.unreadable import UnreadablePass

log = logging.getLogger(__name__)


def without_inference_flag(t: Any) -> Any:
    """A copy of a tensor made in inference mode, which autograd may save; anything else unchanged."""
    return t.clone() if isinstance(t, Tensor) and t.is_inference() else t


@contextlib.contextmanager
def weights_without_inference_flag(*modules: torch.nn.Module) -> Generator[None]:
    """Inside, no parameter or buffer is an inference tensor; put back on every exit.

    The replacements share their storage with the originals: nothing is copied.
    """
    swapped = []
    try:
        for table, is_parameter, name, old in _inference_tensors(modules):
            new = _alias(old)
            if is_parameter:
                new = torch.nn.Parameter(new, requires_grad=False)
            table[name] = new
            swapped.append((table, name, old, new))
        yield
    finally:
        for table, name, old, new in swapped:
            if table.get(name) is new:  # leave alone what was replaced in the meantime
                table[name] = old


def _inference_tensors(modules: Sequence[torch.nn.Module]) -> Iterator[tuple[dict, bool, str, Tensor]]:
    """(table, is it one of parameters, name, tensor) of every parameter and buffer made in inference mode.

    Lazy: the caller may replace each tensor in its table as it comes.
    """
    for module in (m for root in modules for m in root.modules()):
        for table in (module._parameters, module._buffers):
            for name, t in list(table.items()):
                if t is not None and t.is_inference():
                    yield table, table is module._parameters, name, t


def storages(t: Tensor) -> list[torch.UntypedStorage]:
    """The storages of a tensor: ComfyUI's quantized weights are tensors that consist of several others."""
    flatten = getattr(t, "__tensor_flatten__", None)
    if flatten is not None:
        return [s for part in flatten()[0] for s in storages(getattr(t, part))]
    return [t.untyped_storage()]


def _alias(t: Tensor) -> Tensor:
    """The same storage as a tensor made outside of inference mode."""
    kind: Any = type(t)
    flatten = getattr(t, "__tensor_flatten__", None)
    if flatten is not None:
        names, context = flatten()
        parts = {name: _alias(getattr(t, name)) for name in names}
        return kind.__tensor_unflatten__(parts, context, t.size(), t.stride())
    empty = torch.empty(0, dtype=t.dtype, device=t.device)
    same = empty.set_(t.untyped_storage(), t.storage_offset(), t.size(), t.stride())
    if kind in (Tensor, torch.nn.Parameter):
        return same
    # A subclass of another pack (GGUF) needs the attributes it carries in addition to its numbers.
    same = same.as_subclass(kind)
    vars(same).update(vars(t))
    return same


@contextlib.contextmanager
def frozen_weights(*modules: torch.nn.Module) -> Generator[None]:
    """Inside, no parameter requires a gradient (some loaders leave that on); put back on every exit."""
    changed = [p for root in modules for p in root.parameters() if p.requires_grad]
    try:
        for p in changed:
            p.requires_grad_(False)
        yield
    finally:
        for p in changed:
            p.requires_grad_(True)


def pack_saved(t: Tensor) -> tuple[Tensor, int]:
    """Saved-tensor hook: the tensor as a graph may hold it, and its version.

    A copy if it lies in a buffer that ComfyUI reuses: partly offloaded models cast every layer into one
    shared buffer. The version, because autograd does not check that of tensors that pass through hooks.
    Detached, because a graph that holds its own outputs is never freed if no backward pass comes (the layers
    after the last wanted one, a cancelled run).
    """
    t = t.detach()
    shared = {b.untyped_storage().data_ptr() for b in comfy.model_management.STREAM_CAST_BUFFERS.values()}
    if shared and any(s.data_ptr() in shared for s in storages(t)):
        t = t.clone()
    return t, t._version


def unpack_saved(saved: tuple[Tensor, int]) -> Tensor:
    """The tensor of `pack_saved`. Raises UnreadablePass if it was written to since then."""
    t, version = saved
    if t._version != version:
        raise UnreadablePass(
            "a part of this model, or of another pack, writes into a tensor that the gradient still needs, "
            "so the "
            "gradient would be wrong"
        )
    return t


@contextlib.contextmanager
def differentiable(*modules: torch.nn.Module) -> Generator[None]:
    """Autograd on, with respect to the latent only: no gradients flow to the weights of these modules.

    Surround forward and backward with it. Undone on every exit; no global state is changed.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        # Before `frozen_weights`: requires_grad of an inference tensor cannot be changed.
        stack.enter_context(weights_without_inference_flag(*modules))
        stack.enter_context(frozen_weights(*modules))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(pack_saved, unpack_saved))
        yield


class DifferentiableForward(TorchFunctionMode):
    """Surround a forward pass with it if autograd cannot follow the network as it is.

    Only this thread is affected. rope_kernels: ComfyUI's rotary kernels, which have no backward, run as plain
    torch code of the same package. in_place: layer_norm works on a copy of its input, since Flux-like blocks
    write into that tensor afterwards.
    """

    def __init__(self, rope_kernels: bool, in_place: bool):
        super().__init__()
        self.replacements = _differentiable_kernels() if rope_kernels else {}
        self.in_place = in_place

    def __torch_function__(self, func, types, args: tuple = (), kwargs: dict | None = None):
        if self.in_place and func is torch.nn.functional.layer_norm and torch.is_grad_enabled():
            args = (args[0].clone(), *args[1:])
        return self.replacements.get(str(func).removesuffix(".default"), func)(*args, **(kwargs or {}))


@functools.cache
def _differentiable_kernels() -> dict[str, Callable]:
    """{a rotary kernel's name as torch prints it: the same in plain torch}.

    Both are from ComfyUI's kernel package.
    """
    kitchen = getattr(comfy.quant_ops, "ck", None)
    if kitchen is None:  # ComfyUI works without the package, in plain torch
        return {}
    rope = kitchen.backends.eager.rope
    families = ("apply_rope", "rms_rope", "apply_rope_split_half", "rms_rope_split_half")
    names = [name for family in families for name in (family, f"{family}1")]
    return {f"comfy_kitchen.{name}": getattr(rope, name) for name in names if hasattr(rope, name)}


@contextlib.contextmanager
def pass_options(network: torch.nn.Module, modules: Sequence[str], options: dict) -> Generator[None]:
    """Inside, attention calls of these Python modules pass `transformer_options`.

    These modules would otherwise drop them. modules: names of ComfyUI's modules whose classes are parts of
    the network. Only instances are changed: their forward is the same code with one global replaced. Undone
    on every exit.
    """
    changed = []
    try:
        for part in network.modules() if modules else ():
            forward = type(part).forward
            if _calls_attention(forward, modules) and "forward" not in part.__dict__:
                part.__dict__["forward"] = types.MethodType(_with_options(forward, options), part)
                changed.append(part)
        yield
    finally:
        for part in changed:
            del part.__dict__["forward"]


def _calls_attention(forward: Callable, modules: Sequence[str]) -> TypeGuard[types.FunctionType]:
    """Is it a function of one of these modules that calls `optimized_attention`?"""
    if not isinstance(forward, types.FunctionType) or forward.__module__ not in modules:
        return False
    return "optimized_attention" in forward.__code__.co_names


def _with_options(forward: types.FunctionType, options: dict) -> types.FunctionType:
    """The same code with these options in each call of `optimized_attention`."""
    attention = forward.__globals__["optimized_attention"]

    def with_options(*args, **kwargs):
        return attention(*args, **{"transformer_options": options, **kwargs})

    scope = {**forward.__globals__, "optimized_attention": with_options}
    return types.FunctionType(
        forward.__code__, scope, forward.__name__, forward.__defaults__, forward.__closure__
    )


def static_clone(model: ModelPatcher) -> ModelPatcher:
    """A clone of a MODEL whose weights stay in place while a graph refers to them.

    Under dynamic VRAM ComfyUI may evict weights between forward and backward, so such a model is replaced by
    its non-dynamic delegate (ComfyUI reloads the checkpoint once). Models that have none (loaders of other
    packs) recast their weights in the backward pass (`recast_weights`): as exact, but slower (SDXL, forward
    and backward on an H100: 0.48 s instead of 0.30 s).
    """
    if not model.is_dynamic():
        return model.clone()
    try:
        return cast(ModelPatcherDynamic, model).get_non_dynamic_delegate()
    except RuntimeError:
        log.info("This model has dynamic VRAM and cannot be reloaded without it: update steps take longer.")
        return model.clone()
