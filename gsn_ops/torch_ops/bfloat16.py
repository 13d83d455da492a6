"""Matrix products in bfloat16; sums, norms, softmaxes, maps, loss and optimiser stay in float32.

For models that compute in float32, on CPUs with bfloat16 instructions (otherwise ComfyUI has chosen half
precision itself). Weights stay float32: a product casts its weight, and casts it again in the backward pass,
so that no copy of the model is kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input
from torch.overrides import TorchFunctionMode

from .frozen_weight import frozen_weight
from .small_conv import (
    CONVOLUTIONS,
    ColumnProducts,
    conv2d_gemm,
    has_numeric_padding,
    is_small_conv,
    output_positions,
)

BFLOAT16 = torch.bfloat16

MIN_PARAMETERS = 100_000_000
"""Below this size of a network, casting costs what the products save. The demo models are far below."""

MIN_UPDATES = 5
"""Below this number of updates, the pass that compares the gradients costs what bfloat16 saves."""

MIN_ROWS = 128
"""Below this number of rows (positions), casting a weight twice costs as much as the layer: a UNet's inmost
level.
"""


def should_try_bfloat16(
    network: torch.nn.Module, dtype: torch.dtype, device: torch.device, updates: int
) -> bool:
    """Is a gradient in bfloat16 worth trying?

    dtype: that of the network's computation. updates: of the whole run.
    """
    if dtype != torch.float32 or device.type != "cpu" or updates < MIN_UPDATES:
        return False
    if not has_fast_bfloat16():
        return False
    return sum(p.numel() for p in network.parameters()) >= MIN_PARAMETERS


def has_fast_bfloat16() -> bool:
    """Has this CPU instructions for products in bfloat16? Without them they are slower than in float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    known = (getattr(torch.cpu, name, None) for name in names)
    return any(supported is not None and supported() for supported in known)


class BFloat16Products(TorchFunctionMode):
    """Inside, float32 linear layers, convolutions and self-attention multiply in bfloat16.

    Surround a forward pass with it; only this thread is affected. Cross-attention, whose maps are computed
    separately, stays float32; the maps of joint attention come from the same call as its result, with the
    precision of its values.
    """

    def __torch_function__(self, func, types, args: tuple = (), kwargs: dict | None = None):
        kwargs = kwargs or {}
        if func is F.linear and are_float32(args[:2]) and args[0].numel() >= MIN_ROWS * args[0].shape[-1]:
            return _linear(*args, **kwargs)
        if func in CONVOLUTIONS and not kwargs and are_float32(args[:2]) and _is_large_conv(*args):
            if is_small_conv(*args):
                return conv2d_gemm(_COLUMN_PRODUCTS, *args)
            return _conv2d(*args)
        if func is F.scaled_dot_product_attention and are_float32(args[:3]) and args[2].requires_grad:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def are_float32(tensors: tuple) -> bool:
    """Are these at least two plain float32 tensors (no quantized weight, no tensor without numbers)?"""
    plain_types = (Tensor, torch.nn.Parameter)
    return len(tensors) > 1 and all(type(t) in plain_types and t.dtype == torch.float32 for t in tensors)


def _is_large_conv(*args) -> bool:
    return has_numeric_padding(*args) and output_positions(*args) >= MIN_ROWS


def _cast(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.to(BFLOAT16)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for x [.., C]."""
    return frozen_weight(
        x,
        lambda x, weight: F.linear(x.to(BFLOAT16), weight.to(BFLOAT16), _cast(bias)).float(),
        lambda g, weight: (g.to(BFLOAT16) @ weight.to(BFLOAT16)).float(),
        weight,
    )


_COLUMN_PRODUCTS = ColumnProducts(
    forward=lambda weight, columns: (weight.to(BFLOAT16) @ columns).float(),
    backward=lambda weight, g: weight.to(BFLOAT16).t() @ g.to(BFLOAT16),
    dtype=BFLOAT16,
)


def _conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, dilation=1, groups=1
) -> Tensor:
    """`F.conv2d` of x [B, C, h, w], channels last, which is the faster memory format in half precision."""
    shape, options = x.shape, (stride, padding, dilation, groups)

    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(_channels_last(x), _channels_last(weight), _cast(bias), *options).float()

    def backward(g: Tensor, weight: Tensor) -> Tensor:
        weight, g = _channels_last(weight), _channels_last(g)
        return conv2d_input(shape, weight, g, *options).float()

    return frozen_weight(x, forward, backward, weight)


def _channels_last(t: Tensor) -> Tensor:
    # In two steps: together they take nearly twice as long.
    return t.to(BFLOAT16).contiguous(memory_format=torch.channels_last)


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **kwargs) -> Tensor:
    """Fused attention of q, k, v [B, H, N, d] -> float32."""
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(BFLOAT16)
    q, k, v = (t.to(BFLOAT16) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask, **kwargs).float()
