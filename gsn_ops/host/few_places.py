"""Convolutions over few places of a picture, as one product of matrices with the weight as it lies in memory.

A convolution brings its weight into another order before it multiplies, forward and backward. At the inmost level of a UNet
there is more weight than picture: with 64 places of 1280 channels it takes three times as long as the product alone, with 1024
places of 640 channels as long (float32, two threads of an AMD EPYC with AVX-512, 2026-11-21, torch 2.11).
"""
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

FEW = 576
"""Places (of all images of a batch) up to which the product is faster: 24 x 24."""

CONVOLUTIONS = (F.conv2d, torch.conv2d)
"""How a layer calls it: `F.conv2d(x, weight, bias, stride, padding, dilation, groups)`."""


def is_numeric(x: Tensor, weight: Tensor, bias=None, stride=1, padding=0, *_) -> bool:
    """Does this call have a batch of pictures, and padding in numbers?"""
    return x.ndim == 4 and not isinstance(padding, str)


def places(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | tuple[int, int] = 1, *_) -> int:
    """How many places the result of this call has, as far as the stride says (the edges may take a few)."""
    down, right = _pair(stride)
    return x.shape[0] * (x.shape[-2] // down) * (x.shape[-1] // right)


def is_one_product(x: Tensor, weight: Tensor, bias=None, stride=1, padding=0, dilation=1, groups=1) -> bool:
    """Can this call of `F.conv2d` be made by `convolved`, and is it over few places?"""
    numeric = is_numeric(x, weight, bias, stride, padding)
    return numeric and x.device.type == "cpu" and groups == 1 and places(x, weight, bias, stride) <= FEW


def convolved(times: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    """`F.conv2d` of x [B, C, h, w]. times(weight [O, K], seen [K, P]) makes the product [O, P] and its gradient with respect to
    `seen`: K numbers under the window at each of P places."""
    kernel, stride, padding, dilation = (_pair(p) for p in (weight.shape[2:], stride, padding, dilation))
    seen = F.unfold(x, kernel, dilation, padding, stride)  # [B, K, P]
    made = times(weight.flatten(1), seen.transpose(0, 1).flatten(1))  # [K, B, P] -> [K, B P], and [O, B P]
    if bias is not None:
        made = made + bias[:, None]
    h, w = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True))
    return made.unflatten(1, (len(x), h, w)).transpose(0, 1).contiguous()  # [O, B P] -> [O, B, h, w] -> [B, O, h, w]


def _pair(n: int | tuple[int, ...]) -> tuple[int, ...]:
    return (n, n) if isinstance(n, int) else tuple(n)
