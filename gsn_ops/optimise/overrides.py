"""Settings as a person types them: read, put into a recipe, and refused in words before a model is called."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace

from ..objectives.from_text import at_levels, by_encoder, in_blocks, with_pieces
from ..schedule import Moment
from .guidance import Checkpoint
from .methods import Recipe
from .refine import Refine

_PAIR = re.compile(r"\s*(?P<key>\w+)\s*=\s*(?P<value>[^=]*?)\s*(?:[,;\n](?=\s*\w+\s*=)|[,;]?\s*$)")


def parse_levels(text: str) -> tuple[int, ...] | None:
    """Attention levels (latent height / map height): "auto" or "" -> None, "2,4" -> (2, 4). Raises ValueError."""
    if text.strip().lower() in ("", "auto"):
        return None
    words = re.split(r"[,\s]+", text.strip())
    if not all(re.fullmatch(r"[1-9]\d{0,2}", word) for word in words):
        raise ValueError(
            f"levels is '{text}': write auto, or whole numbers such as 2 or 2,4 "
            "(2 = attention maps of half the latent's height)."
        )
    return tuple(sorted({int(word) for word in words}))


def with_levels(recipe: Recipe, text: str) -> Recipe:
    """The recipe with its objective looking at these levels only. Raises ValueError as parse_levels does."""
    levels = parse_levels(text)
    if levels is None:
        return recipe
    return replace(recipe, objective=at_levels(recipe.objective, levels))


SETTINGS = {
    "shifts": int,
    "learning_rate": float,
    "eps": float,
    "max_displacement": float,
    "stop_at_loss": float,
    "stop_at_presence": float,
    "present_at": float,
    "start_percent": float,
    "end_percent": float,
    "max_rounds": int,
    "rounds": int,
    "iterations": int,
    "final_iterations": int,
}
"""Fields of recipes that a person may override, and what they hold. Beside them: scale_factor, levels, blocks, encoders, pieces and precision."""
PIECES = ("noun", "phrase")
PRECISIONS = ("auto", "full", "bfloat16")


def keys_of(recipe: Recipe) -> list[str]:
    """What can be overridden in this recipe."""
    own = [f.name for f in fields(recipe) if f.name in SETTINGS]
    own += ["scale_factor"] if hasattr(recipe, "step_size") else []
    own += ["levels", "blocks", "encoders", *(["pieces"] if hasattr(recipe.objective, "maps") else [])]
    return [*own, *(["precision"] if hasattr(recipe, "precision") else [])]


def with_setting(recipe: Recipe, key: str, text: str) -> Recipe:
    """The recipe with one setting put in. Raises ValueError for text that is not of its kind."""
    if key == "levels":
        return with_levels(recipe, text)
    if key == "blocks":
        return replace(recipe, objective=in_blocks(recipe.objective, text))
    if key == "encoders":
        return replace(recipe, objective=by_encoder(recipe.objective, text))
    if key == "pieces":
        if text not in PIECES:
            raise ValueError(
                f"pieces is '{text}': choose noun (a subject's map is that of its noun) or phrase (of all its words)."
            )
        return replace(recipe, objective=with_pieces(recipe.objective, text))
    if key == "precision":
        if text not in PRECISIONS:
            raise ValueError(
                f"precision is '{text}': choose auto, full or bfloat16 (wherever the gradient agrees)."
            )
        return replace(recipe, precision=text)
    kind = SETTINGS.get(key, float)
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{key} wants a {'whole ' if kind is int else ''}number, not '{text}'.") from None
    if key == "scale_factor":
        return replace(recipe, step_size=replace(recipe.step_size, factor=value))
    return replace(recipe, **{key: value})


def pairs(text: str, where: str, known: Sequence[str], example: str) -> Iterator[tuple[str, str, str]]:
    """(place, key, value) of each "key=value" in a text, separated by commas, semicolons or lines.

    Raises ValueError that names the position (`where`, character n) and lists the known keys.
    """
    at = 0
    while text[at:].strip():
        pair = _PAIR.match(text, at)
        place = f"{where}, character {at + len(text[at:]) - len(text[at:].lstrip()) + 1}"
        if pair is None:
            raise ValueError(
                f"{place}: '{text[at:].strip()}' is not of the form key=value. Write for example {example}. "
                f"Keys: {', '.join(known)}."
            )
        if pair["key"] not in known:
            raise ValueError(f"{place}: there is no setting '{pair['key']}'. Keys: {', '.join(known)}.")
        yield place, pair["key"], pair["value"]
        at = pair.end()


def override(recipes: tuple[Recipe, ...], text: str) -> tuple[Recipe, ...]:
    """The recipes with "shifts=30, learning_rate=0.02" put in, each where it applies.

    Raises ValueError that names the position and lists the keys that these recipes have.
    """
    known = list(dict.fromkeys(key for recipe in recipes for key in keys_of(recipe)))
    for place, key, value in pairs(text, "overrides", known, f"{known[0]}=30, levels=2"):
        try:
            recipes = tuple(
                with_setting(recipe, key, value) if key in keys_of(recipe) else recipe for recipe in recipes
            )
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    return recipes


def moved(recipes: tuple[Recipe, ...], moment: Moment) -> tuple[Recipe, ...]:
    """The recipes with their refinement at another moment; the default moment leaves every method its published one.

    Raises ValueError for a method that has no refinement at a single moment.
    """
    if moment == Moment():
        return recipes
    if not any(isinstance(recipe, Refine) for recipe in recipes):
        raise ValueError(
            f"{recipes[0].method} does not act at one moment that at_percent, at_sigma or at_step could move. Leave them at "
            f"{Moment().percent:g}, {Moment().sigma:g} and {Moment().step}, and use overrides where it has a window: "
            "start_percent=0.1, end_percent=0.4."
        )
    return tuple(
        replace(recipe, moment=moment) if isinstance(recipe, Refine) else recipe for recipe in recipes
    )


def only_needed(recipes: tuple[Recipe, ...], wanted: bool) -> tuple[Recipe, ...]:
    """The recipes, their refinement leaving images alone that have all subjects already."""
    return tuple(
        replace(recipe, only_if_needed=wanted) if isinstance(recipe, Refine) else recipe for recipe in recipes
    )


def parse_checkpoints(text: str) -> tuple[Checkpoint, ...]:
    """Moments and attentions, "0:0.05, 0.218:0.5" (shares of the noise schedule), as checkpoints. Raises ValueError with the position."""
    found = []
    for part in re.finditer(r"[^,;\n]+", text):
        if not part.group().strip():
            continue
        numbers = re.fullmatch(r"\s*(\d*\.?\d+)\s*:\s*(\d*\.?\d+)\s*", part.group())
        if numbers is None or float(numbers[1]) > 1 or float(numbers[2]) > 1:
            at = part.start() + len(part.group()) - len(part.group().lstrip()) + 1
            raise ValueError(
                f"thresholds, character {at}: '{part.group().strip()}' is not moment:attention, both from 0 to 1. "
                "Write for example 0:0.05, 0.218:0.5, 0.418:0.8 (the moments are shares of the noise schedule)."
            )
        found.append(Checkpoint(Moment(percent=float(numbers[1])), float(numbers[2])))
    return tuple(found)


PUBLISHED_OFF = "To switch it off, set shifts or strength to 0 or bypass the node"
RULES: dict[str, tuple[Callable[[float], bool], str]] = {
    "shifts": (lambda v: v >= 0, "choose 0 (off, a plain run) or more; 50 is the published number"),
    "learning_rate": (
        lambda v: math.isfinite(v) and v > 0,
        f"it must be greater than 0 (published: 0.01). {PUBLISHED_OFF}",
    ),
    "eps": (lambda v: math.isfinite(v) and v > 0, "it must be greater than 0 (published: 0.001)"),
    "max_displacement": (
        lambda v: v >= 0,
        "choose 0 (no bound) or more; 1 is the width of the latent's distribution",
    ),
    "stop_at_loss": (lambda v: v >= 0, "choose 0 (never stop early) or more"),
    "stop_at_presence": (
        lambda v: 0 <= v <= 1,
        "it is an attention maximum and lies between 0 (never stop early) and 1",
    ),
    "present_at": (lambda v: 0 <= v <= 1, "it is an attention maximum and lies between 0 and 1"),
    "start_percent": (
        lambda v: 0 <= v <= 1,
        "it is a share of the run and lies between 0 (start) and 1 (end)",
    ),
    "end_percent": (lambda v: 0 <= v <= 1, "it is a share of the run and lies between 0 (start) and 1 (end)"),
    "max_rounds": (lambda v: v >= 0, "choose 0 (no refinement) or more; 20 is the published number"),
    "rounds": (lambda v: v >= 0, "choose 0 (off) or more; 5 is the published number"),
    "iterations": (lambda v: v > 0, "choose 1 or more; 10 is the published number"),
    "final_iterations": (lambda v: v >= 0, "choose 0 or more; 50 is the published number"),
}


def check(recipe: Recipe) -> Recipe:
    """The recipe itself if its numbers can work. Raises ValueError that names the setting, its value and the cure."""
    for name, (good, cure) in RULES.items():
        value = getattr(recipe, name, None)
        if value is not None and not good(value):
            raise ValueError(f"{name} is {value:g}: {cure}.")
    size = getattr(recipe, "step_size", None)
    if size is not None and not (math.isfinite(size.factor) and size.factor >= 0):
        raise ValueError(
            f"scale_factor is {size.factor:g}: choose 0 (off) or more; 20 is the published number."
        )
    moment = getattr(recipe, "moment", Moment())
    if not 0 <= moment.percent <= 1:
        raise ValueError(
            f"at_percent is {moment.percent:g}: it is a share of the run and lies between 0 (start) and 1 (end)."
        )
    if not (math.isfinite(moment.sigma) and moment.sigma >= 0):
        raise ValueError(
            f"at_sigma is {moment.sigma:g}: choose a noise level greater than 0, or 0 to choose by at_percent."
        )
    return recipe
