"""In which order, and in which unit, four numbers give a box."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .layout import Box
from .literal import Percent

SIZE, LEFT_TOP, TOP_LEFT = "x, y, width, height", "left, top, right, bottom", "top, left, bottom, right"
ORDERS = (SIZE, LEFT_TOP, TOP_LEFT)
AUTO = "auto"
CHOICES = (AUTO, *ORDERS)
"""Of the Layout node."""
SIDES = {
    "left": (0, -1),
    "right": (0, 1),
    "top": (1, -1),
    "upper": (1, -1),
    "bottom": (1, 1),
    "lower": (1, 1),
}
"""Word -> axis (0 = x) and direction from the middle."""


@dataclass(frozen=True)
class Numbers:
    """Four numbers of one object as they were written. name: what they belong to."""

    values: tuple[float, float, float, float]
    name: str = ""


def corners(values: Sequence[float], order: str) -> Box:
    """(x1, y1, x2, y2) in the unit of the numbers; corners in the wrong order are exchanged."""
    a, b, c, d = values
    if order == SIZE:
        return a, b, a + c, b + d
    if order == TOP_LEFT:
        a, b, c, d = b, a, d, c
    return min(a, c), min(b, d), max(a, c), max(b, d)


def unit_of(boxes: Sequence[Numbers], canvas: tuple[int, int], thousand: bool) -> tuple[float, float]:
    """What a whole side is in the numbers: (width, height).

    100 where all have a percent sign, 1 where all are within 0 ... 1 and one is no whole number, 1000 for the
    forms that count so (`thousand`), else pixels of the canvas.
    """
    values = [value for box in boxes for value in box.values]
    if values and all(isinstance(value, Percent) for value in values):
        return 100.0, 100.0
    if all(0 <= value <= 1 for value in values) and any(value % 1 for value in values):
        return 1.0, 1.0
    return (1000.0, 1000.0) if thousand else (float(canvas[0]), float(canvas[1]))


def order_of(boxes: Sequence[Numbers], declared: str, unit: tuple[float, float]) -> tuple[str, str]:
    """(the order of the numbers, a remark on how sure that is; "" = it is the form's own and fits).

    declared: the order of the form. Corners that are none (right of a box left of its left) are sizes.
    Between the two orders of corners, words such as "on the left" in the names decide.
    """
    if declared == SIZE:
        return SIZE, _remark_on_size(boxes, unit)
    if any(c <= a or d <= b for a, b, c, d in (box.values for box in boxes)):
        sizes = [corners(box.values, SIZE) for box in boxes]
        if all(x2 <= 1.01 * unit[0] and y2 <= 1.01 * unit[1] for _, _, x2, y2 in sizes):
            return SIZE, f"boxes read as {SIZE}: as {declared} some would be turned inside out"
    votes = {order: sum(_agrees(box, order, unit) for box in boxes) for order in (LEFT_TOP, TOP_LEFT)}
    other = LEFT_TOP if declared == TOP_LEFT else TOP_LEFT
    if votes[other] > votes[declared]:
        return other, f"boxes read as {other}: their descriptions say so"
    return declared, ""


def _remark_on_size(boxes: Sequence[Numbers], unit: tuple[float, float]) -> str:
    """What to try where no box fits the canvas as a size and all do as corners."""
    leaves = [a + c > 1.01 * unit[0] or b + d > 1.01 * unit[1] for a, b, c, d in (x.values for x in boxes)]
    fits = [0 <= a < c <= unit[0] and 0 <= b < d <= unit[1] for a, b, c, d in (x.values for x in boxes)]
    if boxes and any(leaves) and all(fits):
        return f"if the boxes look wrong, they may be {LEFT_TOP}: choose that under coordinates"
    return ""


def _agrees(box: Numbers, order: str, unit: tuple[float, float]) -> int:
    """Sides that a name states ("on the left"): those that the box has in this order, less the others."""
    x1, y1, x2, y2 = corners(box.values, order)
    middle = (x1 + x2) / 2 / unit[0] - 0.5, (y1 + y2) / 2 / unit[1] - 0.5
    found = 0
    for word in re.findall(r"[a-z]+", box.name.lower()):
        if word in SIDES:
            axis, direction = SIDES[word]
            found += int(math.copysign(1, middle[axis] * direction)) if middle[axis] else 0
    return found
