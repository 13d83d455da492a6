"""Weights that a layer makes anew for each call: the graph does not keep them, the backward pass asks the layer once more.

So it is with weights stored in another type than the network computes in (fp8), with offloaded layers and with LoRAs applied on
the fly. What autograd would keep of them is a second model on the device, in the type that it computes in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from comfy import ops
from torch import Tensor
from torch.autograd.function import once_differentiable

_LINEAR, _CONVOLUTION = (
    ops.disable_weight_init.Linear.forward_comfy_cast_weights,
    ops.disable_weight_init.Conv2d.forward_comfy_cast_weights,
)
_FAST_FP8 = ops.fp8_ops.Linear.forward_comfy_cast_weights
"""The host's ways of calling such a layer; fp8's fast way has no gradient and ends as the first. Layers with another are left alone."""


def casting_layers(
    network: torch.nn.Module, dtype: torch.dtype, device: torch.device
) -> list[torch.nn.Module]:
    """The layers that make their weights for each call where the network computes in this type on this device."""
    return [
        layer
        for layer in network.modules()
        if getattr(type(layer), "forward_comfy_cast_weights", None) in (_LINEAR, _FAST_FP8, _CONVOLUTION)
        and not hasattr(layer, "_v")  # dynamic VRAM
        and (layer.weight.dtype != dtype or layer.weight.device != device or layer.weight_function)
    ]


@contextlib.contextmanager
def recast_weights(layers: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Surrounds a forward pass. Only these instances are changed; undone on every exit.

    Forward and backward have the same numbers as without; the backward pass must find the layers' weights where they are now.
    """
    changed = []
    try:
        for layer in layers:
            if "forward_comfy_cast_weights" not in layer.__dict__:
                stock = type(layer).forward_comfy_cast_weights
                layer.forward_comfy_cast_weights = _or(
                    _convolution if stock is _CONVOLUTION else _linear, layer, stock
                )
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer.__dict__["forward_comfy_cast_weights"]


def _or(call: Callable, layer: torch.nn.Module, stock: Callable) -> Callable:
    def forward(x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad and _makes_weights(layer, x) and _is_plain(layer, x):
            return call(x, layer)
        return stock(layer, x)

    return forward


def _makes_weights(layer: torch.nn.Module, x: Tensor) -> bool:
    return bool(layer.weight.dtype != x.dtype or layer.weight.device != x.device or layer.weight_function)


def _is_plain(layer: torch.nn.Module, x: Tensor) -> bool:
    if isinstance(layer, torch.nn.Linear):
        return x.ndim > 1
    return x.ndim == 4 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _linear(x: Tensor, layer: torch.nn.Linear) -> Tensor:
    # Rows first, [.., C] -> [rows, C]: what a Function makes must not be a view, which the host might write into.
    return _Linear.apply(x.reshape(-1, x.shape[-1]), layer).unflatten(0, x.shape[:-1])


def _convolution(x: Tensor, layer: torch.nn.Conv2d) -> Tensor:
    return _Convolution.apply(x, layer)


class _Linear(torch.autograd.Function):
    """x W^T + b of rows [rows, C], and g W for its gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: torch.nn.Linear) -> Tensor:
        ctx.layer = layer
        return _LINEAR(layer, x)

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        with _weight(ctx.layer, g) as weight:
            return g @ weight, None


class _Convolution(torch.autograd.Function):
    """The convolution of x [B, C, h, w], and that of its gradient with the weight transposed."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: torch.nn.Conv2d) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return _CONVOLUTION(layer, x)

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        layer = ctx.layer
        with _weight(layer, g) as weight:
            return torch.nn.grad.conv2d_input(
                ctx.shape, weight, g, layer.stride, layer.padding, layer.dilation, layer.groups
            ), None


@contextlib.contextmanager
def _weight(layer: torch.nn.Module, g: Tensor) -> Iterator[Tensor]:
    """As the host makes it for a call with g."""
    weight, bias, stream = ops.cast_bias_weight(layer, g, offloadable=True)
    try:
        yield weight
    finally:
        ops.uncast_bias_weight(layer, weight, bias, stream)
