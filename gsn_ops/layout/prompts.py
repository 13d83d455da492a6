"""Prompts of a layout: of the whole image, per object, negative (LMD, Lian et al., TMLR 2024)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..plurals import is_plural, plural
from .layout import Layout

UNWANTED = "artifacts, blurry, smooth texture, bad quality, distortions, unrealistic, distorted image"
"""Ours, in the spirit of LMD's list."""
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
ARTICLE = re.compile(r"^(?:an?|the|one)\s+", re.IGNORECASE)
BEHIND_NOUN = re.compile(
    r"\s(?:in|on|at|with|of|wearing|holding|under|near|that|which|from|by)\s|,", re.IGNORECASE
)


def counted(name: str, n: int) -> str:
    """n objects of a name: "a red apple" -> "two red apples"; the noun before a preposition is counted."""
    if n == 1:
        return name
    bare = ARTICLE.sub("", name)
    behind = BEHIND_NOUN.search(bare)
    noun, rest = (bare[: behind.start()], bare[behind.start() :]) if behind else (bare, "")
    if not noun.isascii():
        return f"{name} x{n}"
    first, _, counted_noun = noun.partition(" ")
    if counted_noun and (each := _number(first.lower())) > 1:  # boxes of "two dogs" each
        return f"{_in_words(each * n)} {counted_noun}{rest}"
    if bare == name and is_plural(noun):
        return name
    return f"{_in_words(n)} {plural(noun)}{rest}"


def _number(word: str) -> int:
    in_words = {number: n for n, number in enumerate(NUMBERS)}
    return in_words.get(word, int(word) if word.isdigit() and len(word) < 4 else 0)


def _in_words(n: int) -> str:
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def listed(parts: Sequence[str]) -> str:
    """ "a cat", "a cat and a dog", "a cat, a dog and a bird"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def overall_prompt(layout: Layout) -> str:
    """ "{background} with {objects}", equal names merged; the source's own description where it has one and
    names every object.
    """
    counts: dict[str, int] = {}
    for placed in layout.objects:
        counts[placed.name] = counts.get(placed.name, 0) + 1
    description = layout.description.lower()
    if description and all(name.lower() in description for name in counts):
        return layout.description
    objects = listed([counted(name, n) for name, n in counts.items()])
    return f"{_open(layout.background)} with {objects}" if layout.background else objects


def object_prompts(layout: Layout) -> list[str]:
    """ "{background} with {object}" for each box."""
    if not layout.background:
        return [placed.name for placed in layout.objects]
    return [f"{_open(layout.background)} with {placed.name}" for placed in layout.objects]


def negative_prompt(layout: Layout, standard: bool = True) -> str:
    """What the layout excludes, before the standard list."""
    return ", ".join(part for part in (layout.negative, UNWANTED if standard else "") if part)


def _open(background: str) -> str:
    """A background to go on behind: without its full stop."""
    return background.rstrip(" .,;")
