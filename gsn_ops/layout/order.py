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
LARGEST_FRACTION = 2
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


Unit = tuple[float, float]
"""What the whole width and height are in the numbers of a box."""


def units_of(boxes: Sequence[Numbers], canvas: tuple[int, int], thousand: Sequence[bool]) -> list[Unit]:
    """The unit of each box.

    100 where all numbers have a percent sign, 1 where they are fractions, 1000 for the forms that count so
    (`thousand`), else pixels of the canvas. Fractions: numbers of at most 2 (a box may leave the canvas), not
    all whole in all such boxes.
    """
    small = [all(abs(value) <= LARGEST_FRACTION for value in box.values) for box in boxes]
    fractions = any(value % 1 for box, fits in zip(boxes, small) if fits for value in box.values)
    units: list[Unit] = []
    for box, fits, counts in zip(boxes, small, thousand):
        if all(isinstance(value, Percent) for value in box.values):
            units.append((100.0, 100.0))
        elif fits and fractions:
            units.append((1.0, 1.0))
        else:
            units.append((1000.0, 1000.0) if counts else (float(canvas[0]), float(canvas[1])))
    return units


def order_of(boxes: Sequence[Numbers], declared: str, units: Sequence[Unit]) -> tuple[str, str]:
    """(the order of the numbers, a remark on how sure that is; "" = it is the form's own and fits).

    declared: the order of the form. Corners that are none (right of a box left of its left) are sizes.
    Between the two orders of corners, words such as "on the left" in the names decide.
    """
    if declared == SIZE:
        return SIZE, _remark_on_size(boxes, units)
    if any(c <= a or d <= b for a, b, c, d in (box.values for box in boxes)):
        sizes = [corners(box.values, SIZE) for box in boxes]
        if all(x2 <= 1.01 * w and y2 <= 1.01 * h for (_, _, x2, y2), (w, h) in zip(sizes, units)):
            return SIZE, f"boxes read as {SIZE}: as {declared} some would be turned inside out"
    votes = {
        order: sum(_agrees(box, order, unit) for box, unit in zip(boxes, units))
        for order in (LEFT_TOP, TOP_LEFT)
    }
    other = LEFT_TOP if declared == TOP_LEFT else TOP_LEFT
    if votes[other] > votes[declared]:
        return other, f"boxes read as {other}: their descriptions say so"
    return declared, ""


def _remark_on_size(boxes: Sequence[Numbers], units: Sequence[Unit]) -> str:
    """What to try where no box fits the canvas as a size and all do as corners."""
    values = [(*box.values, *unit) for box, unit in zip(boxes, units)]
    leaves = [a + c > 1.01 * w or b + d > 1.01 * h for a, b, c, d, w, h in values]
    fits = [0 <= a < c <= w and 0 <= b < d <= h for a, b, c, d, w, h in values]
    if boxes and any(leaves) and all(fits):
        return f"if the boxes look wrong, they may be {LEFT_TOP}: choose that under coordinates"
    return ""


def _agrees(box: Numbers, order: str, unit: Unit) -> int:
    """Sides that a name states ("on the left"): those that the box has in this order, less the others."""
    x1, y1, x2, y2 = corners(box.values, order)
    middle = (x1 + x2) / 2 / unit[0] - 0.5, (y1 + y2) / 2 / unit[1] - 0.5
    found = 0
    for word in re.findall(r"[a-z]+", box.name.lower()):
        if word in SIDES:
            axis, direction = SIDES[word]
            found += int(math.copysign(1, middle[axis] * direction)) if middle[axis] else 0
    return found
