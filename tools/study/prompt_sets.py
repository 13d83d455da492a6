"""The prompts of a study: TIAM's templates, a file with one prompt a line, or those of the demo models.

TIAM (Grimal et al., WACV 2024): 24 labels of COCO, 6 colours, every prompt with different labels and colours.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.tiny.prompts import prompts

LABELS = (
    "bicycle", "car", "motorcycle", "truck", "donut", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "banana", "apple", "broccoli", "carrot", "chair", "couch", "oven",
    "refrigerator",
)  # fmt: skip
COLOURS = ("red", "yellow", "green", "blue", "purple", "pink")
SETS = {
    "2 entities": (2, False),
    "3 entities": (3, False),
    "2 coloured": (2, True),
    "3 coloured": (3, True),
}
"""Set of TIAM -> (entities, with colours?)."""
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class AskedPrompt:
    """set: its column in tables. subjects: typed for the nodes; "" = found in the text. coloured: are colours
    judged?
    """

    set: str
    text: str
    subjects: str = ""
    coloured: bool = False


def tiam(name: str, count: int, split: str) -> list[AskedPrompt]:
    """The first `count` prompts of a set and split; a longer list starts with the shorter one.

    Validation and test have no prompt in common: a hash of the words decides.
    """
    entities, coloured = SETS[name]
    found: dict[str, AskedPrompt] = {}
    rng = random.Random(f"{entities} {coloured}")
    for _ in range(200 * count):
        if len(found) == count:
            break
        labels = rng.sample(LABELS, entities)
        colours = rng.sample(COLOURS, entities) if coloured else [""] * entities
        things = [" ".join(filter(None, pair)) for pair in zip(colours, labels, strict=True)]
        text = f"a photo of {listed([with_article(thing) for thing in things])}"
        if SPLITS[hashlib.sha256(text.encode()).digest()[0] % 2] == split:
            found.setdefault(text, AskedPrompt(name, text, ", ".join(things), coloured))
    return list(found.values())


def with_article(thing: str) -> str:
    """ "an oven", "a red oven"."""
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def listed(things: Sequence[str]) -> str:
    """ "a, b and c"."""
    return f"{', '.join(things[:-1])} and {things[-1]}"


def shapes(count: int, split: str) -> list[AskedPrompt]:
    """Prompts of the demo models, two and three coloured shapes."""
    return [
        AskedPrompt(f"{objects} shapes", prompt.text, coloured=True)
        for objects in (2, 3)
        for prompt in prompts(objects, count, split)
    ]


def read_prompts(file: Path) -> tuple[list[AskedPrompt], str]:
    """The prompts of a file, one a line, subjects behind a tab; and a sentence about lines left out.

    Raises ValueError that names the line for subjects without a prompt, and for a file without any.
    """
    found: dict[str, AskedPrompt] = {}
    left_out = 0
    for number, line in numbered_lines(file):
        text, _, subjects = (part.strip() for part in line.partition("\t"))
        if not text and subjects:
            raise ValueError(
                f"{file}, line {number} has subjects and no prompt: write the prompt before the tab."
            )
        if not text or text in found:
            left_out += 1
            continue
        found[text] = AskedPrompt(file.stem, text, subjects)
    if not found:
        raise ValueError(f"{file} has no prompt: write one a line.")
    said = f"{left_out} empty or repeated lines of {file.name} were left out." if left_out else ""
    return list(found.values()), said


def numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line). Raises ValueError for a file that is no text."""
    try:
        yield from enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read as text in UTF-8 ({type(error).__name__}).") from None
