"""The SD3-like demo model distilled to 4 and 8 steps without guidance: a piecewise rectified flow (Yan et
al., 2024).

The teacher's guided trajectories are cut where a run of 4 steps has its states. Within each of the four
windows the student learns one straight line from the teacher's first state to its last: 4 steps follow the
lines from end to end, 8 steps ask once more half-way. Guidance is in the trajectories, which are made while
the student learns. The text encoders stay the teacher's.
"""

import logging
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from . import mmdit
from .captions import encode, write_captions
from .dataset import EMPTY
from .files import write_atomically
from .model_sd3 import SD3
from .recipe import Distillation, Stage
from .world import sample_scenes

TEACHER = Path(__file__).resolve().parents[2] / "models" / "tiny_sd3_shapes.safetensors"
STEPS = 8  # of the run whose states lie half-way through the windows
log = logging.getLogger("train_tiny")


def shifted(u: torch.Tensor) -> torch.Tensor:
    """Share of the steps left, in [0, 1] -> time of the flow."""
    return mmdit.SHIFT * u / (1 + (mmdit.SHIFT - 1) * u)


def bars(windows: int) -> torch.Tensor:
    """The times at which the windows meet, from 1 down to 0 -> [windows + 1]."""
    return shifted(torch.linspace(1, 0, windows + 1))


