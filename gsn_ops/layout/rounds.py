"""Seeds of boxes, so that what a new round does not change keeps its noise (LMD, Lian et al., TMLR 2024)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .layout import PlacedObject

FIRST = 19
"""The first box has the seed of the background and 19: published are 1 for the background, 20 for it."""
MOST_SEED = 0xFFFFFFFFFFFFFFFF
CLOSE = 1e-6  # as a share of the canvas


def box_seed(background: int, i: int) -> int:
    """The seed of box i (from 0), with the background's seed 1: 20 + i."""
    return (background + FIRST + i) & MOST_SEED


def size_of(placed: PlacedObject) -> tuple[float, float]:
    """(width, height) of a box, as shares of the canvas."""
    x1, y1, x2, y2 = placed.box
    return x2 - x1, y2 - y1


def numbers_of(objects: Sequence[PlacedObject], previous: Sequence[tuple[PlacedObject, int]]) -> list[int]:
    """The number i of each box for its seed.

    previous: the boxes of the last round with their numbers. An object takes that of the box with its name in
    the same place, else of one of the same size, else of any of its name; a new one takes the lowest that is
    free. Without a previous round they are 0, 1, 2, ...
    """
    numbers: dict[int, int] = {}
    left = list(previous)
    for fits in (_same_box, _same_size, lambda one, other: True):
        _match(objects, left, numbers, fits)
    free = (n for n in range(len(objects) + len(previous)) if n not in set(numbers.values()))
    return [numbers[i] if i in numbers else next(free) for i in range(len(objects))]


def _match(
    objects: Sequence[PlacedObject],
    left: list[tuple[PlacedObject, int]],
    numbers: dict[int, int],
    fits: Callable[[PlacedObject, PlacedObject], bool],
) -> None:
    """Give objects without a number that of a box of the last round with their name, if it fits."""
    for i, placed in enumerate(objects):
        if i in numbers:
            continue
        same = next((one for one in left if one[0].name == placed.name and fits(one[0], placed)), None)
        if same is not None:
            numbers[i] = same[1]
            left.remove(same)


def _same_box(one: PlacedObject, other: PlacedObject) -> bool:
    return all(abs(a - b) < CLOSE for a, b in zip(one.box, other.box, strict=True))


def _same_size(one: PlacedObject, other: PlacedObject) -> bool:
    return all(abs(a - b) < CLOSE for a, b in zip(size_of(one), size_of(other), strict=True))
