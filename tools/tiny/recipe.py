"""The numbers of the training run. They are written into the model file's metadata."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage: what it is shown, for how long, and whether the attention maps are supervised."""

    name: str
    seed: int
    steps: int
    scenes: int
    share: tuple[float, float, float]  # captions with one, two, three objects
    swap: float  # chance that a caption swaps two colours
    lr: float
    token_weight: float  # of the two losses on attention maps: see attention_supervision
    pixel_weight: float
    middle: bool = False  # of a flow: more of the times in which shapes are decided
    until: int = 0  # leave the stage at this step of its schedule (0 = at the end)
    local: bool = False  # of an MM-DiT: see model_sd3.SD3.grow; and see trainer.optimisers

    @property
    def supervised(self) -> bool:
        return self.token_weight > 0 or self.pixel_weight > 0


@dataclass(frozen=True)
class Recipe:
    """Everything the stages have in common, and the stages."""

    stages: tuple[Stage, ...]
    neglect: float = 0.2  # chance that a named object is missing from the image
    batch: int = 64
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warm_up: int = 150
    flat_until: float = 0.25  # share of the stage before the cosine
    lr_floor: float = 0.05
    clip: float = 1.0
    ema: float = 0.998
    blank: float = 0.1  # empty captions, for classifier-free guidance
    pad_dropout: float = 0.5  # see trainer.drop_padding
    save_every: int = 100


@dataclass(frozen=True)
class Distillation(Recipe):
    """A recipe that learns from another model's trajectories while they are made: see turbo.

    teacher_steps, teacher_cfg: of a trajectory. windows: straight lines of the student. part: trajectories
    made at once; first_parts before the first update, then one part every part_every updates.
    """

    teacher_steps: int = 8
    teacher_cfg: float = 4.0
    windows: int = 4
    times: tuple[float, float, float] = (0.5, 0.3, 0.2)  # states of 4 steps, the other ones of 8, any time
    part: int = 24
    first_parts: int = 3
    part_every: int = 12

    def parts(self, step: int) -> int:
        """How many parts there are at this update."""
        return self.first_parts + step // self.part_every


def recipe_sd(
    seed: int, steps: tuple[int, int, int], scenes: tuple[int, int, int] = (80_000, 60_000, 60_000)
) -> Recipe:
    """Stage 1 learns the world; stages 2 and 3 go on from its average with supervised attention and fewer
    swaps.

    Stage 3 exists because after stage 2 most pixels still read the colour words, which do not know their
    noun: half of the colours were wrong. Five times the pixel loss makes the nouns' maps solid, and a noun
    knows its colour.
    """
    return Recipe(
        (
            Stage("world", seed, steps[0], scenes[0], (0.45, 0.45, 0.10), 0.1, 1.2e-3, 0.0, 0.0),
            Stage("attention", seed + 1, steps[1], scenes[1], (0.35, 0.45, 0.20), 0.05, 6e-4, 0.05, 0.02),
            Stage("binding", seed + 2, steps[2], scenes[2], (0.35, 0.45, 0.20), 0.0, 6e-4, 0.05, 0.1),
        )
    )


def recipe_sd3(seed: int, steps: tuple[int, ...], scenes: tuple[int, ...] = (60_000,) * 5) -> Recipe:
    """Attention is supervised from the start: the text has no other way into the image (no pooled text).

    Stage 2 goes on without swapped colours, with more weight on solid nouns' maps, and spends its time where
    shapes are decided: after stage 1 places and colours were right, shapes were blobs. It was left early:
    they stayed blobs. For stage 3 the image gets a second attention of its own that starts local; stage 5 is
    the same with whole texts again.
    """
    return Recipe(
        (
            Stage("world", seed + 1, steps[0], scenes[0], (0.35, 0.45, 0.20), 0.05, 2e-3, 0.1, 0.05),
            Stage(
                "binding",
                seed + 2,
                steps[1],
                scenes[1],
                (0.35, 0.45, 0.20),
                0.0,
                1.5e-3,
                0.1,
                0.1,
                middle=True,
                until=500,
            ),
            Stage(
                "shapes",
                seed + 3,
                steps[2],
                scenes[2],
                (0.35, 0.45, 0.20),
                0.0,
                1e-3,
                0.0,
                0.0,
                middle=True,
                local=True,
            ),
            Stage(
                "more",
                seed + 4,
                steps[3],
                scenes[3],
                (0.35, 0.45, 0.20),
                0.0,
                1e-3,
                0.0,
                0.0,
                middle=True,
                local=True,
            ),
            Stage(
                "whole",
                seed + 5,
                steps[4],
                scenes[4],
                (0.35, 0.45, 0.20),
                0.0,
                3e-4,
                0.1,
                0.1,
                middle=True,
                local=True,
            ),
        ),
        batch=48,
        warm_up=100,
        ema=0.99,
    )


def recipe_turbo(seed: int, steps: tuple[int, ...], scenes: tuple[int, ...] = (0,)) -> Distillation:
    """One stage. Most captions have several objects: one is easy. scenes is unused: parts have them."""
    stage = Stage("turbo", seed + 6, steps[0], scenes[0], (0.2, 0.35, 0.45), 0.0, 6e-4, 0.0, 0.0)
    return Distillation(
        (stage,),
        neglect=0.0,
        batch=16,
        warm_up=20,
        flat_until=0.7,
        ema=0.98,
        blank=0.0,
        pad_dropout=0.0,
        save_every=12,
    )


def recipe_instruct(seed: int, steps: tuple[int, ...], scenes: tuple[int, ...] = (0,)) -> Recipe:
    """One stage from the demo UNet on. scenes is unused: pairs are drawn as they are needed."""
    stage = Stage("edit", seed + 7, steps[0], scenes[0], (0.3, 0.5, 0.2), 0.0, 8e-4, 0.0, 0.0)
    return Recipe((stage,), neglect=0.0, batch=16, warm_up=50, ema=0.99, blank=0.0, pad_dropout=0.0)


RECIPES = {
    "sd": (recipe_sd, (3184, 760, 1000)),
    "sd-instruct": (recipe_instruct, (3000,)),
    "sd3": (recipe_sd3, (800, 800, 500, 2400, 200)),
    "sd3-turbo": (recipe_turbo, (320,)),
}  # and their usual steps
