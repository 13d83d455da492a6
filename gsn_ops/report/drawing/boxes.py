"""A layout as an image: captioned boxes on the canvas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .canvas import COLOURS, PANEL, SOFT, Canvas, shorten

LONGEST, SMALLEST = 768, 64
"""Pixels of the image's longer side, and at least of its shorter one."""

NamedBox = tuple[str, tuple[float, float, float, float]]
"""(name, (x1, y1, x2, y2) as fractions)."""


def draw_layout(boxes: Sequence[NamedBox], canvas: tuple[int, int], background: str = "") -> np.ndarray:
    """The boxes on a canvas of this shape (width, height): float32 [h, w, 3] in 0 ... 1."""
    scale = LONGEST / max(canvas)
    width, height = (max(SMALLEST, round(side * scale)) for side in canvas)
    surface = Canvas(width, height, PANEL)
    surface.text(10, height - 12, shorten(background, 24, width - 20), 24, SOFT)
    for n in sorted(range(len(boxes)), key=lambda n: -_area(boxes[n][1])):
        name, (x1, y1, x2, y2) = boxes[n]
        x1, y1, x2, y2 = x1 * width, y1 * height, x2 * width, y2 * height
        colour = COLOURS[n % len(COLOURS)]
        surface.line(((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)), colour, 4)
        title = shorten(f"{n + 1} {name}", 26, max(26.0, x2 - x1 - 16))
        surface.text(x1 + 10, y1 + 32, title, 26, colour, halo=PANEL)
    return surface.array()


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
