"""The shapes that the demo models draw: six shapes in six colours on a 32 x 32 grid, and one to be taught.

Lengths are in pixels of that grid, x to the right, y down.
"""

from __future__ import annotations

import numpy as np

SIDE = 32
SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")
RING = "ring"
"""A shape that the models have never seen: what a study teaches them."""
PALETTE = {
    "red": (0.86, 0.12, 0.12),
    "green": (0.10, 0.62, 0.22),
    "blue": (0.12, 0.28, 0.88),
    "yellow": (0.96, 0.80, 0.10),
    "purple": (0.58, 0.16, 0.70),
    "black": (0.07, 0.07, 0.07),
}
COLOURS = tuple(PALETTE)


def _circle(x, y, s):
    return np.hypot(x, y) - s / 2


def _square(x, y, s):
    return np.maximum(abs(x), abs(y)) - 0.44 * s


def _triangle(x, y, s):
    side = (0.95 * abs(x) - 0.5 * (y + 0.5 * s)) / np.hypot(0.95, 0.5)
    return np.maximum(side, y - 0.45 * s)


def _star(x, y, s):
    # Five half planes; a point of the pentagram lies outside at most one of them, so the second largest
    # decides.
    turns = np.deg2rad(90 + 36 + 72 * np.arange(5))
    planes = np.stack([x * np.cos(a) - y * np.sin(a) for a in turns])
    return np.partition(planes, 3, axis=0)[3] - 0.55 * s * np.cos(np.deg2rad(72))


def _cross(x, y, s):
    upright = np.maximum(abs(x) - 0.17 * s, abs(y) - 0.5 * s)
    level = np.maximum(abs(x) - 0.5 * s, abs(y) - 0.17 * s)
    return np.minimum(upright, level)


def _heart(x, y, s):
    a = s / 1.707  # a square standing on its corner and two half discs on it
    y = y - 0.073 * a
    square = (abs(x) + abs(y)) / np.sqrt(2) - a / 2
    discs = np.hypot(abs(x) - a / np.sqrt(8), y + a / np.sqrt(8)) - a / 2
    return np.minimum(square, discs)


def _ring(x, y, s):
    return np.maximum(_circle(x, y, s), 0.24 * s - np.hypot(x, y))


_DISTANCE = dict(zip((*SHAPES, RING), (_circle, _square, _triangle, _star, _cross, _heart, _ring)))
_AXIS = np.arange(SIDE, dtype=np.float32) + 0.5


def coverage(shape: str, size, cx, cy) -> np.ndarray:
    """How much of each pixel a shape covers: sizes and centres [n] in pixels -> [n, 32, 32] in [0, 1]."""
    size, cx, cy = (np.asarray(v, dtype=np.float32).reshape(-1, 1, 1) for v in (size, cx, cy))  # [n, 1, 1]
    distance = _DISTANCE[shape](_AXIS[None, None, :] - cx, _AXIS[None, :, None] - cy, size)
    return np.clip(0.5 - distance, 0, 1)
