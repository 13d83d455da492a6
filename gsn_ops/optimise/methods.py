"""All methods by the name shown to users: the published ones, and those of other packs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .auto import AUTO, auto
from .gradient_free import GRADIENT_FREE
from .published_methods import PUBLISHED, Recipes
from .recipe import Recipe, SingleStepRecipe

_METHODS: dict[str, Callable[[], Recipes]] = {AUTO: lambda: (auto(),), **PUBLISHED}
METHODS: tuple[str, ...] = tuple(PUBLISHED)
"""The methods that come with the pack and update the latent by a gradient."""


def methods() -> list[str]:
    """All methods: the default, those that come with the pack, those of other packs."""
    ours = [AUTO, *METHODS, *GRADIENT_FREE]
    return [*ours, *(name for name in _METHODS if name not in ours)]


def register_method(name: str, recipes: Callable[[], Recipes]) -> None:
    """Make a method known under the name shown to users.

    Raises ValueError if the name is taken, TypeError for anything but a text and a function.
    """
    if not isinstance(name, str) or not callable(recipes):
        raise TypeError(
            f"The method {name!r} cannot be registered: give its name as a text, and a function that returns "
            "a tuple of recipes."
        )
    if name in methods():
        raise ValueError(f"The method '{name}' is already taken: choose another name.")
    _METHODS[name] = recipes


def acts_at_one_step(method: str) -> bool:
    """Whether a method does something at a single step, which the user may move."""
    return method in _METHODS and any(isinstance(r, SingleStepRecipe) for r in preset(method))


def preset(method: str) -> Recipes:
    """The recipes of a method, each under its name, to be adjusted with `dataclasses.replace`.

    Raises ValueError that lists the methods, TypeError for a method of another pack that is no tuple of
    recipes.
    """
    if method not in _METHODS:
        raise ValueError(f"Unknown method '{method}': choose one of {', '.join(methods())}.")
    recipes = _METHODS[method]()
    listed = isinstance(recipes, tuple | list) and len(recipes) > 0
    if not (listed and all(isinstance(recipe, Recipe) for recipe in recipes)):
        raise TypeError(
            f"The function of the method '{method}' must return a tuple of recipes, not {recipes!r}: "
            "this is for the pack that registered it to change."
        )
    return tuple(replace(recipe, method=method) for recipe in recipes)
