"""The objects of a layout, from literals in any of the shapes that LLMs and ComfyUI's nodes give."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from .literal import number_in
from .order import AUTO, LEFT_TOP, SIZE, TOP_LEFT, Numbers

NAMES = (
    "name", "desc", "description", "label", "object", "phrase", "caption", "class", "category", "subject",
    "text", "title", "prompt",
)  # fmt: skip
BOXES = {
    "box": SIZE, "bounding_box": SIZE, "boundingbox": SIZE, "coordinates": SIZE, "position": SIZE,
    "location": SIZE, "region": SIZE, "rect": SIZE, "xywh": SIZE, "xyxy": LEFT_TOP, "bbox_2d": LEFT_TOP,
    "bbox": TOP_LEFT, "box_2d": TOP_LEFT, "boxes": SIZE, "bboxes": SIZE, "bounding_boxes": SIZE,
}  # fmt: skip
"""Key of a list of four numbers -> its order: "bbox", with "desc", as in ComfyUI's editor and Ideogram 4."""
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
        items = [items] if is_object(items) else [_with_its_key(*item) for item in items.items()]
    found: list[Entry] = []
    for n, item in enumerate(items):
        if isinstance(item, str) and not item.strip(".\u2026 "):
            continue  # "..." for the rest of a list
        start = starts[n] if n < len(starts) else -1
        found += list(_entries_of_item(item, n, start, SIZE if form == AUTO else form))
    return found


def is_box(value: Any) -> bool:
    """Whether a value is four numbers, also as texts or in one text, or a dictionary of sides."""
    if isinstance(value, Mapping):
        return _sides(value) is not None
    return len(_box_numbers(value)) == 4


def _box_numbers(value: Any) -> list[float]:
    """The numbers of a list that holds nothing else, or of a text "50, 200, 150, 150"; else []."""
    parts = re.split(r"[,;\s]+", value.strip(" []()")) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return []
    numbers = [_side(part) for part in parts]
    found = [number for number in numbers if number is not None]
    return found if len(found) == len(numbers) else []


def _side(value: Any) -> float | None:
    """The number of one side, also of a text such as "50px"; None for anything else."""
    if isinstance(value, str):
        return number_in(value)
    return value if is_number(value) else None


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def plain_key(key: str) -> str:
    """A key in lower case, words joined by an underscore: "Background prompt:" -> "background_prompt"."""
    return re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")


def is_object(item: Any) -> bool:
    """Whether a value is a dictionary of one object, with a box or sides."""
    if not isinstance(item, Mapping):
        return False
    return _sides(item) is not None or any(
        plain_key(str(key)) in BOXES and not _holds_objects(value) for key, value in item.items()
    )


def _holds_objects(value: Any) -> bool:
    """Whether "boxes" is a list of objects, not the boxes of one."""
    return isinstance(value, list) and any(isinstance(p, Mapping) and not is_box(p) for p in value)


def _with_its_key(key: Any, value: Any) -> Any:
    """An item "a cat": {"box": ...} of a dictionary as one object, anything else as a pair."""
    if is_object(value) and _sides(value) is None:
        return {"name": str(key), **value}
    return (str(key), value)


def _entries_of_item(item: Any, n: int, start: int, form: str) -> Iterator[Entry]:
    if isinstance(item, Mapping):
        yield from _entries_of_mapping(item, n, start)
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
        if inner is not None and len(inner) != 4 and len(_box_numbers(inner)) == len(inner):
            return f"its box has {len(inner)} numbers and needs 4"
        if inner is not None and len(_box_numbers(inner)) != 4:
            return "its box holds something that is no number"
        if not any(isinstance(part, str) for part in item):
            return "its box has no name"
    return "it is no name with a box of four numbers"


def _entries_of_mapping(item: Mapping, n: int, start: int) -> Iterator[Entry]:
    """The object of a dictionary, several of one name where it has several boxes."""
    keys = {plain_key(str(key)): value for key, value in item.items()}
    about = keys.get("metadata")
    if isinstance(about, Mapping):
        keys = {**keys, **{plain_key(str(key)): value for key, value in about.items()}}
    name = next((keys[k] for k in NAMES if isinstance(keys.get(k), str) and keys[k].strip()), "")
    for key, order in BOXES.items():
        value = keys.get(key)
        if is_box(value):
            counts = key in THOUSAND and not isinstance(value, Mapping)
            if key == "bbox" and "desc" not in keys:
                order, counts = SIZE, False  # an LLM's word for what it was asked for, x, y, width, height
            yield _entry(name, *_numbers_of(value, order), counts, n, start)
            return
        if isinstance(value, list) and value and all(map(is_box, value)):
            for box in value:
                yield _entry(name, *_numbers_of(box, order), False, n, start)
            return
        if isinstance(value, list | tuple):
            raise EntryError(_what_is_wrong([name, list(value)]), n)
    inner = [part for part in keys.values() if isinstance(part, Mapping)]
    flat = {**keys, **{key: value for part in inner for key, value in part.items()}}
    if _sides(flat) is None:
        raise EntryError("it has no box", n)
    yield _entry(name, *_numbers_of(flat, SIZE), False, n, start)


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
    return _box_numbers(box), order


def _sides(item: Mapping) -> tuple[list[float], str] | None:
    """(four numbers, their order) of a dictionary of sides; None if it is none."""
    keys = {plain_key(str(key)): value for key, value in item.items()}
    for names, order in SIDES:
        sides = [_side(keys.get(name)) for name in names]
        found = [side for side in sides if side is not None]
        if len(found) == len(names):
            return found, order
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
