"""Boxes and a line of text over an image: what a judge found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .canvas import WHITE, Canvas, shorten, width_of, wrap

RIGHT, WRONG, OTHER = "#1d8a4e", "#c8352b", "#7c838b"


@dataclass(frozen=True)
class Mark:
    """A box (left, top, right, bottom) in pixels, its label, and whether it is a subject that is right, one
    that is not, or (None) something else.
    """

    box: tuple[float, float, float, float]
    label: str
    right: bool | None


def marked(image: np.ndarray, marks: Sequence[Mark], text: str, right: bool) -> np.ndarray:
    """The image [H, W, 3] in 0 ... 1 with its marks and a line of text at the bottom: float32, same size."""
    height, width = image.shape[:2]
    canvas = Canvas(width, height)
    canvas.paste(image, 0, 0, width, height)
    size = max(9, min(24, round(min(height, width) / 28)))
    for mark in sorted(marks, key=lambda one: one.right is not None):
        _draw(canvas, mark, size)
    lines = wrap(text, size, width - size)[:3]
    tall = round(1.4 * size * len(lines) + 0.6 * size)
    canvas.box(0, height - tall, width, tall, RIGHT if right else WRONG)
    for n, line in enumerate(lines):
        canvas.text(size / 2, height - tall + 1.4 * size * (n + 1), line, size, WHITE)
    return canvas.array()


def _draw(canvas: Canvas, mark: Mark, size: int) -> None:
    left, top, right, bottom = mark.box
    colour = {True: RIGHT, False: WRONG, None: OTHER}[mark.right]
    edge = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    canvas.line(edge, colour, max(2, size / 6) if mark.right is not None else 1)
    label = shorten(mark.label, size, canvas.width / 2)
    wide, tall = width_of(label, size) + size / 2, 1.3 * size
    x, y = min(max(left, 0.0), canvas.width - wide), max(top - tall, 0.0)
    canvas.box(x, y, wide, tall, colour)
    canvas.text(x + size / 4, y + size, label, size, WHITE)
