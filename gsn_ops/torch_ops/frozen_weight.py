"""Layers whose weight is constant: their result, and the gradient of their input alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Compute = Callable[[Tensor, Tensor | None], Tensor]
"""(input or gradient, weight) -> tensor."""


def frozen_weight(x: Tensor, weight: Tensor | None, forward: Compute, backward: Compute) -> Tensor:
    """`forward(x, weight)`; the gradient of x is `backward(gradient, weight)`, the weight gets none.

    The graph saves the weight as it is, and nothing if it is None. Neither function may hold a tensor of the
    graph; what `forward` returns must not be a view of x, because in-place operations on a view made here are
    an error.
    """
    return _FrozenWeight.apply(x, weight, forward, backward)


class _FrozenWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor | None, forward: Compute, backward: Compute) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.input_gradient = backward
        return forward(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (weight,) = ctx.saved_tensors
        return ctx.input_gradient(g, weight), None, None, None
