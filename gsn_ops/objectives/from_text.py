"""An objective as a person types it: its id, its options as text, its levels, and what it is added to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace

from ..maps import MapOptions, block_range
from .base import REGISTRY, Objective, options
from .per_encoder import ByEncoder
from .weighted_sum import WeightedSum

SPANS = ("auto", "legacy_sd1", "prompt_only")
OF_ALL = {"span": "auto", "blocks": "auto", "encoders": "average"}
"""Options that every objective has: see `MapNeeds` and `by_encoder`."""


def option_names(name: str) -> dict[str, object]:
    """Every option that can be typed for this objective, with its default: its own, how maps are made, and `OF_ALL`.

    Raises ValueError that lists the ids for an unknown one.
    """
    if name not in REGISTRY or name == "weighted_sum":
        raise ValueError(
            f"Unknown objective '{name}': choose one of {', '.join(sorted(REGISTRY.keys() - {'weighted_sum'}))}."
        )
    map_options = next((f.default for f in fields(REGISTRY[name]) if f.name == "maps"), None)
    of_maps = (
        {f.name: getattr(map_options, f.name) for f in fields(MapOptions)} if map_options is not None else {}
    )
    return {**options(name), **of_maps, **OF_ALL}


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
    of_maps = {key: value for key, value in given.items() if key not in own and key not in OF_ALL}
    if of_maps:
        objective = replace(objective, maps=replace(objective.maps, **of_maps))
    if "span" in given:
        if given["span"] not in SPANS:
            raise ValueError(f"options: span is '{given['span']}': choose one of {', '.join(SPANS)}.")
        objective = replace(objective, needs=replace(objective.needs, span=given["span"]))
    objective = in_blocks(objective, given["blocks"]) if "blocks" in given else objective
    return by_encoder(objective, given["encoders"]) if "encoders" in given else objective


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
        raise ValueError(
            f"{place}: {key} wants a {'whole ' if isinstance(default, int) else ''}number, not '{text}'."
        ) from None


def at_levels(objective: Objective, levels: tuple[int, ...]) -> Objective:
    """The objective, or every part of a sum, looking at these levels, in whichever blocks they are."""
    return _looking(objective, levels=levels, blocks="auto")


def in_blocks(objective: Objective, blocks: str) -> Objective:
    """The objective, or every part of a sum, looking at these blocks (`MapNeeds.blocks`). Raises ValueError that says what can be typed."""
    block_range(blocks)
    return _looking(objective, blocks=blocks)


def by_encoder(objective: Objective, encoders: str) -> Objective:
    """The objective on a model with several text encoders, as in Latent Refine on SD3.

    encoders: "average" = subject maps are averaged over the encoders, then one loss; "separate" = the mean of the losses on
    single encoders; else the encoder that is read alone (`PromptTokens.only`).
    """
    together = objective.objective if isinstance(objective, ByEncoder) else objective
    if encoders in ("average", "separate"):
        together = _looking(together, encoders="all")
        return together if encoders == "average" else ByEncoder(together)
    return _looking(together, encoders=encoders)


def with_pieces(objective: Objective, pieces: str) -> Objective:
    """The objective, or every part of a sum, with subjects' maps of these words (`MapOptions.pieces`)."""
    return _each(
        objective,
        lambda one: replace(one, maps=replace(one.maps, pieces=pieces)) if hasattr(one, "maps") else one,
    )


def _looking(objective: Objective, **needs) -> Objective:
    return _each(objective, lambda one: replace(one, needs=replace(one.needs, **needs)))


def _each(objective: Objective, act: Callable[[Objective], Objective]) -> Objective:
    """`act` on the objective itself, or on every one in it."""
    if isinstance(objective, WeightedSum):
        return WeightedSum(tuple((weight, _each(part, act)) for weight, part in objective.parts))
    if isinstance(objective, ByEncoder):
        return replace(objective, objective=_each(objective.objective, act))
    return act(objective)


def weighed(objective: Objective, weight: float, add_to: Objective | None = None) -> Objective:
    """weight x objective, added to another one. An objective of weight 1 alone stays itself."""
    if add_to is None:
        return objective if weight == 1 else WeightedSum(((weight, objective),))
    return WeightedSum(((1.0, add_to), (weight, objective)))
