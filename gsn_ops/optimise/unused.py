"""Settings that another method uses and the chosen one cannot: left out with a remark, so that a switch of
method is no error.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields

from ..remark import Remark
from ..schedule import Moment
from .auto import AUTO, BUDGET
from .gradient_free import GRADIENT_FREE, TYPED
from .methods import METHODS, acts_at_one_step, preset
from .overrides import PAIR, keys_of
from .refine import Refine


@dataclass(frozen=True)
class Asked:
    """What was set beside the method: its moment, whether only where needed, overrides as typed, and the
    budget in images.
    """

    moment: Moment | None
    only_if_needed: bool
    overrides: str
    budget: float = BUDGET


def used(method: str, asked: Asked) -> tuple[Asked, tuple[Remark, ...]]:
    """What this method can use of it, and a remark that names what it cannot.

    A key of overrides that no method has stays, to be refused by its own error. Raises ValueError for a
    moment that no run has, and for a method that is not known.
    """
    names: list[str] = []
    moment, only_if_needed = asked.moment, asked.only_if_needed
    if moment is not None and not acts_at_one_step(method):
        moment.check()
        names.append(_input_of(moment))
        moment = None
    if only_if_needed and not _refines(method):
        names.append("only_if_needed")
        only_if_needed = False
    overrides, left_out = _own_pairs(method, asked.overrides)
    if method != AUTO and asked.budget != BUDGET:
        left_out = [*left_out, "budget"]
    used_of_it = Asked(moment, only_if_needed, overrides, asked.budget)
    return used_of_it, _remark([*names, *left_out])


def _remark(names: list[str]) -> tuple[Remark, ...]:
    if not names:
        return ()
    said = f"{', '.join(names)} are not used by this method"
    if len(names) == 1:
        said = f"{names[0]} is not used by this method"
    return (Remark(said, line=said),)


def _input_of(moment: Moment) -> str:
    """The input that chose this moment."""
    if moment.step >= 0:
        return "at_step"
    return "at_sigma" if moment.sigma > 0 else "at_percent"


def _refines(method: str) -> bool:
    return method not in GRADIENT_FREE and any(isinstance(recipe, Refine) for recipe in preset(method))


@functools.lru_cache(maxsize=64)
def _keys(method: str) -> frozenset[str]:
    """The keys of overrides that a method has."""
    if method in GRADIENT_FREE:
        edit = GRADIENT_FREE[method]()
        return frozenset(f.name for f in fields(edit) if f.name != "method" and isinstance(f.default, TYPED))
    return frozenset(key for recipe in preset(method) for key in keys_of(recipe))


def _own_pairs(method: str, text: str) -> tuple[str, list[str]]:
    """The text with spaces for the pairs that only other methods have, so that positions stay; their keys."""
    own, others = _keys(method), frozenset[str]().union(*map(_keys, [*METHODS, *GRADIENT_FREE]))
    left_out, at = [], 0
    while pair := PAIR.match(text, at):
        if pair["key"] in others - own:
            left_out.append(pair["key"])
            text = text[: pair.start()] + " " * (pair.end() - pair.start()) + text[pair.end() :]
        at = pair.end()
    return text, list(dict.fromkeys(left_out))
