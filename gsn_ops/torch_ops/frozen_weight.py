"""Layers whose weight is constant: their result, and the gradient of their input alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def frozen_weight(
    x: Tensor, forward: Callable[..., Tensor], backward: Callable[..., Tensor], *saved: Tensor
) -> Tensor:
    """`forward(x, *saved)`; the gradient of x is `backward(gradient, *saved)`, the saved tensors get none.

    saved: what the graph keeps, as it is (the weight, or nothing if it is computed again). Neither function
    may hold a tensor of the graph. What `forward` returns must not be a view of x, because in-place
    operations on a view made here are an error.
    """
    return _FrozenWeight.apply(x, forward, backward, *saved)


class _FrozenWeight(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, forward: Callable[..., Tensor], backward: Callable[..., Tensor], *saved: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*saved)
        ctx.input_gradient = backward
        return forward(x, *saved)

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        return ctx.input_gradient(g, *saved), None, None, *(None for _ in saved)
