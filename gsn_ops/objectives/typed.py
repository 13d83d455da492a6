"""An objective as a person types it: its id, its options as text, its levels, and what it is added to."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

from ..maps import MapOptions, block_range
from . import REGISTRY, Objective, options
from .weighted_sum import WeightedSum

SPANS = ("auto", "legacy_sd1", "prompt_only")


def option_names(name: str) -> dict[str, object]:
    """Every option that can be typed for this objective, with its default: its own, how maps are made, `span` and `blocks`.

    Raises ValueError that lists the ids for an unknown one.
    """
    if name not in REGISTRY or name == "weighted_sum":
        raise ValueError(f"Unknown objective '{name}': choose one of {', '.join(sorted(REGISTRY.keys() - {'weighted_sum'}))}.")
    map_options = next((f.default for f in fields(REGISTRY[name]) if f.name == "maps"), None)
    of_maps = {f.name: getattr(map_options, f.name) for f in fields(MapOptions)} if map_options is not None else {}
    return {**options(name), **of_maps, "span": "auto", "blocks": "auto"}


def build(name: str, typed: Iterable[tuple[str, str, str]] = ()) -> Objective:
    """The objective with options from (place, key, value) texts. Raises ValueError for a value that does not fit."""
    known, given = option_names(name), {}
    for place, key, text in typed:
        given[key] = _value(place, key, text, known[key])
    own = {key: value for key, value in given.items() if key in options(name)}
    try:
        objective = REGISTRY[name](**own)
    except ValueError as error:
        raise ValueError(f"options: {error}") from None
    of_maps = {key: value for key, value in given.items() if key not in own and key not in ("span", "blocks")}
    if of_maps:
        objective = replace(objective, maps=replace(objective.maps, **of_maps))
    if "span" in given:
        if given["span"] not in SPANS:
            raise ValueError(f"options: span is '{given['span']}': choose one of {', '.join(SPANS)}.")
        objective = replace(objective, needs=replace(objective.needs, span=given["span"]))
    return in_blocks(objective, given["blocks"]) if "blocks" in given else objective


def _value(place: str, key: str, text: str, default: object) -> object:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
            raise ValueError(f"{place}: {key} wants true or false, not '{text}'.")
        return text.lower() in ("true", "yes", "1")
    if isinstance(default, str):
        return text
    try:
        return type(default)(text)
    except ValueError:
        raise ValueError(f"{place}: {key} wants a {'whole ' if isinstance(default, int) else ''}number, not '{text}'.") from None


def at_levels(objective: Objective, levels: tuple[int, ...]) -> Objective:
    """The objective, or every part of a sum, looking at these levels, in whichever blocks they are."""
    return _looking(objective, levels=levels, blocks="auto")


def in_blocks(objective: Objective, blocks: str) -> Objective:
    """The objective, or every part of a sum, looking at these blocks (`MapNeeds.blocks`). Raises ValueError that says what can be typed."""
    block_range(blocks)
    return _looking(objective, blocks=blocks)


def _looking(objective: Objective, **needs) -> Objective:
    if isinstance(objective, WeightedSum):
        return WeightedSum(tuple((weight, _looking(part, **needs)) for weight, part in objective.parts))
    return replace(objective, needs=replace(objective.needs, **needs))


def weighed(objective: Objective, weight: float, add_to: Objective | None = None) -> Objective:
    """weight x objective, added to another one. An objective of weight 1 alone stays itself."""
    if add_to is None:
        return objective if weight == 1 else WeightedSum(((weight, objective),))
    return WeightedSum(((1.0, add_to), (weight, objective)))
