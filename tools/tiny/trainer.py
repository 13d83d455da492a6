"""The training loop: one flat vector of weights, one optimiser step, averaged over a few single-thread
processes.

Two processes of one thread beat one process of two threads on a busy machine. Every draw of a step comes from
the seed and the step's number, so a resumed run sees what the killed one would have seen.
"""

import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from gsn_ops.report.drawing.canvas import to_image, wrap
from gsn_ops.report.drawing.cards import contact_sheet
from gsn_ops.report.drawing.charts import SMALL

from .captions import caption
from .dataset import Dataset, take
from .files import write_atomically
from .latent_frame import latent_to_rgb
from .recipe import Recipe, Stage
from .world import COLOURS, SHAPES

LOG_EVERY, LOOK_EVERY = 25, 400
log = logging.getLogger("train_tiny")


class Model:
    """The networks of one layout (`model_sd.SD`, `model_sd3.SD3`); their weights and gradients are views of
    flat vectors.
    """

    def __init__(self, layout, seed: int):
        torch.manual_seed(seed)
        self.nets = layout()
        self.flatten()

    def flatten(self) -> None:
        """Gather the weights of all networks; the average starts anew."""
        self.named = [
            (prefix + n, p)
            for part, prefix in self.nets.prefixes.items()
            for n, p in getattr(self.nets, part).named_parameters()
        ]
        self.flat = torch.nn.Parameter(torch.cat([p.detach().flatten() for _, p in self.named]))
        self.flat.grad = torch.zeros_like(self.flat)
        for (_, p), weight, grad in zip(self.named, self.views(self.flat.data), self.views(self.flat.grad)):
            p.data, p.grad = weight, grad
        self.ema = self.flat.detach().clone()

    def averaged(self) -> list[tuple[str, torch.Tensor]]:
        """Names and averages of the trained weights, then the weights that are not trained."""
        trained = [(name, view) for (name, _), view in zip(self.named, self.views(self.ema))]
        return trained + [
            (prefix + n, p)
            for part, prefix in getattr(self.nets, "frozen", {}).items()
            for n, p in getattr(self.nets, part).named_parameters()
        ]

    def views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """A flat vector as tensors of the parameters' shapes."""
        return [
            part.view_as(p)
            for part, (_, p) in zip(flat.split([p.numel() for _, p in self.named]), self.named)
        ]


