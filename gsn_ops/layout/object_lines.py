"""Layouts of one object per line: bullets, rows of a table, YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from .entries import BOXES, NAMES, SIDES, Entry, EntryError, entries_of, is_object, plain_key
from .lines import LayoutError, error_at
from .literal import Literal

MARKER = r"(?:[-*\u2022\u00b7+](?![-*\d])|\(?\d{1,2}[.)](?!\d))"
HEAD = (
    rf"[ \t>|]*{MARKER}?(?:[ \t]*\d+[ \t]*\|)?[ \t|]*[\"'*(\[`]*"
    r"(?P<name>(?=[^\n:=|\[{]*[^\W\d_])[^\W_]"
    r"(?:[^\n:\[\](){}=|]|\([^\n()\[\]:=,]{2,60}\)(?=[^\n]*[\[({|:])){0,150}?)[\"'*`]*"
)
BULLET = re.compile(
    rf"{HEAD}[ \t]*(?:[:,=|\u2013\u2014-]|->|\u2192|\bat\b)?[ \t*`]*"
    r"(?P<box>[\[({](?P<numbers>[^\[\](){}\n]*\d[^\[\](){}\n]*)(?:[\])}]|$))"
)
"""A line "- a red car: [21, 281, 211, 159]"."""
ROW = re.compile(rf"{HEAD}[ \t]*[:|=(,\u2013\u2014-](?P<row>[^\n]*)")
"""A line "| a red car | 21 | 281 | 211 | 159 |", or "a red car: x=21, y=281, width=211, height=159"."""
SIDE = re.compile(
    r"(?:\b(?P<key>[a-z]+(?:_[a-z]+)?\d?)[ \t]*[:=][ \t]*)?"
    r"(?P<value>[-+]?\d+(?:\.\d+)?[ \t]*(?:%|px\b)?)",
    re.IGNORECASE,
)
FIELD = re.compile(
    r"(?P<dash>[ \t]*(?:[-*+\u2022][ \t]+)?)[\"'*_`]*(?P<key>[A-Za-z][\w ]{0,30}?)[\"'*_`]*[ \t]*:"
    r"[ \t*]*(?P<value>[^\n]*)"
)
"""A line "- name: a cat" or "  box: [50, 200, 150, 150]", as in YAML."""
HEADING = re.compile(
    rf"[ \t#]*(?P<mark>{MARKER}?)[ \t#]*[*_`\"']*(?P<name>[^\W_][^\n:=\[{{]{{0,80}}?)[*_`\"']*:?[*_]*"
)
"""A line "1. **A cat**" whose box follows on lines of its own."""
SIDE_NAMES = frozenset(name for names, _ in SIDES for name in names)
FIELDS = SIDE_NAMES | frozenset(NAMES) | frozenset(BOXES)
ITEM = re.compile(rf"[ \t]*{MARKER}[ \t]*\S")
SENTENCE = re.compile(r"^(?:I|We|You|Let|If|It|This|Here)\b|[.?!]\s")
"""Of what is no name: "I could move the cat to [100, 200, 150, 150]"."""
ANOTHER_BOX = re.compile(r"[ \t]*(?:,|;|and|&)?[ \t]*(?=[\[(][ \t]*[-+.\d])")
LONGEST = 400
"""Characters of a line for one object: several boxes, but no paragraph."""
NO_OBJECT = "it is no name with a box of four numbers"


def object_lines(text: str, start: int, order: str, strict: bool = False) -> list[Entry]:
    """The objects of the lines from a position on, [] if there are none.

    strict: of the first paragraphs only, in which every line with a bullet must be one; else lines without a
    box are passed over. Raises LayoutError for a line whose box is broken.
    """
    lines = list(_paragraphs(text, start, order) if strict else _lines(text, start))
    items = list(_fields(lines))
    if any(is_object(item) and _has_name(item) for item, _ in items):
        return _entries(text, [item for item, _ in items], [at for _, at in items], order)
    found: list[Entry] = []
    header: list[str] = []
    marked = False
    for at, line in lines:
        header = _header(line) or (header if "|" in line else [])
        entries = _table_row(text, at, line, header, order) or _entries_of_line(text, at, line, order)
        if strict and not entries and ITEM.match(line):
            raise error_at(text, at, NO_OBJECT)
        if found and marked and not ITEM.match(line):
            continue  # what is said behind a list
        marked = marked or bool(entries and ITEM.match(line))
        found += entries
    return found


def _lines(text: str, start: int) -> Iterator[tuple[int, str]]:
    """(position, line) of every line from a position on."""
    for line in text[start:].split("\n"):
        yield start, line
        start += len(line) + 1


def _paragraphs(text: str, start: int, order: str) -> Iterator[tuple[int, str]]:
    """The lines up to an empty one behind which no object stands."""
    begun, empty = False, False
    for at, line in _lines(text, start):
        if begun and empty and line.strip() and not _goes_on(text, at, line, order):
            return
        begun, empty = begun or bool(line.strip()), not line.strip()
        yield at, line


def _goes_on(text: str, at: int, line: str, order: str) -> bool:
    line = line.rstrip() if len(line) <= LONGEST else ""
    field, heading = FIELD.fullmatch(line), HEADING.fullmatch(line)
    if (field and plain_key(field["key"]) in FIELDS) or (heading and heading["mark"]):
        return True
    return bool(_entries_of_line(text, at, line, order))


def _entries_of_line(text: str, at: int, line: str, order: str) -> list[Entry]:
    if len(line) > LONGEST or not re.search(r"\d", line):
        return []
    return _bulleted(text, at, line, order) or _row(text, at, line, order)


def _cells(line: str) -> list[str]:
    return [cell.strip(" \t*`_") for cell in line.strip().strip("|").split("|")]


def _header(line: str) -> list[str]:
    """The columns of a table that has one for each side, as plain keys; [] for any other line."""
    keys = [re.sub(r"_(?:px|pixels)$", "", plain_key(cell)) for cell in _cells(line)] if "|" in line else []
    return keys if len([key for key in keys if key in SIDE_NAMES]) == 4 < len(keys) else []


def _table_row(text: str, at: int, line: str, header: Sequence[str], order: str) -> list[Entry]:
    """The object of a row below such a header. Raises LayoutError for a row that has no four sides."""
    cells = _cells(line)
    if len(cells) != len(header) or _header(line) or not re.search(r"\d", line):
        return []
    item = {key: cell for key, cell in zip(header, cells) if key in SIDE_NAMES}
    other = [cell for key, cell in zip(header, cells) if key not in SIDE_NAMES]
    name = next((cell for cell in other if re.search(r"[^\W\d_]", cell)), "")
    return _entries(text, [{**item, "name": name}], [at], order)


def _bulleted(text: str, at: int, line: str, order: str) -> list[Entry]:
    """The object of a line with a box in brackets, or several of its name where more boxes follow."""
    found = BULLET.match(line)
    if not found or SENTENCE.search(found["name"]):
        return []
    start, numbers = at + found.start("box"), SIDE.findall(found["numbers"])
    if any(key for key, _ in numbers) and found["box"][0] != "{":
        return []  # "(x=50, y=200, ...)"
    if len(numbers) < 3 or SIDE.sub("", found["numbers"]).strip(" \t,;"):
        return []  # "(about 30 % wide)", "(512, 512)"
    literal = Literal(text, start)
    boxes = [literal.value]
    while (more := ANOTHER_BOX.match(text, literal.stop, at + len(line))) is not None:
        literal = Literal(text, more.end())
        boxes.append(literal.value)
    return _entries(text, [[found["name"], box] for box in boxes], [at] * len(boxes), order)


def _row(text: str, at: int, line: str, order: str) -> list[Entry]:
    """The object of a line with four numbers and nothing else behind its name."""
    found = ROW.match(line)
    sides = list(SIDE.finditer(found["row"])) if found else []
    if (
        not found
        or SENTENCE.search(found["name"])
        or len(sides) != 4
        or SIDE.sub("", found["row"]).strip(" \t,;|()[]{}*`.")
    ):
        return []
    keys, values = [side["key"] for side in sides], [side["value"] for side in sides]
    if any(keys) and not all(keys):
        return []
    box: Any = dict(zip(keys, values)) if all(keys) else values
    return _entries(text, [[found["name"], box]], [at], order)


def _fields(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[dict[str, Any], int]]:
    """(fields, position) of every object whose fields stand on lines of their own; those without a box only
    where a list says that they are one.
    """
    item: dict[str, Any] = {}
    begun, listed = -1, False
    for at, line in [*lines, (-1, "- name: end")]:
        line = line.rstrip() if len(line) <= LONGEST else ""
        field, heading = FIELD.fullmatch(line), HEADING.fullmatch(line)
        key = plain_key(field["key"]) if field else ""
        named = key in NAMES and bool(field and field["dash"].strip())
        if named or key in item or (heading and not field):
            if item and (listed or is_object(item)):
                yield item, begun
            item, listed = {}, named
            begun = at
        if field and key in FIELDS:
            begun = begun if item else at
            item[key] = _value(field["value"].strip(" \t*"))
        elif heading and not field:
            item["name"] = heading["name"]


def _value(typed: str) -> Any:
    """The literal of a field, or its text."""
    try:
        return Literal(typed, 0).value if typed[:1] in tuple("[{(\"'") else typed
    except LayoutError:
        return typed


def _has_name(item: dict[str, Any]) -> bool:
    return any(isinstance(item.get(name), str) and item[name] for name in NAMES)


def _entries(text: str, items: list[Any], starts: list[int], order: str) -> list[Entry]:
    """Raises LayoutError with the line of an item that is no object with a box."""
    try:
        return entries_of(items, starts, order)
    except EntryError as error:
        raise error_at(text, starts[error.n], str(error)) from None
