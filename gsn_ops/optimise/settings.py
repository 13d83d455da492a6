"""Settings as a person types them: read, put into a recipe, and refused in words before a model is called."""
from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

from .recipes import Refine

_PAIR = re.compile(r"\s*(?P<key>\w+)\s*=\s*(?P<value>[^=]*?)\s*(?:[,;\n](?=\s*\w+\s*=)|[,;]?\s*$)")


def parse_levels(text: str) -> tuple[int, ...] | None:
    """Attention levels (latent height / map height): "auto" or "" -> None, "2,4" -> (2, 4). Raises ValueError."""
    if text.strip().lower() in ("", "auto"):
        return None
    words = re.split(r"[,\s]+", text.strip())
    if not all(re.fullmatch(r"[1-9]\d{0,2}", word) for word in words):
        raise ValueError(f"levels is '{text}': write auto, or whole numbers such as 2 or 2,4 "
                         "(2 = attention maps of half the latent's height).")
    return tuple(sorted({int(word) for word in words}))


def with_levels(recipe: Refine, text: str) -> Refine:
    """The recipe with its objective looking at these levels only. Raises ValueError as parse_levels does."""
    levels = parse_levels(text)
    if levels is None:
        return recipe
    return replace(recipe, objective=replace(recipe.objective, needs=replace(recipe.objective.needs, levels=levels)))


def _number(name: str, kind: type) -> Callable[[Refine, str], Refine]:
    def put(recipe: Refine, text: str) -> Refine:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"{name} wants a {'whole ' if kind is int else ''}number, not '{text}'.") from None
        return replace(recipe, **{name: value})
    return put


OVERRIDES: dict[str, Callable[[Refine, str], Refine]] = {
    "shifts": _number("shifts", int),
    "learning_rate": _number("learning_rate", float),
    "eps": _number("eps", float),
    "stop_at_loss": _number("stop_at_loss", float),
    "present_at": _number("present_at", float),
    "levels": with_levels,
}


def override(recipe: Refine, text: str) -> Refine:
    """The recipe with "shifts=30, learning_rate=0.02" put in (separated by commas, semicolons or lines).

    Raises ValueError that names the position and lists the keys of OVERRIDES.
    """
    at = 0
    while text[at:].strip():
        pair = _PAIR.match(text, at)
        place = f"overrides, character {at + len(text[at:]) - len(text[at:].lstrip()) + 1}"
        if pair is None:
            raise ValueError(f"{place}: '{text[at:].strip()}' is not of the form key=value. Write for example "
                             f"shifts=30, learning_rate=0.02. Keys: {', '.join(OVERRIDES)}.")
        key, value = pair["key"], pair["value"]
        if key not in OVERRIDES:
            raise ValueError(f"{place}: there is no setting '{key}'. Keys: {', '.join(OVERRIDES)}.")
        try:
            recipe = OVERRIDES[key](recipe, value)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        at = pair.end()
    return recipe


def check(recipe: Refine) -> Refine:
    """The recipe itself if its numbers can work. Raises ValueError that names the setting, its value and the cure."""
    def refuse(name: str, value: float, cure: str):
        raise ValueError(f"{name} is {value:g}: {cure}.")

    if recipe.shifts < 0:
        refuse("shifts", recipe.shifts, "choose 0 (off, a plain run) or more; 50 is the published number")
    if not (math.isfinite(recipe.learning_rate) and recipe.learning_rate > 0):
        refuse("learning_rate", recipe.learning_rate, "it must be greater than 0 (published: 0.01). To switch the "
               "refinement off, set shifts or strength to 0 or bypass the node")
    if not (math.isfinite(recipe.eps) and recipe.eps > 0):
        refuse("eps", recipe.eps, "it must be greater than 0 (published: 0.001)")
    if not recipe.stop_at_loss >= 0:
        refuse("stop_at_loss", recipe.stop_at_loss, "choose 0 (never stop early) or more")
    if not 0 <= recipe.present_at <= 1:
        refuse("present_at", recipe.present_at, "it is an attention maximum and lies between 0 and 1")
    if not 0 <= recipe.moment.percent <= 1:
        refuse("at_percent", recipe.moment.percent, "it is a share of the run and lies between 0 (start) and 1 (end)")
    if not (math.isfinite(recipe.moment.sigma) and recipe.moment.sigma >= 0):
        refuse("at_sigma", recipe.moment.sigma, "choose a noise level greater than 0, or 0 to choose by at_percent")
    return recipe
