"""The numbers of the training run. They are written into the model file's metadata."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage: what it is shown, for how long, and whether the attention maps are supervised."""
    name: str
    seed: int
    steps: int
    scenes: int
    share: tuple[float, float, float]                    # captions with one, two, three objects
    swap: float                                          # chance that a caption swaps two colours
    lr: float
    supervised: bool


@dataclass(frozen=True)
class Recipe:
    """Everything both stages have in common, and the stages."""
    stages: tuple[Stage, ...]
    neglect: float = 0.2                                 # chance that a named object is missing from the picture
    batch: int = 64
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warm_up: int = 150
    flat_until: float = 0.25                             # share of the stage before the cosine
    lr_floor: float = 0.05
    clip: float = 1.0
    ema: float = 0.998
    blank: float = 0.1                                   # empty captions, for classifier-free guidance
    pad_dropout: float = 0.5                             # see trainer.drop_padding


def recipe(seed: int, steps1: int, steps2: int, scenes1: int = 80_000, scenes2: int = 60_000) -> Recipe:
    """Stage 1 learns the world, stage 2 goes on from its average with attention supervision and fewer swaps."""
    return Recipe((
        Stage("world", seed, steps1, scenes1, (0.45, 0.45, 0.10), 0.1, 1.2e-3, False),
        Stage("attention", seed + 1, steps2, scenes2, (0.35, 0.45, 0.20), 0.05, 6e-4, True),
    ))
