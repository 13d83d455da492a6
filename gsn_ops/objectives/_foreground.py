"""Foreground of a map: Otsu's threshold, and the component around the maximum (as in InitNO, CVPR 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def otsu_mask(m: Tensor) -> Tensor:
    """Foreground of maps [..., h, w] in 0 ... 1: bool, M >= t / 255 (Otsu 1979, as used by InitNO).

    t is the first of 0 ... 255 with the largest between-class variance w0 w1 (m0 - m1)^2 of the integers
    int(255 M), class 0 being those up to t and class 1 those above it. As in the authors' code, the mask
    begins at t itself, so the highest level of class 0 is foreground. A map without two classes (flat, or
    nowhere above 1/255) gives t = 0: all true.
    """
    levels = (255 * m.detach()).long().clamp(0, 255).flatten(-2)  # [..., (h w)]
    level = torch.arange(256, device=m.device)
    counts = (levels[..., None] == level).sum(-2).double()  # [..., (h w), 256] -> [..., 256]
    values = counts * level
    below, sum_below = counts.cumsum(-1), values.cumsum(-1)  # of the integers <= t
    above, sum_above = counts.sum(-1, keepdim=True) - below, values.sum(-1, keepdim=True) - sum_below
    variance = below * above * (sum_below / below.clamp(min=1) - sum_above / above.clamp(min=1)) ** 2
    t = variance.argmax(-1)  # [...], the first maximum
    return m.detach() >= t[..., None, None] / 255


def peak(m: Tensor) -> Tensor:
    """The highest cell of maps [..., h, w]: bool, exactly one cell each (the first of equals)."""
    cells = m.flatten(-2)  # [..., (h w)]
    number = torch.arange(cells.shape[-1], device=m.device)
    highest = number == cells.argmax(-1, keepdim=True)
    return highest.unflatten(-1, m.shape[-2:])  # [..., (h w)] -> [..., h, w]


def component(inside: Tensor, seed: Tensor, at_once: int | None = None) -> Tensor:
    """Cells of `inside` connected to `seed` by shared edges, both bool [..., h, w]: bool.

    Grows by one cell until nothing changes: no recursion, and no limit on the grid. On a CPU the test for a
    change follows every growth; elsewhere, where a test waits for the device, it follows as many as cross the
    grid (`at_once`).
    """
    at_once = at_once or (1 if inside.device.type == "cpu" else max(inside.shape[-2:]))
    grid = (-1, 1, *inside.shape[-2:])
    room = inside.reshape(grid).float()  # [(...), 1, h, w]
    reached = seed.reshape(grid).float() * room
    while True:
        grown = reached
        for _ in range(at_once):
            vertical = F.max_pool2d(grown, (3, 1), 1, (1, 0))
            horizontal = F.max_pool2d(grown, (1, 3), 1, (0, 1))
            grown = torch.maximum(vertical, horizontal) * room
        if torch.equal(grown, reached):
            return reached.bool().view(inside.shape)
        reached = grown


def blob(m: Tensor) -> Tensor:
    """B: the 4-connected component of {M >= Otsu's threshold} around the maximum, maps [..., h, w] -> bool.

    Authors' code of InitNO. Detached; a flat map is all foreground.
    """
    m = m.detach()
    top = peak(m)
    return component(otsu_mask(m) | top, top)
