"""The JSON in a vision model's answer, in the shapes that models write, as {name: what is said}."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .answer_words import NO, SAYS, YES, count_of

NAMES = ("subject", "object", "name", "thing", "label")
BOXES = ("bbox", "bbox_2d", "box", "box_2d", "point", "point_2d")
"""Keys of an entry that says where one object is."""


def from_json(text: str) -> dict[str, Any]:
    """{name: what is said} of the JSON objects and lists in a text; {} if there is none."""
    said: dict[str, Any] = {}
    for value in _values(text):
        said |= _of_object(value) if isinstance(value, Mapping) else _of_list(value)
    return said


def _values(text: str) -> Iterator[Any]:
    """The JSON objects and lists in a text, whatever stands around them."""
    decoder, at = json.JSONDecoder(), 0
    while found := re.compile(r"[\[{]").search(text, at):
        try:
            value, at = decoder.raw_decode(text, found.start())
        except ValueError:
            at = found.end()
            continue
        except RecursionError:
            return
        yield value


def _of_object(data: Mapping) -> dict[str, Any]:
    """{"cat": true}, {"objects": {...}}, {"objects": [...]}, {"present": ["cat"], "missing": ["dog"]}."""
    key, inner = next(iter(data.items()), ("", None))
    if len(data) == 1 and _yes_or_no(key) is None:
        if isinstance(inner, Mapping) and not set(inner) & set(SAYS):
            return {str(name): value for name, value in inner.items()}
        if isinstance(inner, list) and any(isinstance(one, str) or _name_of(one) for one in inner):
            return _of_list(inner)
    said: dict[str, Any] = {}
    for name, value in data.items():
        there = _yes_or_no(name)
        if isinstance(value, list) and there is not None:
            names = [one if isinstance(one, str) else _name_of(one) for one in value]
            said |= {one: there for one in names if one}
        else:
            said[str(name)] = value
    return said


def _of_list(data: list) -> dict[str, Any]:
    """["cat", "dog"]: what is there; [{"subject": "cat", "present": true}]; [{"label": "cat", "bbox": ...}].

    Entries of one name add up.
    """
    said: dict[str, Any] = {}
    for one in data:
        name = one if isinstance(one, str) else _name_of(one)
        if not name:
            continue
        value: Any = True
        if isinstance(one, Mapping):
            value = {key: what for key, what in one.items() if what != name}
            value = 1 if set(value) & set(BOXES) and not set(value) & set(SAYS) else value
        before, more = count_of(said.get(name)), count_of(value)
        known = name in said and before is not None and more is not None
        said[name] = (before or 0) + (more or 0) if known else value
    return said


def _name_of(one: Any) -> str:
    """The name in an entry of a list; "" for none."""
    found = next((one[key] for key in NAMES if key in one), "") if isinstance(one, Mapping) else ""
    return found if isinstance(found, str) else ""


def _yes_or_no(key: str) -> bool | None:
    """What a key says of the names under it: "missing_objects", "not found", "present"; None for others."""
    words = set(re.findall(r"[^\W_]+", key.lower()))
    if words & NO:
        return False
    return True if words & YES else None
