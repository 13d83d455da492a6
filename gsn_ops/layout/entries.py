"""The objects of a layout, from literals in any of the shapes that LLMs and ComfyUI's nodes give."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .order import AUTO, LEFT_TOP, SIZE, TOP_LEFT, Numbers

NAMES = (
    "name", "desc", "description", "label", "object", "phrase", "caption", "class", "category", "subject",
    "text", "title", "prompt",
)  # fmt: skip
BOXES = {
    "box": SIZE, "bounding_box": SIZE, "boundingbox": SIZE, "coordinates": SIZE, "position": SIZE,
    "location": SIZE, "region": SIZE, "rect": SIZE, "xywh": SIZE, "xyxy": LEFT_TOP, "bbox_2d": LEFT_TOP,
    "bbox": TOP_LEFT, "box_2d": TOP_LEFT,
}  # fmt: skip
"""Key of a list of four numbers -> its order: "bbox" as ComfyUI's box editor and Ideogram 4 write it."""
THOUSAND = ("bbox", "box_2d")
"""Keys whose numbers count to 1000."""
SIDES = (
    (("x", "y", "width", "height"), SIZE),
    (("x", "y", "w", "h"), SIZE),
    (("left", "top", "width", "height"), SIZE),
    (("left", "top", "right", "bottom"), LEFT_TOP),
    (("x1", "y1", "x2", "y2"), LEFT_TOP),
    (("xmin", "ymin", "xmax", "ymax"), LEFT_TOP),
    (("x_min", "y_min", "x_max", "y_max"), LEFT_TOP),
    (("x0", "y0", "x1", "y1"), LEFT_TOP),
)
LARGEST = 1e6


@dataclass(frozen=True)
class Entry:
    """One object as it was written. order: that of its form. thousand: its numbers count to 1000."""

    name: str
    numbers: Numbers
    order: str = SIZE
    thousand: bool = False
    start: int = -1


class EntryError(ValueError):
    """What is wrong with an entry, to be told with its line. n: index of the entry."""

    def __init__(self, cause: str, n: int):
        super().__init__(cause)
        self.n = n


def entries_of(items: Any, starts: Sequence[int] = (), form: str = AUTO) -> list[Entry]:
    """The entries of a list of objects, or of a dictionary name -> box or boxes.

    starts: where the items stand in a text. form: order of four numbers in brackets ("auto" = sizes).
    Raises EntryError for an item that is no object with a box.
    """
    if isinstance(items, Mapping):
        items = [items] if _is_object(items) else list(items.items())
    found: list[Entry] = []
    for n, item in enumerate(items):
        start = starts[n] if n < len(starts) else -1
        found += list(_entries_of_item(item, n, start, SIZE if form == AUTO else form))
    return found


def is_box(value: Any) -> bool:
    """Whether a value is four numbers, or a dictionary of sides."""
    if isinstance(value, Mapping):
        return _sides(value) is not None
    return isinstance(value, list | tuple) and len(value) == 4 and all(map(is_number, value))


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain_key(key: str) -> str:
    """A key in lower case, words joined by an underscore: "Background prompt:" -> "background_prompt"."""
    return re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")


def _is_object(item: Mapping) -> bool:
    return _sides(item) is not None or any(plain_key(str(key)) in BOXES for key in item)


def _entries_of_item(item: Any, n: int, start: int, form: str) -> Iterator[Entry]:
    if isinstance(item, Mapping):
        yield _entry_of_mapping(item, n, start)
        return
    if isinstance(item, list | tuple) and item:
        names = [part for part in item if isinstance(part, str)]
        rest = [part for part in item if not isinstance(part, str)]
        numbers = [part for part in rest if is_number(part)]
        if len(names) == 1 and len(numbers) == len(rest) == 4:
            rest = [numbers]  # ("a cat", 10, 20, 30, 40)
        boxes = rest[0] if len(rest) == 1 and isinstance(rest[0], list) and rest[0] else rest
        boxes = [boxes] if is_box(boxes) else boxes
        if len(names) == 1 and boxes and all(map(is_box, boxes)):
            for box in boxes:
                yield _entry(names[0], *_numbers_of(box, form), False, n, start)
            return
    raise EntryError(_what_is_wrong(item), n)


def _what_is_wrong(item: Any) -> str:
    """Why an item is no object with a box."""
    if isinstance(item, list | tuple):
        inner = next((part for part in item if isinstance(part, list)), None)
        if inner is not None and len(inner) != 4:
            return f"its box has {len(inner)} numbers and needs 4"
        if inner is not None and not all(map(is_number, inner)):
            return "its box holds something that is no number"
        if not any(isinstance(part, str) for part in item):
            return "its box has no name"
    return "it is no name with a box of four numbers"


def _entry_of_mapping(item: Mapping, n: int, start: int) -> Entry:
    keys = {plain_key(str(key)): value for key, value in item.items()}
    about = keys.get("metadata")
    if isinstance(about, Mapping):
        keys = {**keys, **{plain_key(str(key)): value for key, value in about.items()}}
    name = next((keys[k] for k in NAMES if isinstance(keys.get(k), str) and keys[k].strip()), "")
    for key, order in BOXES.items():
        value = keys.get(key)
        if isinstance(value, Mapping) and is_box(value):
            return _entry(name, *_numbers_of(value, order), False, n, start)
        if isinstance(value, list | tuple):
            if not is_box(value):
                raise EntryError(_what_is_wrong([name, list(value)]), n)
            return _entry(name, list(value), order, key in THOUSAND, n, start)
    if _sides(keys) is not None:
        return _entry(name, *_numbers_of(keys, SIZE), False, n, start)
    raise EntryError("it has no box", n)


def _entry(name: str, numbers: Sequence[float], order: str, thousand: bool, n: int, start: int) -> Entry:
    """Raises EntryError for numbers that are too large, or not finite."""
    if any(not math.isfinite(value) or abs(value) > LARGEST for value in numbers):
        raise EntryError("a number of its box is too large", n)
    a, b, c, d = numbers
    name = " ".join(name.split()).strip(" .,:;\"'")
    return Entry(name, Numbers((a, b, c, d), name), order, thousand, start)


def _numbers_of(box: Any, order: str) -> tuple[list[float], str]:
    """(four numbers, their order) of a box; the keys of a dictionary decide the order."""
    if isinstance(box, Mapping):
        found = _sides(box)
        assert found is not None, "a box was recognised before"
        return found
    return list(box), order


def _sides(item: Mapping) -> tuple[list[float], str] | None:
    """(four numbers, their order) of a dictionary of sides; None if it is none."""
    keys = {plain_key(str(key)): value for key, value in item.items()}
    for names, order in SIDES:
        if all(is_number(keys.get(name)) for name in names):
            return [keys[name] for name in names], order
    return None


def find_key(value: Mapping, wanted: Callable[[str], bool], depth: int = 3) -> Any:
    """The first value whose plain key is wanted, in this dictionary or one inside it, else None."""
    for key, inner in value.items():
        if wanted(plain_key(str(key))):
            return inner
    for inner in value.values():
        if isinstance(inner, Mapping) and depth:
            found = find_key(inner, wanted, depth - 1)
            if found is not None:
                return found
    return None
