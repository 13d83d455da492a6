"""Matrix products of float32 models on a CPU through oneDNN, the library that torch takes for convolutions there.

For matrix products torch takes MKL, which leaves half of some processors unused. One thread of an AMD EPYC with AVX-512,
2026-11-21, torch 2.11, at the shapes of Stable Diffusion 1.5: 105 GFLOP/s by MKL, 240 by oneDNN; the same sums otherwise ordered.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from .bfloat16 import ENOUGH_PARAMETERS, are_float32
from .small_conv import CONVOLUTIONS, Products, conv2d_gemm, is_one_product

SIGNATURE = "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y"
"""The one known here: the operator is torch's private matter."""

ENOUGH_ROWS = 16
"""Below that MKL is as fast: embeddings of the time step."""


def pays(network: torch.nn.Module, device: torch.device) -> bool:
    """Is this a large network on a CPU, and has this torch the operator? Asked once per step: it counts the parameters."""
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if (
        device.type != "cpu"
        or not torch.backends.mkldnn.is_available()
        or operator is None
        or str(operator.default._schema) != SIGNATURE
    ):
        return False
    return sum(p.numel() for p in network.parameters()) >= ENOUGH_PARAMETERS


class FastProducts(TorchFunctionMode):
    """Surrounds a forward pass, in this thread only: float32 linear layers on the CPU, and convolutions over few places, multiply
    by oneDNN, their gradients too."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if (
            func is F.linear
            and not kwargs
            and _suit(args[:2])
            and args[1].ndim == 2
            and args[0].numel() >= ENOUGH_ROWS * args[0].shape[-1]
        ):
            x, *layer = args
            # Rows first, [.., C] -> [rows, C]: what a Function makes must not be a view, which the host might write into.
            return _Linear.apply(x.reshape(-1, x.shape[-1]).contiguous(), *layer).unflatten(0, x.shape[:-1])
        if func in CONVOLUTIONS and not kwargs and _suit(args[:2]) and is_one_product(*args):
            return conv2d_gemm(_COLUMNS, *args)
        return func(*args, **(kwargs or {}))


def _suit(factors: tuple) -> bool:
    return are_float32(factors) and all(t.device.type == "cpu" for t in factors)


class _Linear(torch.autograd.Function):
    """x W^T + b of rows [rows, C], and g W for its gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (weight,) = ctx.saved_tensors
        return _product(g.contiguous(), weight.t(), None), None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


# Each the way round that leaves the weight as it lies: W x, and (g^T W)^T for W^T g.
_COLUMNS = Products(
    lambda weight, seen: _product(weight, seen.t(), None),
    lambda weight, g: _product(g.t().contiguous(), weight.t(), None).t(),
    torch.float32,
)
