"""Boxes as data: ComfyUI's BOUNDING_BOX, the elements of its box editor and of Ideogram 4's captions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .entries import Entry, EntryError, entries_of, find_key, is_object
from .geometry import fitted
from .layout import Layout, PlacedObject
from .lines import LayoutError
from .order import AUTO, LEFT_TOP, Numbers, corners, order_of, units_of

OBJECT_KEYS = ("objects", "object", "elements", "boxes", "layout", "items", "bboxes", "bounding_boxes")
NUMBERED = re.compile(r"(.*[^\W\d_])\s*(?:#|no\. ?|\(#?|_|\s)\s*\d{1,2}\)?")
NOT_BOXES = (
    "These are no boxes: {what}. Connect the elements or bboxes of Create Bounding Boxes, or boxes of a "
    "detector."
)


def is_description(value: Any) -> bool:
    """Whether a literal looks like a list of objects with boxes, or like a dictionary that has one."""
    if isinstance(value, Mapping):
        return objects_in(value) is not None or _reads(value)
    return isinstance(value, list) and _reads(value)


def objects_in(value: Mapping) -> Any:
    """What a dictionary has under a key such as "objects", or else its lists of objects, joined; None if it
    has neither, or is one object itself.
    """
    if is_object(value):
        return None
    found = find_key(value, OBJECT_KEYS.__contains__)
    while isinstance(found, Mapping) and not _reads(found):  # {"layout": {"canvas": ..., "objects": [...]}}
        inner = find_key(found, OBJECT_KEYS.__contains__)
        if inner is None:
            break
        found = inner
    lists = [part for part in value.values() if isinstance(part, list) and part]
    joined = [item for part in lists if all(isinstance(i, Mapping) for i in part) for item in part]
    return found if found is not None else joined or None


def _reads(value: Any) -> bool:
    try:
        return bool(value) and bool(entries_of([value] if _is_pair(value) else value))
    except EntryError:
        # A list of entries one of which is broken is one all the same.
        return isinstance(value, list) and len(value) > 1 and any(_reads([part]) for part in value)


def _is_pair(value: Any) -> bool:
    """Whether a list is one entry, ("a cat", [..]), not a list of them."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], str)


def placed(
    items: Sequence[Entry], canvas: tuple[int, int], order: str = AUTO
) -> tuple[list[PlacedObject], tuple[str, ...]]:
    """The entries as objects with boxes in fractions of the canvas, and remarks on how they were read.

    order: that of four numbers in brackets, "auto" = that of the form, checked against the numbers and the
    descriptions.
    """
    if not items:
        return [], ()
    numbers = [item.numbers for item in items]
    declared = {item.order for item in items}
    units = units_of(numbers, canvas, [item.thousand for item in items])
    notes: list[str] = []
    orders = [item.order for item in items]
    if order != AUTO:
        orders = [order] * len(items)
    elif len(declared) == 1:
        sure, note = order_of(numbers, items[0].order, units)
        orders = [sure] * len(items)
        notes += [note] if note else _stated(items, sure)
    objects = []
    names = without_numbers([item.name for item in items])
    for item, name, one, (width, height) in zip(items, names, orders, units):
        x1, y1, x2, y2 = corners(item.numbers.values, one)
        box = (x1 / width, y1 / height, x2 / width, y2 / height)
        objects.append(PlacedObject(name, box, item.start))
    return objects, tuple(notes)


def without_numbers(names: Sequence[str]) -> list[str]:
    """The names; "a cat 1" and "a cat 2" are two of one name."""
    found = [NUMBERED.fullmatch(name) for name in names]
    bare = [match[1] if match else name for match, name in zip(found, names)]
    return [stem if bare.count(stem) > 1 else name for stem, name in zip(bare, names)]


def _stated(items: Sequence[Entry], order: str) -> list[str]:
    """Of a form whose order is a convention: which one was taken."""
    return [f"boxes read as {order}, 0 to 1000"] if all(item.thousand for item in items) else []


def drawn_layout(
    data: Any,
    canvas: tuple[int, int] = (512, 512),
    order: str = AUTO,
    names: Sequence[str] = (),
    background: str = "",
) -> Layout:
    """A layout from boxes that another node gives.

    data: one box, a list of boxes, a list of frames of boxes (the first one counts), elements, or an Ideogram
    caption. names: of boxes without a description, in their order. Raises LayoutError for anything else.
    """
    caption = data if isinstance(data, Mapping) else {}
    if caption:
        inner = objects_in(caption)
        data = [caption] if inner is None else inner
    if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
        first = data[0]
        data = first if not first or isinstance(first[0], Mapping) else data
    if not isinstance(data, list | tuple):
        raise LayoutError(NOT_BOXES.format(what=f"a {type(data).__name__}"))
    data = [_nameless(item) for item in data]
    try:
        items = entries_of(data, form=LEFT_TOP if order == AUTO else order)
    except EntryError as error:
        raise LayoutError(NOT_BOXES.format(what=f"box {error.n + 1}, {error}")) from None
    items, left = _with_names(items, names)
    objects, notes = placed(items, canvas, order)
    objects, more = fitted(objects)
    more = (*more, *([f"names has more than the boxes need: {', '.join(left)}"] if left else []))
    background = background or _text(caption, "background")
    described = _text(caption, "high_level_description")
    return Layout(tuple(objects), background, "", canvas, described, (*notes, *more))


def _nameless(item: Any) -> Any:
    """Four bare numbers, as detectors give them, as an object without a name."""
    if isinstance(item, list | tuple) and len(item) == 4 and not any(isinstance(v, str) for v in item):
        return ["", list(item)]
    return item


def _with_names(items: Sequence[Entry], names: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """(the entries, those without a description named in turn; names that no box has).

    Raises LayoutError if names are missing.
    """
    left = list(names)
    out: list[Entry] = []
    for n, item in enumerate(items):
        if not item.name:
            if not left:
                raise LayoutError(
                    f"Box {n + 1} has no description, so it belongs to no word of the prompt: describe it in "
                    "the box editor and connect its elements output, or type the names under names, in the "
                    "order of the boxes."
                )
            name = left.pop(0)
            item = replace(item, name=name, numbers=Numbers(item.numbers.values, name))
        out.append(item)
    return out, [name for name in left if name not in {item.name for item in out}]


def _text(caption: Mapping, key: str) -> str:
    found = find_key(caption, lambda plain: plain == key)
    return " ".join(found.split()) if isinstance(found, str) else ""
