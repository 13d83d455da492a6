"""Matrix products in bfloat16, on machines that are faster at it: sums, norms, softmaxes, maps, loss and optimiser stay in float32.

For models that compute in float32; elsewhere the host has chosen half precision itself. Weights stay where and what they are:
a product casts its weight, and casts it again in the backward pass, so that no copy of the model is kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from .small_conv import CONVOLUTIONS, Products, conv2d_gemm, is_numeric, is_one_product, output_positions

BFLOAT16 = torch.bfloat16

ENOUGH_PARAMETERS = 100_000_000
"""Below that, casting costs what the products save (and the embedded model stays what it was measured as)."""

ENOUGH_UPDATES = 5
"""Below that, finding out whether the gradients agree, which takes a pass, costs what it saves."""

ENOUGH_ROWS = 128
"""Rows (places of a picture) below which a layer costs no more than casting its weight twice: the inmost level of a UNet."""


def pays(network: torch.nn.Module, dtype: torch.dtype, device: torch.device, updates: int) -> bool:
    """Is a gradient in bfloat16 worth trying? dtype: what the network computes in."""
    if (
        dtype != torch.float32
        or device.type != "cpu"
        or updates < ENOUGH_UPDATES
        or not fast_on_this_processor()
    ):
        return False
    return sum(p.numel() for p in network.parameters()) >= ENOUGH_PARAMETERS


def fast_on_this_processor() -> bool:
    """Has it instructions for products in bfloat16? Without them they are slower than in float32."""
    known = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(supported is not None and supported() for supported in known)


class HalfProducts(TorchFunctionMode):
    """Surrounds a forward pass, in this thread only: linear layers, convolutions and self-attention multiply in bfloat16.

    Attention to the text alone, of which maps are written out, is left as it is; those of joint attention come out of the
    one call for both, with the precision of its values.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.linear and are_float32(args[:2]) and args[0].numel() >= ENOUGH_ROWS * args[0].shape[-1]:
            return _Linear.apply(*args, **kwargs)
        if (
            func in CONVOLUTIONS
            and not kwargs
            and are_float32(args[:2])
            and is_numeric(*args)
            and output_positions(*args) >= ENOUGH_ROWS
        ):
            return conv2d_gemm(_COLUMNS, *args) if is_one_product(*args) else _convolved(*args)
        if func is F.scaled_dot_product_attention and are_float32(args[:3]) and args[2].requires_grad:
            return _attended(*args, **kwargs)
        return func(*args, **kwargs)


def are_float32(tensors: tuple) -> bool:
    """Factors of a product, and not tensors of a kind of their own (a quantized weight, or one without numbers)?"""
    return len(tensors) > 1 and all(
        type(t) in (Tensor, torch.nn.Parameter) and t.dtype == torch.float32 for t in tensors
    )


class _Linear(torch.autograd.Function):
    """x W^T + b, and g W for its gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(
            x.to(BFLOAT16), weight.to(BFLOAT16), None if bias is None else bias.to(BFLOAT16)
        ).float()

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (weight,) = ctx.saved_tensors
        return (g.to(BFLOAT16) @ weight.to(BFLOAT16)).float(), None, None


_COLUMNS = Products(
    lambda weight, seen: (weight.to(BFLOAT16) @ seen).float(),
    lambda weight, g: weight.to(BFLOAT16).t() @ g.to(BFLOAT16),
    BFLOAT16,
)


def _convolved(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    return _Convolution.apply(x, weight, bias, stride, padding, dilation, groups)


class _Convolution(torch.autograd.Function):
    """The host's 2D convolution, channels last, which is the faster layout in half precision."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, *how) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = x.shape, how
        return F.conv2d(
            _channels_last(x), _channels_last(weight), None if bias is None else bias.to(BFLOAT16), *how
        ).float()

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (weight,) = ctx.saved_tensors
        return torch.nn.grad.conv2d_input(
            ctx.shape, _channels_last(weight), _channels_last(g), *ctx.how
        ).float(), *[None] * 6


def _channels_last(t: Tensor) -> Tensor:
    return t.to(BFLOAT16).contiguous(
        memory_format=torch.channels_last
    )  # in two steps: in one it takes nearly twice as long


def _attended(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **kwargs) -> Tensor:
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(BFLOAT16)
    return F.scaled_dot_product_attention(
        q.to(BFLOAT16), k.to(BFLOAT16), v.to(BFLOAT16), attn_mask, **kwargs
    ).float()
