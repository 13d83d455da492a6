"""Recast weights in the backward pass instead of saving the cast copy.

For layers that make their weight anew at each call: weights stored in another dtype than the network computes
in (fp8), offloaded layers, LoRAs applied on the fly. The casts that autograd would save are a second model on
the device, in the dtype of the computation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence

import torch
from comfy import ops
from torch import Tensor
from torch.nn.grad import conv2d_input

from ...torch_ops.frozen_weight import frozen_weight

Linear = ops.disable_weight_init.Linear
Conv2d = ops.disable_weight_init.Conv2d

FORWARD = "forward_comfy_cast_weights"
"""ComfyUI's method of a layer that casts its weights."""

_LINEAR = Linear.forward_comfy_cast_weights
_CONVOLUTION = Conv2d.forward_comfy_cast_weights
_FAST_FP8 = ops.fp8_ops.Linear.forward_comfy_cast_weights
"""Such methods that are known here. The fast one of fp8 has no gradient and falls back to `_LINEAR`.

Layers with another forward method are left alone.
"""


def recastable_layers(
    network: torch.nn.Module, dtype: torch.dtype, device: torch.device
) -> list[torch.nn.Module]:
    """The layers that cast their weights at each call if the network computes so."""
    return [
        layer
        for layer in network.modules()
        if getattr(type(layer), FORWARD, None) in (_LINEAR, _FAST_FP8, _CONVOLUTION)
        and not hasattr(layer, "_v")  # dynamic VRAM
        and (layer.weight.dtype != dtype or layer.weight.device != device or layer.weight_function)
    ]


@contextlib.contextmanager
def recast_weights(layers: Sequence[torch.nn.Module]) -> Generator[None]:
    """Surround a forward pass: these layers save no cast weight.

    Only instances are changed; undone on every exit.

    Result and gradient are the same numbers as without. The layers' weights must stay where they are until
    the backward pass.
    """
    changed = []
    try:
        for layer in layers:
            if FORWARD not in layer.__dict__:
                stock = getattr(type(layer), FORWARD)
                call = _convolution if stock is _CONVOLUTION else _linear
                layer.__dict__[FORWARD] = _choose(call, layer, stock)
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer.__dict__[FORWARD]


def _choose(call: Callable, layer: torch.nn.Module, stock: Callable) -> Callable:
    """`call` for inputs with a gradient and a weight that is cast, else ComfyUI's own method."""

    def forward(x: Tensor) -> Tensor:
        needs_gradient = torch.is_grad_enabled() and x.requires_grad
        if needs_gradient and _casts_weight(layer, x) and _is_supported(layer, x):
            return call(x, layer)
        return stock(layer, x)

    return forward


def _casts_weight(layer: torch.nn.Module, x: Tensor) -> bool:
    return bool(layer.weight.dtype != x.dtype or layer.weight.device != x.device or layer.weight_function)


def _is_supported(layer: torch.nn.Module, x: Tensor) -> bool:
    if isinstance(layer, torch.nn.Linear):
        return x.ndim > 1
    return x.ndim == 4 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _linear(x: Tensor, layer: Linear) -> Tensor:
    """x W^T + b for x [.., C]; g W for its gradient."""

    def backward(g: Tensor) -> Tensor:
        with _weight(layer, g) as weight:
            return g @ weight

    # One row per position, [.., C] -> [rows, C], outside of the Function: its result must not be a view.
    rows = x.reshape(-1, x.shape[-1])
    return frozen_weight(rows, lambda x: _LINEAR(layer, x), backward).unflatten(0, x.shape[:-1])


def _convolution(x: Tensor, layer: Conv2d) -> Tensor:
    """The convolution of x [B, C, h, w]; for its gradient that with the transposed weight."""
    shape = x.shape

    def backward(g: Tensor) -> Tensor:
        with _weight(layer, g) as weight:
            options = (layer.stride, layer.padding, layer.dilation, layer.groups)
            return conv2d_input(shape, weight, g, *options)

    return frozen_weight(x, lambda x: _CONVOLUTION(layer, x), backward)


@contextlib.contextmanager
def _weight(layer: torch.nn.Module, g: Tensor) -> Generator[Tensor]:
    """The weight as ComfyUI casts it for a call with g."""
    weight, bias, stream = ops.cast_bias_weight(layer, g, offloadable=True)
    try:
        yield weight
    finally:
        ops.uncast_bias_weight(layer, weight, bias, stream)
