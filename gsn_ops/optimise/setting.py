"""Fields of recipes that users set: their kind, range and cure, for overrides, checks and reports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

METADATA_KEY = "setting"
PRECISIONS = ("auto", "full", "bfloat16")

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What a field may hold, and what an error suggests.

    at_least, more_than, at_most: bounds of a number. finite: infinity is refused. choices: the values of a
    word. cure: the end of an error, "choose ...". key: its name in overrides, None = that of the field.
    overridable: can it be typed in overrides? All settings are reported.
    """

    at_least: float = -math.inf
    more_than: float = -math.inf
    at_most: float = math.inf
    finite: bool = False
    choices: tuple[str, ...] = ()
    cure: str = ""
    key: str | None = None
    overridable: bool = True

    def allows(self, value: Any) -> bool:
        """Whether a field may hold this value; NaN is never allowed where there is a bound."""
        if isinstance(value, str):
            return not self.choices or value in self.choices
        if self.finite and not math.isfinite(value):
            return False
        if (self.at_least, self.more_than, self.at_most) == (-math.inf, -math.inf, math.inf):
            return True
        return self.at_least <= value <= self.at_most and (
            value > self.more_than or self.more_than == -math.inf
        )


def setting(default: Any, **limits: Any) -> Any:
    """A dataclass field that is a setting; `limits` are the fields of `Setting`."""
    return field(default=default, metadata={METADATA_KEY: Setting(**limits)})


def learning_rate_setting(default: float) -> Any:
    """A learning rate whose published value is the default."""
    cure = (
        f"it must be greater than 0 (published: {default:g}). "
        "To switch it off, set shifts or strength to 0 or bypass the node"
    )
    return setting(default, more_than=0, finite=True, cure=cure)


def share_of_run(default: float) -> Any:
    """A share of the noise schedule, 0 ... 1."""
    return setting(
        default, at_least=0, at_most=1, cure="it is a share of the run and lies between 0 (start) and 1 (end)"
    )


def precision_setting() -> Any:
    """Of passes with gradients.

    "auto" (bfloat16 products for a float32 model where that is faster), "full" or "bfloat16".
    """
    cure = "choose auto, full or bfloat16 (wherever the gradient agrees)"
    return setting("auto", choices=PRECISIONS, cure=cure)


@dataclass(frozen=True)
class BoundSetting:
    """A setting of one recipe: its key, the kind of its value, and the path of fields that leads to it."""

    key: str
    kind: type
    path: tuple[str, ...]
    setting: Setting

    def get(self, recipe: Any) -> Any:
        """The value in this recipe."""
        for name in self.path:
            recipe = getattr(recipe, name)
        return recipe

    def put(self, recipe: T, value: Any) -> T:
        """The recipe with this value."""
        return _replaced(recipe, self.path, value)

    def check(self, value: Any) -> None:
        """Raises ValueError, with the cure, for a value that the setting does not allow."""
        if not self.setting.allows(value):
            shown = f"'{value}'" if isinstance(value, str) else f"{value:g}"
            if not isinstance(value, str) and math.isinf(value):
                shown += ", not a finite number"
            raise ValueError(f"{self.key} is {shown}: {self.setting.cure}.")


def settings_of(recipe: Any, path: tuple[str, ...] = ()) -> Iterator[BoundSetting]:
    """All settings of a recipe and of the dataclasses that it holds, in the order of the fields."""
    for f in fields(recipe):
        found, here = f.metadata.get(METADATA_KEY), (*path, f.name)
        if found is not None:
            yield BoundSetting(found.key or f.name, type(f.default), here, found)
        elif is_dataclass(getattr(recipe, f.name)):
            yield from settings_of(getattr(recipe, f.name), here)


def _replaced(recipe: Any, path: tuple[str, ...], value: Any) -> Any:
    name, *rest = path
    if rest:
        value = _replaced(getattr(recipe, name), tuple(rest), value)
    return replace(recipe, **{name: value})
