"""Methods of the drop-down that change attention or features in the run's own passes, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

from ..modulate.edits import Edit, PromptReinjection, TextTemperature, WordBoost
from ..prompt import SubjectPhrase
from ..schedule import Moment
from .overrides import pairs

GRADIENT_FREE: dict[str, Callable[[], Edit]] = {
    edit().method: edit  # type: ignore[operator]
    for edit in (WordBoost, PromptReinjection, TextTemperature)
}
"""{name shown to users: its edit with the published settings}."""

TYPED = (float, int, str)
"""Kinds of settings that can be typed in overrides."""


def edit_of(method: str, overrides: str = "", moment: Moment | None = None) -> Edit | None:
    """The method's edit with "w=0.1, origin=2" put in; None if it is no method of this kind.

    Raises ValueError that names the position and lists the keys, and for any moment but the method's own.
    """
    if method not in GRADIENT_FREE:
        return None
    if moment is not None:
        raise ValueError(
            f"{method} has no refinement at one step that at_percent, at_sigma or at_step could move. "
            "Set them to -1, 0 and -1."
        )
    edit = GRADIENT_FREE[method]()
    typed = [f for f in fields(edit) if f.name != "method" and isinstance(f.default, TYPED)]
    kinds = {f.name: type(f.default) for f in typed}
    name = next(iter(kinds))
    for position, key, value in pairs(overrides, "overrides", list(kinds), f"{name}={getattr(edit, name):g}"):
        try:
            edit = replace(edit, **{key: kinds[key](value)})
        except ValueError as error:
            raise ValueError(f"{position}: {_told(error, key, kinds[key], value)}") from None
    return edit.check()


def _told(error: ValueError, key: str, kind: type, value: str) -> str:
    """What is wrong with a value: Python's own message about a number names neither key nor kind."""
    if "could not convert" not in str(error) and "invalid literal" not in str(error):
        return str(error)
    wanted = "whole number" if kind is int else "number"
    return f"{key} wants a {wanted}, not '{value}'."


def with_subjects(edit: Edit, subjects: Sequence[SubjectPhrase]) -> Edit:
    """The edit for these subjects; one that has none is as it is."""
    return replace(edit, subjects=tuple(subjects)) if isinstance(edit, WordBoost) else edit
