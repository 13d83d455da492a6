"""Options of objectives: a value that cannot work is refused with its name and the cure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Raises ValueError, naming the option and its values, if `value` is not one of them."""
    if value not in allowed:
        raise ValueError(f"The option '{option}' cannot be '{value}': choose one of {', '.join(allowed)}.")


def number(
    option: str,
    value: float,
    *,
    published: str,
    more_than: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
) -> None:
    """Raises ValueError, naming the option, its bounds and its published value, for a number outside them.

    NaN and infinity are always outside.
    """
    if math.isfinite(value) and value > more_than and at_least <= value <= at_most:
        return
    bounds = [("above", more_than), ("at least", at_least), ("at most", at_most)]
    wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))
    wanted = wanted or "a finite number"
    raise ValueError(f"The option '{option}' is {value:g}: it must be {wanted} (published: {published}).")
