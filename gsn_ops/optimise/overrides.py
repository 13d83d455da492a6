"""Settings as users type them: parsed, put into a recipe, and refused with the cure before a model is
called.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..maps import PIECES, parse_levels
from ..objectives.base import Objective, has_map_options, map_options
from ..objectives.from_text import at_levels, by_encoder, in_blocks, with_pieces
from ..schedule import Moment
from .guidance import Checkpoint, Guide
from .recipe import AnyRecipe, Recipe, SingleStepRecipe
from .refine import Refine
from .setting import BoundSetting, settings_of

SHARED = (
    "with pieces=phrase the words of a phrase share the attention, so a loss cannot fall far: "
    "choose pieces=noun"
)

PAIR = re.compile(r"\s*(?P<key>\w+)\s*=\s*(?P<value>[^=]*?)\s*(?:[,;\n](?=\s*\w+\s*=)|[,;]?\s*$)")


def with_levels(recipe: AnyRecipe, text: str) -> AnyRecipe:
    """The recipe with its objective reading these levels only. Raises ValueError as parse_levels does."""
    levels = parse_levels(text)
    if levels is None:
        return recipe
    return with_objectives(recipe, lambda objective: at_levels(objective, levels))


def with_objectives(recipe: AnyRecipe, change: Callable[[Objective], Objective]) -> AnyRecipe:
    """The recipe with `change` of its objective, and of that of its refinement where it has another one."""
    changed = replace(recipe, objective=change(recipe.objective))
    if isinstance(changed, Guide) and changed.refinement is not None:
        return replace(changed, refinement=change(changed.refinement))
    return changed


def with_blocks(recipe: AnyRecipe, text: str) -> AnyRecipe:
    """The recipe with its objective reading these blocks only. Raises ValueError that says what can be
    typed.
    """
    return with_objectives(recipe, lambda objective: in_blocks(objective, text))


def with_encoders(recipe: AnyRecipe, text: str) -> AnyRecipe:
    """The recipe with its objective reading these text encoders, see `by_encoder`."""
    return with_objectives(recipe, lambda objective: by_encoder(objective, text))


def with_map_pieces(recipe: AnyRecipe, text: str) -> AnyRecipe:
    """The recipe with subject maps of the nouns, or of the whole phrases. Raises ValueError for another
    word.
    """
    if text not in PIECES:
        raise ValueError(
            f"pieces is '{text}': choose noun (a subject's map is that of its noun) "
            "or phrase (of all its words)."
        )
    return with_objectives(recipe, lambda objective: with_pieces(objective, text))


OBJECTIVE_KEYS = {
    "levels": with_levels,
    "blocks": with_blocks,
    "encoders": with_encoders,
    "pieces": with_map_pieces,
}
"""Keys of every recipe that change what its objective reads."""
CHOSEN_KEYS = (*OBJECTIVE_KEYS, "present_at", "stop_at_presence")
"""Keys that may be chosen for a model: what is read there, and how much attention is enough."""


def _typed_settings(recipe: Recipe) -> dict[str, BoundSetting]:
    return {bound.key: bound for bound in settings_of(recipe) if bound.setting.overridable}


def keys_of(recipe: Recipe) -> list[str]:
    """What can be overridden in this recipe: numbers, what its objective reads, words."""
    typed = _typed_settings(recipe)
    numbers = [key for key, bound in typed.items() if bound.kind in (int, float)]
    words = [key for key in typed if key not in numbers]
    reads = [key for key in OBJECTIVE_KEYS if key != "pieces" or has_map_options(recipe.objective)]
    return [*numbers, *reads, *words]


def with_setting(recipe: AnyRecipe, key: str, text: str) -> AnyRecipe:
    """The recipe with the value of one of its keys. Raises ValueError for text that is not of its kind."""
    if key in OBJECTIVE_KEYS:
        return OBJECTIVE_KEYS[key](recipe, text)
    bound = _typed_settings(recipe)[key]
    value: Any = text
    if bound.kind in (int, float):
        value = _number(bound, text)
    else:
        bound.check(text)
    return bound.put(recipe, value)


def _number(bound: BoundSetting, text: str) -> int | float:
    try:
        return bound.kind(text)
    except ValueError:
        whole = "whole " if bound.kind is int else ""
        raise ValueError(f"{bound.key} wants a {whole}number, not '{text}'.") from None


def pairs(text: str, where: str, known: Sequence[str], example: str) -> Iterator[tuple[str, str, str]]:
    """(position, key, value) of each "key=value" in a text, separated by commas, semicolons or lines.

    Raises ValueError that names the position (`where`, character n) and lists the known keys.
    """
    at, seen = 0, set()
    while text[at:].strip():
        pair = PAIR.match(text, at)
        position = f"{where}, character {at + len(text[at:]) - len(text[at:].lstrip()) + 1}"
        if pair is None:
            raise ValueError(
                f"{position}: '{text[at:].strip()}' is not of the form key=value. "
                f"Write for example {example}. Keys: {', '.join(known)}."
            )
        if pair["key"] not in known:
            raise _unknown(position, pair["key"], known)
        if pair["key"] in seen:
            raise ValueError(f"{position}: '{pair['key']}' is there twice: leave one of them.")
        seen.add(pair["key"])
        yield position, pair["key"], pair["value"]
        at = pair.end()


def _unknown(position: str, key: str, known: Sequence[str]) -> ValueError:
    """There is no such key; the one that is spelled like it, or has its initials ("lr"), is named."""
    initials = [one for one in known if "".join(word[0] for word in one.split("_")) == key]
    near = initials or difflib.get_close_matches(key.lower(), known, 1)
    keys = ", ".join(known)
    if near:
        return ValueError(f"{position}: there is no setting '{key}'. Did you mean '{near[0]}'? Keys: {keys}.")
    return ValueError(f"{position}: there is no setting '{key}'. Keys: {keys}.")


def override(recipes: tuple[Recipe, ...], text: str) -> tuple[Recipe, ...]:
    """The recipes with "shifts=30, learning_rate=0.02" put in, each where it applies.

    Raises ValueError that names the position and lists the keys that these recipes have.
    """
    known = list(dict.fromkeys(key for recipe in recipes for key in keys_of(recipe)))
    for position, key, value in pairs(text, "overrides", known, _example(recipes)):
        try:
            recipes = tuple(
                with_setting(recipe, key, value) if key in keys_of(recipe) else recipe for recipe in recipes
            )
        except ValueError as error:
            raise ValueError(f"{position}: {error}") from None
    return recipes


def reading(recipes: tuple[Recipe, ...], text: str) -> tuple[Recipe, ...]:
    """The recipes that read what was chosen for a model ("encoders=clip, blocks=3, present_at=0.9").

    Raises ValueError that names the position for any other setting.
    """
    for _, key, value in pairs(text, "reads in moments.json", CHOSEN_KEYS, "encoders=clip"):
        recipes = tuple(
            with_setting(recipe, key, value) if key in keys_of(recipe) else recipe for recipe in recipes
        )
    return recipes


def read_settings(text: str) -> str:
    """Of settings as typed those that are chosen for a model, for `reading`."""
    found = (pair for pair in PAIR.finditer(text) if pair["key"] in CHOSEN_KEYS)
    return ", ".join(f"{pair['key']}={pair['value']}" for pair in found)


def _example(recipes: tuple[Recipe, ...]) -> str:
    """What can be typed for these recipes: their first number as it is, and a level."""
    for recipe in recipes:
        for key, bound in _typed_settings(recipe).items():
            if bound.kind in (int, float):
                return f"{key}={bound.get(recipe):g}, levels=2"
    return "levels=2"


def moved(recipes: tuple[Recipe, ...], moment: Moment | None) -> tuple[Recipe, ...]:
    """The recipes with what they do at one step (refinement, SAGA) at another one; None = each method's own.

    Raises ValueError for a method that does nothing at a single step.
    """
    if moment is None:
        return recipes
    if not any(isinstance(recipe, SingleStepRecipe) for recipe in recipes):
        raise ValueError(
            f"{recipes[0].method} has no refinement at one step that at_percent, at_sigma or at_step could "
            "move. Set them to -1, 0 and -1, and use overrides where it has a window: start_percent=0.1, "
            "end_percent=0.4."
        )
    return tuple(recipe.at(moment) if isinstance(recipe, SingleStepRecipe) else recipe for recipe in recipes)


def shared_attention(recipes: tuple[Recipe, ...]) -> str:
    """What to know, before the run, of a refinement that reads all words of a phrase; "" = nothing."""
    shares = any(isinstance(r, Refine) and map_options(r.objective).pieces == "phrase" for r in recipes)
    return SHARED[0].upper() + SHARED[1:] if shares else ""


def only_needed(recipes: tuple[Recipe, ...], wanted: bool) -> tuple[Recipe, ...]:
    """The recipes, their refinement skipping images that have all subjects already.

    Raises ValueError for a method that has no refinement at a single step.
    """
    if not wanted:
        return recipes
    if not any(isinstance(recipe, Refine) for recipe in recipes):
        raise ValueError(
            f"{recipes[0].method} has no refinement at one step that only_if_needed could skip. Switch "
            "only_if_needed off, or choose a method that has one, such as Latent Refine."
        )
    return tuple(
        replace(recipe, only_if_needed=True) if isinstance(recipe, Refine) else recipe for recipe in recipes
    )


def parse_checkpoints(text: str) -> tuple[Checkpoint, ...]:
    """Steps and attentions, "0:0.05, 0.218:0.5" (shares of the noise schedule), as checkpoints.

    Raises ValueError with the position.
    """
    found = []
    for part in re.finditer(r"[^,;\n]+", text):
        if not part.group().strip():
            continue
        numbers = re.fullmatch(r"\s*(\d*\.?\d+)\s*:\s*(\d*\.?\d+)\s*", part.group())
        if numbers is None or float(numbers[1]) > 1 or float(numbers[2]) > 1:
            at = part.start() + len(part.group()) - len(part.group().lstrip()) + 1
            raise ValueError(
                f"thresholds, character {at}: '{part.group().strip()}' is not step:attention, both from 0 "
                "to 1. Write for example 0:0.05, 0.218:0.5, 0.418:0.8 "
                "(the steps are shares of the noise schedule)."
            )
        found.append(Checkpoint(Moment(percent=float(numbers[1])), float(numbers[2])))
    return tuple(found)


def check(recipe: AnyRecipe) -> AnyRecipe:
    """The recipe itself if its numbers can work. Raises ValueError that names the setting, its value and the
    cure.
    """
    recipe.check()
    return recipe
