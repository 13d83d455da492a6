"""Captions of the shapes world and their tokens, as stock CLIP sees them.

Every word of this vocabulary is one token of CLIP's byte pair encoding, so the demo model needs no tokenizer
of its own: training looks the ids up here, ComfyUI's tokenizer finds the same ids later (a test compares the
two).
"""

import numpy as np

from .world import COLOURS, SHAPES, Scenes

START, END = "<|startoftext|>", "<|endoftext|>"
TOKEN_IDS = {
    START: 49406,
    END: 49407,
    "a": 320,
    "photo": 1125,
    "of": 539,
    "and": 537,
    ",": 267,
    "red": 736,
    "green": 1901,
    "blue": 1746,
    "yellow": 4481,
    "purple": 5496,
    "black": 1449,
    "circle": 7117,
    "square": 3999,
    "triangle": 14615,
    "star": 1565,
    "cross": 3417,
    "heart": 1936,
}
WORDS = tuple(TOKEN_IDS)  # row r of the trained embedding belongs to WORDS[r]
ROW = {word: row for row, word in enumerate(WORDS)}
LENGTH = 77
PREFIX = "a photo of "


def caption(objects, photo: bool = False) -> str:
    """[(colour or None, shape), ...] -> "a red circle, a blue square and a green star"."""
    names = [f"a {colour} {shape}" if colour else f"a {shape}" for colour, shape in objects]
    text = names[-1] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    return (PREFIX if photo else "") + text


def parse(text: str) -> list[tuple[str | None, str]]:
    """The objects a caption names. Raises ValueError for a word outside the vocabulary."""
    objects, colour = [], None
    for word in text.replace(",", " , ").split():
        if word not in ROW:
            raise ValueError(
                f"{word!r} is not a word of the shapes world; its words are: {', '.join(WORDS[2:])}."
            )
        if word in COLOURS:
            colour = word
        elif word in SHAPES:
            objects.append((colour, word))
            colour = None
    return objects


def encode(text: str) -> np.ndarray:
    """Rows of the trained embedding, padded with the end token as SD1 does -> [77] uint8."""
    words = [START, *text.replace(",", " , ").split()]
    rows = [ROW[word] for word in words]
    return np.array(rows + [ROW[END]] * (LENGTH - len(rows)), np.uint8)


def write_captions(
    rng: np.random.Generator, scenes: Scenes, swap: float = 0.0, coloured: float = 0.7, photo: float = 0.25
) -> list[str]:
    """One caption per scene, of the objects it names, drawn or not. swap: chance that two colours change
    places.
    """
    n = len(scenes.named)
    swaps, colour, photos = (rng.uniform(size=n) < p for p in (swap, coloured, photo))
    texts = []
    for i in range(n):
        objects = scenes.objects(i)
        if swaps[i] and len(objects) > 1:
            (a, first), (b, second) = objects[:2]
            objects[:2] = [(b, first), (a, second)]
        texts.append(caption(objects if colour[i] else [(None, shape) for _, shape in objects], photos[i]))
    return texts


def object_columns(rows: np.ndarray, scenes: Scenes) -> np.ndarray:
    """Where the captions' words stand: rows [n, 77] -> [n, 3 slots, (noun, colour)] int64, -1 for a missing
    word.
    """
    noun_rows = np.array([ROW[s] for s in SHAPES])
    colour_rows = [ROW[c] for c in COLOURS]
    columns = np.full((len(rows), scenes.shapes.shape[1], 2), -1, np.int64)
    for j in range(columns.shape[1]):
        hit = rows == noun_rows[scenes.shapes[:, j]][:, None]  # [n, 77]; shapes of a scene all differ
        there = hit.any(1) & (scenes.named > j)
        noun = hit.argmax(1)
        columns[there, j, 0] = noun[there]
        painted = there & np.isin(rows[np.arange(len(rows)), noun - 1], colour_rows)
        columns[painted, j, 1] = noun[painted] - 1
    return columns
