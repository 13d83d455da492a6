"""Errors of a layout's text that name the line and show it."""

from __future__ import annotations

MAX_SHOWN = 80


class LayoutError(ValueError):
    """A layout that cannot be read: cause, then cure."""


def shown(text: str) -> str:
    """A piece of text on one line, shortened."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "..."


def line_at(text: str, position: int) -> tuple[int, str]:
    """The number of the line at a position, counted from 1, and the line."""
    position = min(position, len(text))
    start = text.rfind("\n", 0, position) + 1
    stop = text.find("\n", position)
    return text.count("\n", 0, position) + 1, text[start : stop if stop >= 0 else len(text)]


def error_at(text: str, position: int, cause: str) -> LayoutError:
    """The error that names the line at this position and shows it."""
    number, line = line_at(text, position)
    return LayoutError(f"Line {number} of the layout cannot be read, {cause}: {shown(line) or '(empty)'}")
