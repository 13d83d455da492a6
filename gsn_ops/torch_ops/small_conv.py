"""Small convolutions on the CPU as one matrix product (im2col and GEMM), without repacking the weight.

A convolution reorders its weight before it multiplies, forward and backward. At the inmost level of a UNet
the weight is larger than the feature map: with 64 positions of 1280 channels a convolution takes three times
as long as the matrix product alone, with 1024 positions of 640 channels as long (float32, two threads of an
AMD EPYC with AVX-512, 2026-11-21, torch 2.11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .frozen_weight import frozen_weight

MAX_OUTPUT_POSITIONS = 576
"""Output positions, summed over the batch, up to which the matrix product is faster: 24 x 24."""

CONVOLUTIONS = (F.conv2d, torch.conv2d)
"""How layers call it: `F.conv2d(x, weight, bias, stride, padding, dilation, groups)`."""

Sizes = int | tuple[int, ...]


class ColumnProducts(NamedTuple):
    """How to multiply a weight [O, K] by columns [K, P] -> [O, P], and its transpose by a gradient.

    dtype: of the columns and of both products.
    """

    forward: Callable[[Tensor, Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    dtype: torch.dtype


class Window(NamedTuple):
    """How a convolution's window moves, (vertical, horizontal) each."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def has_numeric_padding(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes | str = 0, *_
) -> bool:
    """Has this call of `F.conv2d` a batch of images [B, C, h, w], and padding as numbers?"""
    return x.ndim == 4 and not isinstance(padding, str)


def output_positions(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, *_) -> int:
    """Output positions of this call of `F.conv2d`, summed over the batch, estimated from the stride alone."""
    vertical, horizontal = _pair(stride)
    return x.shape[0] * (x.shape[-2] // vertical) * (x.shape[-1] // horizontal)


def is_small_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> bool:
    """Can `conv2d_gemm` compute this call of `F.conv2d`, and is it small enough to be faster?"""
    if not has_numeric_padding(x, weight, bias, stride, padding) or _pair(dilation) != (1, 1) or groups != 1:
        return False
    return x.device.type == "cpu" and output_positions(x, weight, bias, stride) <= MAX_OUTPUT_POSITIONS


def conv2d_gemm(
    products: ColumnProducts,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    *_,
) -> Tensor:
    """`F.conv2d` of x [B, C, h, w] with dilation 1 and one group -> [B, O, h', w']."""
    window = Window(_pair(tuple(weight.shape[2:])), _pair(stride), _pair(padding))
    shape, grid = x.shape, _output_grid(x, window)
    kernel_and_positions = (weight.shape[1], *window.kernel, len(x), *grid)  # [C, *kernel, B, h', w']

    def forward(x: Tensor, weight: Tensor) -> Tensor:
        columns = im2col(x.to(products.dtype), window)
        return products.forward(weight.flatten(1), columns.flatten(3).flatten(0, 2))  # [K, P] -> [O, P]

    def backward(g: Tensor, weight: Tensor) -> Tensor:
        columns = products.backward(weight.flatten(1), g)  # [K, P]
        return col2im(columns.view(kernel_and_positions), shape, window)

    # [O, P]; reordered outside of the Function, whose result must not be a view.
    made = frozen_weight(x, forward, backward, weight)
    if bias is not None:
        made = made + bias[:, None]
    return made.unflatten(1, (len(x), *grid)).transpose(0, 1).contiguous()  # [O, B, h', w'] -> [B, O, h', w']


def _output_grid(x: Tensor, window: Window) -> tuple[int, ...]:
    sizes = zip(x.shape[2:], *window, strict=True)
    return tuple((n + 2 * padding - kernel) // stride + 1 for n, kernel, stride, padding in sizes)


def im2col(x: Tensor, window: Window) -> Tensor:
    """The values under the window at each position: [B, C, h, w] -> [C, *kernel, B, h', w']."""
    (height, width), (vertical, horizontal), (top, left) = window
    padded = F.pad(x, (left, left, top, top))
    columns = padded.unfold(2, height, vertical).unfold(3, width, horizontal)  # [B, C, h', w', *kernel]
    return columns.permute(1, 4, 5, 0, 2, 3).contiguous()


def col2im(columns: Tensor, shape: tuple[int, ...], window: Window) -> Tensor:
    """The adjoint of `im2col`: adds each value to the position it came from.

    -> float32 of this shape [B, C, h, w].
    """
    (height, width), (vertical, horizontal), (top, left) = window
    b, c, h, w = shape
    rows, cols = columns.shape[-2:]
    image = torch.zeros(c, b, h + 2 * top, w + 2 * left, device=columns.device)
    for i in range(height):
        for j in range(width):
            vertical_range = slice(i, i + vertical * rows, vertical)
            horizontal_range = slice(j, j + horizontal * cols, horizontal)
            image[..., vertical_range, horizontal_range] += columns[:, i, j]
    return image[..., top : top + h, left : left + w].transpose(0, 1).contiguous()  # [C, B, ..] -> [B, C, ..]


def _pair(n: Sizes) -> tuple[int, int]:
    """(vertical, horizontal)."""
    if isinstance(n, int):
        return n, n
    vertical, horizontal = n
    return vertical, horizontal
