"""An objective as the user types it: its id, its options as text, its levels, and what it is added to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any

from ..maps import SPANS, MapOptions, block_range
from ..option_checks import choice
from .base import REGISTRY, Objective, has_map_options, options, user_choices
from .per_encoder import ByEncoder
from .weighted_sum import WeightedSum

COMMON_OPTIONS = {"span": "auto", "blocks": "auto", "encoders": "average"}
"""Options that every objective has: see `MapNeeds` and `by_encoder`."""


def option_names(name: str) -> dict[str, object]:
    """Every option that can be typed for this objective, with its default.

    Its own, those of its maps (`MapOptions`), and `COMMON_OPTIONS`. Raises ValueError that lists the ids for
    an unknown one.
    """
    if name not in REGISTRY or name == "weighted_sum":
        raise ValueError(f"Unknown objective '{name}': choose one of {', '.join(user_choices())}.")
    cls: Any = REGISTRY[name]
    of_maps: dict[str, object] = {}
    for f in fields(cls):
        if f.name == "maps" and isinstance(f.default, MapOptions):
            of_maps = {option.name: getattr(f.default, option.name) for option in fields(MapOptions)}
    own = options(name)  # an option of its own hides one of its maps
    return own | {key: value for key, value in {**of_maps, **COMMON_OPTIONS}.items() if key not in own}


def build(name: str, typed: Iterable[tuple[str, str, str]] = ()) -> Objective:
    """The objective with options from texts (position in the field, key, value).

    Raises ValueError for a value that does not fit.
    """
    known = option_names(name)
    given = {key: _value(position, key, text, known[key]) for position, key, text in typed}
    own = {key: value for key, value in given.items() if key in options(name)}
    of_maps = {key: value for key, value in given.items() if key not in own and key not in COMMON_OPTIONS}
    try:
        objective: Any = REGISTRY[name](**own)
        if of_maps:
            objective = replace(objective, maps=replace(objective.maps, **of_maps))
        choice("span", str(given.get("span", SPANS[0])), SPANS)
    except ValueError as error:
        raise ValueError(f"options: {error}") from None
    if "span" in given:
        objective = replace(objective, needs=replace(objective.needs, span=given["span"]))
    if "blocks" in given:
        objective = in_blocks(objective, str(given["blocks"]))
    if "encoders" in given:
        objective = by_encoder(objective, str(given["encoders"]))
    return objective


def _value(position: str, key: str, text: str, default: object) -> object:
    """The text as a value of the default's type."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
            raise ValueError(f"{position}: {key} wants true or false, not '{text}'.")
        return text.lower() in ("true", "yes", "1")
    if isinstance(default, str):
        return text
    try:
        return int(text) if isinstance(default, int) else float(text)
    except ValueError:
        kind = "whole number" if isinstance(default, int) else "number"
        raise ValueError(f"{position}: {key} wants a {kind}, not '{text}'.") from None


def at_levels(objective: Objective, levels: tuple[int, ...]) -> Objective:
    """The objective, or every part of a sum, on the maps of these levels, in whichever blocks they are."""
    return _with_needs(objective, levels=levels, blocks="auto")


def in_blocks(objective: Objective, blocks: str) -> Objective:
    """The objective, or every part of a sum, on the maps of these blocks (`MapNeeds.blocks`).

    Raises ValueError that says what can be typed.
    """
    block_range(blocks)
    return _with_needs(objective, blocks=blocks)


def by_encoder(objective: Objective, encoders: str) -> Objective:
    """The objective on a model with several text encoders, as in Latent Refine on SD3.

    encoders: "average" = subject maps are averaged over the encoders, then one loss; "separate" = the mean of
    the losses on single encoders; else the encoder that is read alone (`PromptTokens.only`).
    """
    together = objective.objective if isinstance(objective, ByEncoder) else objective
    if encoders in ("average", "separate"):
        together = _with_needs(together, encoders="all")
        return together if encoders == "average" else ByEncoder(together)
    return _with_needs(together, encoders=encoders)


def with_pieces(objective: Objective, pieces: str) -> Objective:
    """The objective, or every part of a sum, with subject maps of these words (`MapOptions.pieces`)."""

    def change(one: Any) -> Objective:
        return replace(one, maps=replace(one.maps, pieces=pieces)) if has_map_options(one) else one

    return _each(objective, change)


def _with_needs(objective: Objective, **needs: Any) -> Objective:
    """The objective, or every part of a sum, with these fields of `MapNeeds`."""

    def change(one: Any) -> Objective:
        return replace(one, needs=replace(one.needs, **needs))

    return _each(objective, change)


def _each(objective: Objective, change: Callable[[Any], Objective]) -> Objective:
    """`change` of the objective itself, or of every one in it."""
    if isinstance(objective, WeightedSum):
        return WeightedSum(tuple((weight, _each(part, change)) for weight, part in objective.parts))
    if isinstance(objective, ByEncoder):
        return replace(objective, objective=_each(objective.objective, change))
    return change(objective)


def weighed(objective: Objective, weight: float, add_to: Objective | None = None) -> Objective:
    """weight x objective, added to another one. An objective of weight 1 alone stays itself.

    Raises ValueError for a weight that is no finite number.
    """
    if not math.isfinite(weight):
        raise ValueError(f"weight is {weight:g}: choose a finite number; 1 is the loss as it is.")
    if add_to is None:
        return objective if weight == 1 else WeightedSum(((weight, objective),))
    return WeightedSum(((1.0, add_to), (weight, objective)))
