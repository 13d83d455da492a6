"""Boxes on the canvas: what is dropped, and how boxes that leave it are fitted, as in LMD (Lian et al., TMLR
2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from .layout import Box, PlacedObject
from .lines import LayoutError

MAX_SCALE = 3.0
ROUNDING = 0.01  # of the canvas: a box that leaves it by less is cut off
FAR = 4.0  # canvases: a coordinate that no fitting brings back without shrinking the others to nothing
MAX_REMARKS = 3
OVERLAP = 0.5  # of the smaller box, from which on it is remarked
NOTHING_LEFT = (
    "The layout has no box that can be used: {dropped}. Give each object a box inside the canvas, smaller "
    "than it."
)


def fitted(objects: Sequence[PlacedObject]) -> tuple[tuple[PlacedObject, ...], tuple[str, ...]]:
    """The objects with boxes inside the canvas, and remarks.

    Boxes without area, boxes that cover the canvas, and exact repetitions of an entry are dropped; then
    `refit`, if a box leaves the canvas. Raises LayoutError if nothing is left.
    """
    kept: list[PlacedObject] = []
    notes: list[str] = []
    for placed in objects:
        reason = _reason_to_drop(placed, kept)
        if reason:
            notes.append(f"'{placed.name}' left out: {reason}")
        else:
            kept.append(placed)
    near = [placed for placed in kept if max(map(abs, placed.box)) <= FAR]
    if any(not _leaves(placed.box, ROUNDING) for placed in near):
        notes += [f"'{p.name}' left out: its box is far outside the canvas" for p in kept if p not in near]
        kept = near
    if not kept:
        raise LayoutError(NOTHING_LEFT.format(dropped="; ".join(notes) or "it names no object"))
    if any(_leaves(placed.box, ROUNDING) for placed in kept):
        boxes = refit([placed.box for placed in kept])
        kept = [replace(placed, box=box) for placed, box in zip(kept, boxes)]
        notes.append("a box left the canvas: all boxes were moved and scaled to fit")
    kept = [replace(placed, box=_clipped(placed.box)) for placed in kept]
    return tuple(kept), (*dict.fromkeys(notes), *_overlaps(kept))


def _overlaps(kept: Sequence[PlacedObject]) -> list[str]:
    """A remark for each pair of boxes that overlap, the first ones by name."""
    pairs = [(a.name, b.name) for a, b in combinations(kept, 2) if _overlap(a.box, b.box) > OVERLAP]
    notes = [f"'{a}' and '{b}' overlap: move one away if they merge in the image" for a, b in pairs]
    if len(pairs) <= MAX_REMARKS:
        return notes
    return [*notes[:MAX_REMARKS], f"and {len(pairs) - MAX_REMARKS} more pairs of boxes overlap"]


def refit(boxes: Sequence[Box]) -> list[Box]:
    """LMD's rule for boxes that leave the canvas, in fractions of it: one shift and one scale for all.

    The union goes to the left and upper edge, is scaled by min(1 / dx, 1 / dy, 3), and then moved down to
    where its lower edge was, or to the canvas's (ours: objects stand on the ground).
    """
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    scale = min(1 / (right - left), 1 / (bottom - top), MAX_SCALE)
    height = scale * (bottom - top)
    down = max(0.0, min(bottom, 1.0) - height)
    return [
        (
            scale * (x1 - left),
            scale * (y1 - top) + down,
            scale * (x2 - left),
            scale * (y2 - top) + down,
        )
        for x1, y1, x2, y2 in boxes
    ]


def _reason_to_drop(placed: PlacedObject, kept: Sequence[PlacedObject]) -> str:
    x1, y1, x2, y2 = placed.box
    if x2 <= x1 or y2 <= y1:
        return "its box has no area"
    if x2 - x1 >= 1 and y2 - y1 >= 1:
        return "its box is the whole canvas, which is the background"
    if any(placed.name == other.name and placed.box == other.box for other in kept):
        return "the same entry stands there twice"
    return ""


def _leaves(box: Box, tolerance: float) -> bool:
    x1, y1, x2, y2 = _clipped(box)
    return min(box[:2]) < -tolerance or max(box[2:]) > 1 + tolerance or x2 <= x1 or y2 <= y1


def _clipped(box: Box) -> Box:
    x1, y1, x2, y2 = (min(1.0, max(0.0, value)) for value in box)
    return x1, y1, x2, y2


def _overlap(a: Box, b: Box) -> float:
    """The shared area, as a share of the smaller box."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (a, b))
    return max(0.0, width) * max(0.0, height) / smaller
