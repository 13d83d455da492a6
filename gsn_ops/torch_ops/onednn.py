"""Matrix products of float32 models on a CPU by oneDNN, the library that torch uses for convolutions there.

For matrix products torch uses MKL, which leaves half of some CPUs unused. One thread of an AMD EPYC with
AVX-512, 2026-11-21, torch 2.11, at the shapes of Stable Diffusion 1.5: 105 GFLOP/s by MKL, 240 by oneDNN. The
sums are the same but for the order of their terms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .bfloat16 import MIN_PARAMETERS, are_float32
from .frozen_weight import frozen_weight
from .small_conv import CONVOLUTIONS, ColumnProducts, conv2d_gemm, is_small_conv

SIGNATURE = (
    "mkldnn::_linear_pointwise"
    "(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y"
)
"""The signature this file was written for: the operator is private to torch and may change."""

MIN_ROWS = 16
"""Below this number of rows MKL is as fast (embeddings of the time step)."""


def should_use_onednn(network: torch.nn.Module, device: torch.device) -> bool:
    """True for a large network on a CPU if this torch build has the operator.

    Counts the parameters: call once per step.
    """
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if operator is None or str(operator.default._schema) != SIGNATURE:
        return False
    return sum(p.numel() for p in network.parameters()) >= MIN_PARAMETERS


class OneDNNProducts(TorchFunctionMode):
    """Inside, float32 linear layers and small convolutions on the CPU multiply by oneDNN.

    Their gradients too. Surround a forward pass with it; only this thread is affected.
    """

    def __torch_function__(self, func, types, args: tuple = (), kwargs: dict | None = None):
        if func is F.linear and not kwargs and _is_large_linear(args[:2]):
            return _linear(*args)
        if func in CONVOLUTIONS and not kwargs and _is_supported(args[:2]) and is_small_conv(*args):
            return conv2d_gemm(_COLUMN_PRODUCTS, *args)
        return func(*args, **(kwargs or {}))


def _is_supported(factors: tuple) -> bool:
    return are_float32(factors) and all(t.device.type == "cpu" for t in factors)


def _is_large_linear(factors: tuple) -> bool:
    if not _is_supported(factors) or factors[1].ndim != 2:
        return False
    return factors[0].numel() >= MIN_ROWS * factors[0].shape[-1]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for x [.., C]."""
    # One row per position, [.., C] -> [rows, C], outside of the Function: its result must not be a view.
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    made = frozen_weight(
        rows,
        lambda x, weight: _product(x, weight, bias),
        lambda g, weight: _product(g.contiguous(), weight.t(), None),
        weight,
    )
    return made.unflatten(0, x.shape[:-1])


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


# Both are written so that the weight is used as it lies in memory: W x, and (g^T W)^T for W^T g.
_COLUMN_PRODUCTS = ColumnProducts(
    forward=lambda weight, columns: _product(weight, columns.t(), None),
    backward=lambda weight, g: _product(g.t().contiguous(), weight.t(), None).t(),
    dtype=torch.float32,
)
