"""Convolutions over few places of a picture, as one product of matrices with the weight as it lies in memory.

A convolution brings its weight into another order before it multiplies, forward and backward. At the inmost level of a UNet
there is more weight than picture: with 64 places of 1280 channels it takes three times as long as the product alone, with 1024
places of 640 channels as long (float32, two threads of an AMD EPYC with AVX-512, 2026-11-21, torch 2.11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

MAX_OUTPUT_POSITIONS = 576
"""Places (of all images of a batch) up to which the product is faster: 24 x 24."""

CONVOLUTIONS = (F.conv2d, torch.conv2d)
"""How a layer calls it: `F.conv2d(x, weight, bias, stride, padding, dilation, groups)`."""


class Products(NamedTuple):
    """How to multiply a weight [O, K]: by what was seen [K, P], in `dtype`, giving [O, P]; and its transpose by a gradient [O, P]."""

    forward: Callable[[Tensor, Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    dtype: torch.dtype


def is_numeric(x: Tensor, weight: Tensor, bias=None, stride=1, padding=0, *_) -> bool:
    """Does this call have a batch of pictures, and padding in numbers?"""
    return x.ndim == 4 and not isinstance(padding, str)


def output_positions(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | tuple[int, int] = 1, *_
) -> int:
    """How many places the result of this call has, as far as the stride says (the edges may take a few)."""
    down, right = _pair(stride)
    return x.shape[0] * (x.shape[-2] // down) * (x.shape[-1] // right)


def is_one_product(x: Tensor, weight: Tensor, bias=None, stride=1, padding=0, dilation=1, groups=1) -> bool:
    """Can this call of `F.conv2d` be made by `conv2d_gemm`, and is it over few places?"""
    plain = is_numeric(x, weight, bias, stride, padding) and _pair(dilation) == (1, 1) and groups == 1
    return (
        plain and x.device.type == "cpu" and output_positions(x, weight, bias, stride) <= MAX_OUTPUT_POSITIONS
    )


def conv2d_gemm(
    by: Products, x: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, *_
) -> Tensor:
    """`F.conv2d` of x [B, C, h, w] with dilation 1 and one group."""
    window = kernel, stride, padding = tuple(weight.shape[2:]), _pair(stride), _pair(padding)
    made = _OneProduct.apply(
        x, weight, window, by
    )  # [O, P]; no view, since what a Function makes must not be one: the host may write into it
    if bias is not None:
        made = made + bias[:, None]
    h, w = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True))
    return made.unflatten(1, (len(x), h, w)).transpose(0, 1).contiguous()  # [O, B, h', w'] -> [B, O, h', w']


class _OneProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, window: tuple, by: Products) -> Tensor:
        ctx.save_for_backward(weight)
        seen = gathered(x.to(by.dtype), *window)  # [C, *kernel, B, h', w']
        ctx.shape, ctx.seen, ctx.window, ctx.by = x.shape, seen.shape, window, by
        return by.forward(weight.flatten(1), seen.flatten(3).flatten(0, 2))  # [K, P] -> [O, P]

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (weight,) = ctx.saved_tensors
        columns = ctx.by.backward(weight.flatten(1), g).view(ctx.seen)  # [K, P] -> [C, *kernel, B, h', w']
        return scattered(columns, ctx.shape, *ctx.window), None, None, None


def gathered(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """What lies under the window at each place: [B, C, h, w] -> [C, *kernel, B, h', w']."""
    (top, left) = padding
    seen = (
        F.pad(x, (left, left, top, top)).unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    )  # [B, C, h', w', *kernel]
    return seen.permute(1, 4, 5, 0, 2, 3).contiguous()


def scattered(
    columns: Tensor,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """The adjoint of `gathered`, in float32: each number is added to where it was. shape: of the picture [B, C, h, w]."""
    (b, c, h, w), (down, right), (top, left), (tall, wide) = shape, stride, padding, columns.shape[-2:]
    picture = torch.zeros(c, b, h + 2 * top, w + 2 * left, device=columns.device)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            picture[..., i : i + down * tall : down, j : j + right * wide : right] += columns[:, i, j]
    return (
        picture[..., top : top + h, left : left + w].transpose(0, 1).contiguous()
    )  # [C, B, h, w] -> [B, C, h, w]


def _pair(n: int | tuple[int, ...]) -> tuple[int, ...]:
    return (n, n) if isinstance(n, int) else tuple(n)