def attention(function, q, k, v, heads, *args, **kwargs):
    """ComfyUI's `optimized_attention_override`: torch's own, the fastest here in float32."""
    q, k = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k))  # (B, heads, tokens, 64)
    v = (v if v.ndim == 4 else v.unflatten(-1, (heads, -1))).transpose(1, 2)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Turbo(SD3):
    """SD3's networks with the teacher's weights, of which only the MM-DiT is trained."""

    prefixes = {"network": SD3.prefixes["network"]}
    frozen = {name: SD3.prefixes[name] for name in ("clip", "t5")}

    def __init__(self, teacher: Path = TEACHER):
        super().__init__()
        super().grow()
        tensors = safetensors.torch.load_file(teacher)
        for part, prefix in SD3.prefixes.items():
            weights = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
            getattr(self, part).load_state_dict(weights)

    def grow(self) -> None:
        """The teacher has grown already."""

    def velocity(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """x [n, 4, 32, 32], t [n], context [n, 154, 64] -> [n, 4, 32, 32] float32."""
        options = {"optimized_attention_override": attention}
        return self.network(x, t * mmdit.STEPS, context, transformer_options=options).float()

    @torch.no_grad()
    def states(self, rows: torch.Tensor, noise: torch.Tensor, recipe: Distillation) -> torch.Tensor:
        """Guided steps of second order (Adams-Bashforth) -> the states at the `bars`, the noise left out [n,
        windows, 4, 32, 32].

        On this model 8 of them end where 16 Euler steps do, about. rows [n, 77] int64; noise [n, 4, 32, 32].
        """
        context = self.text(torch.cat([rows, torch.from_numpy(EMPTY).long()[None]]))
        both = torch.cat([context[:-1], context[-1:].expand(len(rows), -1, -1)])  # (2n, 154, 64)
        grid, kept, x = shifted(torch.linspace(1, 0, recipe.teacher_steps + 1)), [], noise
        lengths, before = grid.diff(), None
        for i, now in enumerate(grid[:-1]):
            positive, negative = self.velocity(torch.cat([x, x]), now.repeat(len(both)), both).chunk(2)
            velocity, line = negative + recipe.teacher_cfg * (positive - negative), 0.0
            if before is not None:
                line = lengths[i] / (2 * lengths[i - 1]) * (velocity - before)
            x, before = x + lengths[i] * (velocity + line), velocity
            if (i + 1) % (recipe.teacher_steps // recipe.windows) == 0:
                kept.append(x)
        return torch.stack(kept, 1)

    def losses(self, rows, x, t, velocity, stage: Stage):
        """MSE of the velocity of `draw_batch`'s lines, and no supervision of attention -> two scalars."""
        with torch.no_grad():
            context = self.text(rows)
        return (self.velocity(x, t, context) - velocity).square().mean(), torch.zeros(())

    @torch.no_grad()
    def draw(self, prompts: list[str], noise: torch.Tensor) -> torch.Tensor:
        """Latents of captions in 8 steps without guidance."""
        context = self.text(torch.from_numpy(np.stack([encode(p) for p in prompts])).long())
        x, grid = noise, bars(STEPS)
        for now, after in zip(grid[:-1], grid[1:]):
            x = x + (after - now) * self.velocity(x, now.repeat(len(x)), context)
        return x


class Trajectories:
    """The teacher's trajectories of a recipe, in files: made when they are first needed, else read."""

    def __init__(self, folder: Path, recipe: Distillation):
        seed, steps, cfg = recipe.stages[0].seed, recipe.teacher_steps, recipe.teacher_cfg
        self.folder = folder / f"trajectories_{seed}_{steps}_{cfg}_{recipe.windows}_{recipe.part}"
        self.recipe, self.teacher = recipe, None
        self.rows, self.states = [], []  # of each part: see make

    def make(self, number: int) -> dict[str, np.ndarray]:
        """Part `number`: captions' rows [n, 77] uint8; states [n, windows + 1, 4, 32, 32] float16, from noise
        to image.
        """
        self.teacher = self.teacher or Turbo()
        stage, size = self.recipe.stages[0], self.recipe.part
        rng = np.random.default_rng([stage.seed, number])
        generator = torch.Generator().manual_seed(stage.seed * 100_003 + number)
        noise = torch.randn(size, 4, 32, 32, generator=generator)
        captions = write_captions(rng, sample_scenes(rng, size, stage.share), stage.swap)
        rows = np.stack([encode(text) for text in captions])
        states = self.teacher.states(torch.from_numpy(rows).long(), noise, self.recipe)
        return {"rows": rows, "states": torch.cat([noise[:, None], states], 1).half().numpy()}

    def until(self, parts: int) -> int:
        """Have so many parts -> how many trajectories they are."""
        while len(self.rows) < parts:
            path = self.folder / f"{len(self.rows)}.npz"
            if not path.exists():
                part = self.make(len(self.rows))
                write_atomically(path, lambda f, part=part: np.savez(f, **part))
            with np.load(path) as part:
                self.rows.append(part["rows"])
                self.states.append(part["states"])
        return parts * self.recipe.part

    def take(self, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows [b, 77] int64 and states [b, windows + 1, 4, 32, 32] float32 of some trajectories."""
        at = [divmod(i, self.recipe.part) for i in index.tolist()]
        rows, states = (np.stack([parts[p][i] for p, i in at]) for parts in (self.rows, self.states))
        return torch.from_numpy(rows).long(), torch.from_numpy(states).float()


def places(n: int, recipe: Distillation, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of a batch, equally often each, and times in them [n]: of a state of 4 steps, of 8, or any."""
    window = torch.from_numpy(rng.permutation(np.arange(n) % recipe.windows))
    first, last = bars(recipe.windows)[window], bars(recipe.windows)[window + 1]
    middle = bars(STEPS)[2 * window + 1]
    anywhere = first + torch.from_numpy(rng.uniform(size=n)).float() * (last - first)
    choice = torch.from_numpy(rng.choice(3, size=n, p=recipe.times))
    return window, torch.where(choice == 0, first, torch.where(choice == 1, middle, anywhere))


def draw_batch(
    _times, data: Trajectories, stage: Stage, recipe: Distillation, step: int, rank: int, workers: int
):
    """This worker's part of batch `step` -> rows [b, 77], points x [b, 4, 32, 32] on the lines, their times t
    [b], the lines' velocity [b, 4, 32, 32].
    """
    rng = np.random.default_rng([stage.seed, 11, step])
    rows, states = data.take(rng.choice(data.until(recipe.parts(step)), recipe.batch, replace=False))
    window, t = places(recipe.batch, recipe, rng)
    flip = torch.from_numpy(rng.uniform(size=recipe.batch) < 0.5)
    states = torch.where(flip.view(-1, 1, 1, 1, 1), states.flip(-1), states)
    at, meet = torch.arange(recipe.batch), bars(recipe.windows)
    first, last = states[at, window], states[at, window + 1]
    velocity = (first - last) / (meet[window] - meet[window + 1]).view(-1, 1, 1, 1)
    x = first + (t - meet[window]).view(-1, 1, 1, 1) * velocity
    mine = slice(rank, None, workers)
    return rows[mine], x[mine], t[mine], velocity[mine]
