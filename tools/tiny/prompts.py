"""Test prompts of the shapes world: fixed lists, so that two runs and two people compare the same images.

Two splits that never meet: "validation" to choose numbers with (the step, the learning rate), "test" to
report them. They share neither a prompt (a hash of the prompt's words decides which split it belongs to) nor
a noise seed. Shapes and colours within a prompt all differ, as in training. Pairs that training never showed
together are part of both splits, and flagged.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from .captions import caption
from .world import COLOURS, SHAPES, SLOTS, has_hold_out

FIRST_SEED = {"validation": 100_000, "test": 200_000}
MOST = 50_000  # prompts per list, far below the distance of the seeds


@dataclass(frozen=True)
class Prompt:
    """text; wanted: (colour or None, shape) in the order of the text; seed of its noise; hold_out: see
    world.
    """

    text: str
    wanted: tuple[tuple[str | None, str], ...]
    seed: int
    hold_out: bool


def split_of(text: str) -> str:
    """The split a prompt's text belongs to, for ever."""
    return "validation" if hashlib.sha256(text.encode()).digest()[0] % 2 else "test"


def prompts(n_objects: int, count: int, split: str, coloured: bool = True, seed: int = 0) -> list[Prompt]:
    """The first `count` prompts of a list: a longer list starts with the shorter one.

    The text may repeat (there are few uncoloured prompts); the seed never does. `seed` chooses another list.
    Raises ValueError for an unknown split, a number of objects outside 1..3, or too many prompts.
    """
    if split not in FIRST_SEED:
        raise ValueError(f"No split {split!r}: there are {' and '.join(FIRST_SEED)}.")
    if not 1 <= n_objects <= SLOTS:
        raise ValueError(f"The shapes world has 1 to {SLOTS} objects in an image, not {n_objects}.")
    if count > MOST:
        raise ValueError(f"At most {MOST} prompts in a list, not {count}.")
    rng = np.random.default_rng([seed, n_objects, int(coloured)])
    chosen = []
    while len(chosen) < count:
        shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))[:n_objects]]
        colours = [COLOURS[i] for i in rng.permutation(len(COLOURS))[:n_objects]]
        wanted = tuple(zip(colours if coloured else [None] * n_objects, shapes))
        text = caption(wanted)
        if split_of(text) == split:
            chosen.append(Prompt(text, wanted, FIRST_SEED[split] + len(chosen), has_hold_out(shapes)))
    return chosen
