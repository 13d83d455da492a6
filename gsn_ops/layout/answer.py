"""The layout in an LLM's answer: LMD's text form (Lian et al., TMLR 2024), JSON, or one line per object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .drawn import is_description, objects_in, placed
from .entries import Entry, EntryError, entries_of, find_key, is_object
from .geometry import fitted
from .labels import ENDS_OBJECTS, Labelled, blanked, is_nothing, read_labels, without_none
from .layout import Layout
from .lines import LayoutError, error_at, shown
from .literal import Literal
from .object_lines import object_lines
from .order import AUTO

LONGEST = 20_000
CURE = (
    'Ask for it again, or write a line such as Objects: [("a cat", [50, 200, 150, 150])] with x, y, width '
    "and height in pixels."
)
OPENING = re.compile(r"[\[{(]")
MAX_TRIES = 40
"""Brackets of an answer without labels at which a layout is looked for in vain."""
ONLY_THOUGHT = (
    "The LLM thought aloud and ended before its answer: raise its max_length, or turn its thinking off."
)


@dataclass(frozen=True)
class Read:
    """What an answer says. items: its entries. The texts are "" where it says nothing."""

    items: list[Entry]
    background: str = ""
    negative: str = ""
    description: str = ""


def read_layout(text: str, canvas: tuple[int, int] = (512, 512), order: str = AUTO) -> Layout:
    """The layout in an LLM's answer, or in a text typed in one of its forms.

    canvas: width and height in pixels of the answer's coordinates. order: of four numbers in brackets, "auto"
    = that of the form. Raises LayoutError, cause and cure, naming the line where there is one.
    """
    if not text.strip():
        raise LayoutError(f"The layout is empty: the LLM answered nothing. {CURE}")
    text = blanked(text)
    if not text.strip():
        raise LayoutError(ONLY_THOUGHT)
    if len(text.strip()) > LONGEST:
        raise LayoutError(f"The layout has {len(text)} characters, at most {LONGEST} are read. {CURE}")
    try:
        found = _read(read_labels(text), order)
    except LayoutError as error:
        raise LayoutError(f"{str(error).rstrip('.')}. {CURE}") from None
    nameless = next((item for item in found.items if not item.name), None)
    if nameless is not None:
        raise LayoutError(f"{_error(text, nameless.start, 'its box has no name')}. {CURE}")
    objects, notes = placed(found.items, canvas, order)
    objects, more = fitted(objects)
    return Layout(objects, found.background, found.negative, canvas, found.description, (*notes, *more))


def _read(labelled: Labelled, order: str) -> Read:
    """The first of these that the answer has: a labelled list, a bare list or dictionary, lines."""
    errors: list[LayoutError] = []
    for start in labelled.objects:
        try:
            return _with_labels(_objects_at(labelled.text, start, order), labelled)
        except LayoutError as error:
            errors.append(error)
    if any(OPENING.match(labelled.text[start:].lstrip()) for start in labelled.objects):
        raise errors[0]
    for found in _bare(labelled.text, order, errors):
        return _with_labels(found, labelled)
    if not errors and (lines := object_lines(labelled.text, 0, order)):
        return _with_labels(Read(lines), labelled)
    if errors:
        raise errors[0]
    raise LayoutError(f"There is no layout in this text: {shown(labelled.text)}")


def _with_labels(found: Read, labelled: Labelled) -> Read:
    """With the labelled lines of the answer, where the list itself does not say."""
    background, negative = found.background or labelled.background, found.negative or labelled.negative
    return Read(found.items, background, negative, found.description)


def _objects_at(text: str, start: int, order: str) -> Read:
    """The objects behind the label "Objects:": a list, a dictionary, or lines. Raises LayoutError."""
    rest = text[start:].lstrip()
    line, _, below = rest.partition("\n")
    if is_nothing(line) and below.lstrip()[:1] not in ("-", "*", "[", "("):
        raise _error(text, start, "it names no object")
    if rest[:1] not in ("[", "{", "("):
        stop = ENDS_OBJECTS.search(text, start + len(text[start:]) - len(rest))
        items = object_lines(text[: stop.start()] if stop else text, start, order, strict=True)
        if not items:
            raise _error(text, start, "a list of objects should begin here")
        return Read(items)
    literal = Literal(text, start)
    items = _entries(text, literal, literal.value, order)
    if rest[:1] in "[(" and _is_one_of_several(text, literal.stop):
        items += _more_entries(text, literal, order)  # "('a cat', [..]), ('a dog', [..])" without brackets
    if not items:
        raise _error(text, start, "it names no object")
    return Read(items)


def _is_one_of_several(text: str, stop: int) -> bool:
    return bool(re.match(r"\s*,\s*[\[(]", text[stop:]))


def _more_entries(text: str, first: Literal, order: str) -> list[Entry]:
    found: list[Entry] = []
    literal = first
    while _is_one_of_several(text, literal.stop):
        literal = Literal(text, text.index(",", literal.stop) + 1)
        found += _entries(text, literal, literal.value, order)
    return found


def _entries(text: str, literal: Literal, value: Any, order: str) -> list[Entry]:
    """Raises LayoutError with the line of an entry that is none."""
    starts: Sequence[int] = literal.entries
    if _is_pair(value):
        value, starts = [value], literal.entries[:1]  # one entry without brackets around it
    if isinstance(value, Mapping):
        inner = objects_in(value)
        value, starts = (value, starts) if inner is None else (inner, ())
    if not isinstance(value, list | Mapping):
        raise _error(text, literal.stop, "a list of objects should stand here")
    try:
        return entries_of(value, starts, order)
    except EntryError as error:
        at = starts[error.n] if error.n < len(starts) else literal.stop
        raise _error(text, at, str(error)) from None


def _bare(text: str, order: str, errors: list[LayoutError]) -> Iterator[Read]:
    """A list or dictionary of objects that stands in the text without a label, or else all objects that stand
    alone; the errors of those that seem to be one are added.
    """
    at, in_vain, before = 0, 0, len(errors)
    alone: list[Entry] = []  # such as JSON lines
    while in_vain < MAX_TRIES and (opening := OPENING.search(text, at)):
        at = opening.end()
        in_vain += 1
        try:
            literal = Literal(text, opening.start())
        except LayoutError as error:
            if text[opening.start()] == "{" or re.match(r"[\[(]\s*[\[({]", text[opening.start() :]):
                errors.append(error)
            continue
        if not is_description(literal.value):
            at = max(at, literal.stop) if _is_flat(literal.value) else at
            continue
        at = literal.stop  # what is broken is not searched for the objects that are not
        try:
            items = _entries(text, literal, literal.value, order)
        except LayoutError as error:
            errors.append(error)
            continue
        in_vain -= 1
        if is_object(literal.value) or _is_pair(literal.value):
            alone += items
        elif items:
            yield _with_texts(items, literal.value)
    if any(item.name for item in alone) and len(errors) == before:
        yield Read(alone)


def _is_pair(value: Any) -> bool:
    """Whether a list is one object, ("a cat", [..])."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], str)


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(part, list | Mapping) for part in value)


def _with_texts(items: list[Entry], value: Any) -> Read:
    """The entries with the background, negative and description of their dictionary."""
    if not isinstance(value, Mapping):
        return Read(items)
    texts = [
        without_none(find_key(value, keys.__contains__))
        for keys in (
            ("background", "background_prompt", "background_description"),
            ("negative", "negative_prompt", "negatives"),
            ("high_level_description", "overall_prompt", "global_caption", "full_prompt"),
        )
    ]
    return Read(items, *texts)


def _error(text: str, position: int, cause: str) -> LayoutError:
    """The error at the first line from a position on that says something."""
    rest = text[max(position, 0) :]
    position = max(position, 0) + len(rest) - len(rest.lstrip())
    return error_at(text, position, cause)
