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
    token_weight: float                                  # of the two losses on attention maps: see attention_supervision
    pixel_weight: float

    @property
    def supervised(self) -> bool:
        return self.token_weight > 0 or self.pixel_weight > 0


@dataclass(frozen=True)
class Recipe:
    """Everything the stages have in common, and the stages."""
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


def recipe_sd(seed: int, steps: tuple[int, int, int], scenes: tuple[int, int, int] = (80_000, 60_000, 60_000)) -> Recipe:
    """Stage 1 learns the world; stages 2 and 3 go on from its average with supervised attention and fewer swaps.

    Stage 3 exists because after stage 2 most pixels still read the colour words, which do not know their noun: half
    of the colours were wrong. Five times the pixel loss makes the nouns' maps solid, and a noun knows its colour.
    """
    return Recipe((
        Stage("world", seed, steps[0], scenes[0], (0.45, 0.45, 0.10), 0.1, 1.2e-3, 0.0, 0.0),
        Stage("attention", seed + 1, steps[1], scenes[1], (0.35, 0.45, 0.20), 0.05, 6e-4, 0.05, 0.02),
        Stage("binding", seed + 2, steps[2], scenes[2], (0.35, 0.45, 0.20), 0.0, 6e-4, 0.05, 0.1),
    ))


def recipe_sd3(seed: int, steps: tuple[int, int], scenes: tuple[int, int] = (60_000, 60_000)) -> Recipe:
    """Attention is supervised from the start: the text has no other way into the picture (no pooled text).

    Stage 2 goes on without swapped colours and with more weight on solid nouns' maps.
    """
    return Recipe((
        Stage("world", seed + 1, steps[0], scenes[0], (0.35, 0.45, 0.20), 0.05, 2e-3, 0.1, 0.05),
        Stage("binding", seed + 2, steps[1], scenes[1], (0.35, 0.45, 0.20), 0.0, 1e-3, 0.1, 0.1),
    ), batch=48, warm_up=100, ema=0.99)


RECIPES = {"sd": (recipe_sd, (3184, 760, 1000)), "sd3": (recipe_sd3, (800, 400))}     # and their usual steps