def optimisers(model: Model, stage: Stage, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW; in a local stage Muon (Jordan et al., 2024) for the matrices of the blocks, at three times the
    rate.
    """
    if not stage.local:
        return [
            torch.optim.AdamW(
                [model.flat], lr=1.0, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
            )
        ]
    matrices = [p for name, p in model.named if "joint_blocks" in name and p.ndim == 2]
    others = [p for name, p in model.named if not ("joint_blocks" in name and p.ndim == 2)]
    return [
        torch.optim.AdamW(others, lr=1.0, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True),
        torch.optim.Muon(matrices, lr=3.0, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
    ]


def learning_rate(step: int, stage: Stage, recipe: Recipe) -> float:
    """Linear warm-up, flat, cosine down to a floor."""
    warm = min(1.0, (step + 1) / min(recipe.warm_up, max(1, stage.steps // 4)))
    done = max(0.0, (step / stage.steps - recipe.flat_until) / (1 - recipe.flat_until))
    return stage.lr * warm * (recipe.lr_floor + (1 - recipe.lr_floor) * (1 + math.cos(math.pi * done)) / 2)


def draw_batch(times, data: Dataset, stage: Stage, recipe: Recipe, step: int, rank: int, workers: int):
    """This worker's part of batch `step` -> Batch, times(n, generator, stage) [b], noise [b, 4, 32, 32], pad
    dropout [b] bool.
    """
    rng = np.random.default_rng([stage.seed, step])
    torch_rng = torch.Generator().manual_seed(stage.seed * 1_000_003 + step)
    scenes, size = len(data.images), recipe.batch
    place = np.arange(step * size, (step + 1) * size)
    orders = {e: np.random.default_rng([stage.seed, 7, e]).permutation(scenes) for e in set(place // scenes)}
    index = np.array([orders[p // scenes][p % scenes] for p in place])
    flip, blank, drop = (rng.uniform(size=size) < p for p in (0.5, recipe.blank, recipe.pad_dropout))
    t = times(size, torch_rng, stage)
    noise = torch.randn(size, 4, 32, 32, generator=torch_rng)
    mine = slice(rank, None, workers)
    return (
        take(data, index[mine], flip[mine], blank[mine]),
        t[mine],
        noise[mine],
        torch.from_numpy(drop[mine]),
    )


def look(model: Model, path: Path) -> None:
    """Sixteen images of the averaged weights, for a person to look at."""
    rng = np.random.default_rng(5)
    prompts = [
        caption([(COLOURS[c], SHAPES[s]) for c, s in zip(rng.permutation(6)[:n], rng.permutation(6)[:n])])
        for n in (1, 2, 2, 3) * 4
    ]
    if hasattr(model.nets, "prompts"):
        prompts = model.nets.prompts(len(prompts))
    now = model.flat.detach().clone()
    model.flat.data.copy_(model.ema)
    try:
        z = model.nets.draw(prompts, torch.randn(16, 4, 32, 32, generator=torch.Generator().manual_seed(5)))
    finally:
        model.flat.data.copy_(now)
    labels = ["\n".join(wrap(prompt, SMALL, 256)) for prompt in prompts]
    to_image(contact_sheet(list(latent_to_rgb(z).clamp(0, 1).numpy()), labels)).save(path)


class Checkpoint:
    """The state of a run in one file: weights, average, optimiser, place, loss curve."""

    def __init__(self, path: Path, fingerprint: str):
        self.path, self.fingerprint = path, fingerprint

    def save(self, model, chosen: list, stage: int, step: int, curve: list) -> None:
        state = {
            "fingerprint": self.fingerprint,
            "flat": model.flat.detach(),
            "ema": model.ema,
            "optimisers": [o.state_dict() for o in chosen],
            "stage": stage,
            "step": step,
            "curve": curve,
        }
        write_atomically(self.path, lambda f: torch.save(state, f))

    def load(self) -> dict | None:
        if not self.path.exists():
            return None
        state = torch.load(self.path, weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            raise SystemExit(
                f"{self.path} belongs to a run with another recipe or seed: delete it to start anew."
            )
        return state


def train(
    rank: int,
    workers: int,
    recipe: Recipe,
    data: list[Dataset],
    model: Model,
    checkpoint: Checkpoint,
    folder: Path,
    draw=draw_batch,
) -> list:
    """Run (or go on with) all stages on this worker; the loss curve [(stage, step, mse, attention), ...].

    draw: makes a batch of the data, as `draw_batch` does.
    """
    nets, curve = model.nets, []
    state, first, begin = checkpoint.load(), 0, 0
    if state:
        first, begin, curve = state["stage"], state["step"], [tuple(entry) for entry in state["curve"]]
        if any(stage.local for stage in recipe.stages[: first + (begin > 0)]):
            nets.grow()
            model.flatten()
        model.flat.data.copy_(state["flat"])
        model.ema.copy_(state["ema"])
    for number, stage in list(enumerate(recipe.stages))[first:]:
        if number and not begin:  # a new stage goes on from the average, with a new optimiser
            model.flat.data.copy_(model.ema)
            if stage.local and not recipe.stages[number - 1].local:
                nets.grow()
                model.flatten()
        chosen = optimisers(model, stage, recipe)
        rates = [group["lr"] for optimiser in chosen for group in optimiser.param_groups]
        for optimiser, saved in zip(chosen, state["optimisers"] if state and begin else ()):
            optimiser.load_state_dict(saved)
        last = stage.until or stage.steps
        recent, clock = [], time.monotonic()
        for step in range(begin, last):
            mse, attention = nets.losses(
                *draw(nets.times, data[number], stage, recipe, step, rank, workers), stage
            )
            model.flat.grad.zero_()
            (mse + attention).backward()
            if workers > 1:
                dist.all_reduce(model.flat.grad)
                model.flat.grad /= workers
            norm = float(model.flat.grad.norm())
            model.flat.grad *= min(1.0, recipe.clip / (norm + 1e-6))
            for optimiser, rate in zip(chosen, rates, strict=True):
                optimiser.param_groups[0]["lr"] = rate * learning_rate(step, stage, recipe)
                optimiser.step()
            model.ema.lerp_(model.flat.detach(), 1 - recipe.ema)
            recent.append((mse.item(), attention.item()))
            done = step + 1
            if rank == 0 and (done % min(LOG_EVERY, recipe.save_every) == 0 or done == last):
                mean = np.mean(recent, 0)
                curve.append((number, done, float(mean[0]), float(mean[1])))
                rate = len(recent) / (time.monotonic() - clock)
                log.info(
                    "%s %d/%d mse %.4f attention %.4f gradient %.2f, %.2f steps/s",
                    stage.name,
                    done,
                    stage.steps,
                    *mean,
                    norm,
                    rate,
                )
                recent, clock = [], time.monotonic()
            if rank == 0 and (done % LOOK_EVERY == 0 or done == last):
                look(model, folder / f"look_{number}_{done}.png")
            if rank == 0 and done % recipe.save_every == 0 and done < last:
                checkpoint.save(model, chosen, number, done, curve)
        begin = 0
        if rank == 0:
            checkpoint.save(model, chosen, number + 1, 0, curve)
    return curve
