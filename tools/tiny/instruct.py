"""The UNet demo model taught to edit a given picture, in InstructPix2Pix's layout (Brooks et al., CVPR 2023).

The first convolution gets four more input channels, which see the given picture and begin at zero. Pairs
are drawn: a scene, and the same scene in which one object has another colour, another shape, or both. The
text says what to do: "make the red circle a green star". "make" and "the" are words that the text encoder
does not know, and it stays as it is: their places tell the UNet enough. Text and picture are each left out
now and then, so that both can be guided.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from . import denoiser
from .attention_supervision import Attention
from .captions import END, LENGTH, ROW, START, WORDS
from .dataset import EMPTY
from .latent_frame import rgb_to_latent
from .model_sd import SD
from .recipe import Recipe, Stage
from .world import COLOURS, PALETTE, SHAPES, Scenes, render, sample_scenes

BEFORE = Path(__file__).resolve().parents[2] / "models" / "tiny_sd_shapes.safetensors"
FIRST = "input_blocks.0.0.weight"
LEFT_OUT = 0.05
"""Of the text alone, the picture alone, and both, as published."""
ONLY = ("colour", "shape", "both")
UNKNOWN = len(WORDS)
"""Row of the embedding of all words that the encoder does not know."""
GUIDANCE = (7.5, 1.5)
"""Of the text and of the picture, as published."""


class InstructSD(SD):
    """SD's networks with the demo model's weights; only the UNet is trained."""

    prefixes = {"unet": SD.prefixes["unet"]}
    frozen = {"text": SD.prefixes["text"]}

    def __init__(self, before: Path = BEFORE):
        super().__init__()
        tensors = safetensors.torch.load_file(before)
        for part, prefix in SD.prefixes.items():
            weights = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
            getattr(self, part).load_state_dict(weights)
        self.unet = with_picture(self.unet)

    def losses(self, pairs: "Pairs", t: torch.Tensor, noise: torch.Tensor, stage: Stage):
        """Weighted eps-MSE of the edited picture, and no supervision of attention -> two scalars."""
        a = self.abar[t]  # [b]
        x = a.sqrt().view(-1, 1, 1, 1) * pairs.after + (1 - a).sqrt().view(-1, 1, 1, 1) * noise
        with torch.no_grad():
            context = self.text(pairs.rows)
        options = Attention(record=False).options()
        eps = self.unet(torch.cat([x, pairs.before], 1), t.float(), context, transformer_options=options)
        error = (eps - noise).square().mean((1, 2, 3))  # [b]
        return (denoiser.loss_weight(a) * error).mean(), torch.zeros(())

    def prompts(self, count: int) -> list[str]:
        """The instructions of the pictures that `draw` edits."""
        return pairs_of(np.random.default_rng(5), count).texts

    @torch.no_grad()
    def draw(self, prompts: list[str], noise: torch.Tensor, steps: int = 25) -> torch.Tensor:
        """Latents [n, 4, 32, 32] of the edits of `prompts`, for looking at a model while it trains."""
        given, n = pairs_of(np.random.default_rng(5), len(prompts)).before, len(prompts)
        rows = torch.from_numpy(np.stack([*(instruction_rows(p) for p in prompts), EMPTY])).long()
        options, abar, x = Attention().options(), denoiser.alphas_cumprod(), noise
        context = self.text(rows)
        empty = context[-1:].expand(n, -1, -1)
        text = torch.cat([context[:-1], empty, empty])
        picture = torch.cat([given, given, torch.zeros_like(given)])
        grid = torch.linspace(denoiser.STEPS - 1, 0, steps + 1).round().long()
        for now, after in zip(grid[:-1], grid[1:]):
            seen = torch.cat([x.repeat(3, 1, 1, 1), picture], 1)
            found = self.unet(seen, now.repeat(3 * n).float(), text, transformer_options=options)
            full, alone, none = found.chunk(3)
            eps = none + GUIDANCE[1] * (alone - none) + GUIDANCE[0] * (full - alone)
            x0 = (x - (1 - abar[now]).sqrt() * eps) / abar[now].sqrt()
            x = abar[after].sqrt() * x0 + (1 - abar[after]).sqrt() * eps
        return x0


def with_picture(unet: nn.Module) -> nn.Module:
    """The UNet with four more input channels, to which it pays no attention yet."""
    wide = denoiser.build(in_channels=8)
    weights = dict(unet.state_dict())
    weights[FIRST] = torch.cat([weights[FIRST], torch.zeros_like(weights[FIRST])], 1)
    wide.load_state_dict(weights)
    return wide


@dataclass(frozen=True)
class Pairs:
    """before, after [b, 4, 32, 32]: latents; rows [b, 77] int64 and texts: of the instructions."""

    before: torch.Tensor
    after: torch.Tensor
    rows: torch.Tensor
    texts: list[str]


def instruction(old: tuple[str, str], new: tuple[str, str]) -> str:
    """(colour, shape) of an object before and after -> "make the red circle a green star"."""
    return f"make the {' '.join(old)} a {' '.join(new)}"


def instruction_rows(text: str) -> np.ndarray:
    """Rows of the trained embedding, as `captions.encode`, for texts with unknown words -> [77] uint8."""
    rows = [ROW[START], *(ROW.get(word, UNKNOWN) for word in text.split())]
    return np.array(rows + [ROW[END]] * (LENGTH - len(rows)), np.uint8)


def edited(rng: np.random.Generator, scenes: Scenes) -> tuple[Scenes, list[str]]:
    """The scenes with one object of each changed, and the instructions."""
    shapes, colours, paint, texts = scenes.shapes.copy(), scenes.colours.copy(), scenes.paint.copy(), []
    for i, named in enumerate(scenes.named):
        slot, what = int(rng.integers(named)), ONLY[rng.integers(3)]
        old = COLOURS[colours[i, slot]], SHAPES[shapes[i, slot]]
        if what != "shape":
            free = [c for c in range(len(COLOURS)) if c not in colours[i, :named]]
            colours[i, slot] = rng.choice(free)
            tint = paint[i, slot] - np.array(PALETTE[old[0]])
            paint[i, slot] = np.clip(np.array(PALETTE[COLOURS[colours[i, slot]]]) + tint, 0, 1)
        if what != "colour":
            shapes[i, slot] = rng.choice([s for s in range(len(SHAPES)) if s not in shapes[i, :named]])
        texts.append(instruction(old, (COLOURS[colours[i, slot]], SHAPES[shapes[i, slot]])))
    return replace(scenes, shapes=shapes, colours=colours, paint=paint), texts


def pairs_of(rng: np.random.Generator, count: int, share=(0.3, 0.5, 0.2)) -> Pairs:
    """So many drawn pairs with their instructions."""
    scenes = sample_scenes(rng, count, share)
    after, texts = edited(rng, scenes)
    rows = np.stack([instruction_rows(text) for text in texts])
    latents = [rgb_to_latent(torch.from_numpy(render(one)[0]).float() / 255) for one in (scenes, after)]
    return Pairs(*latents, torch.from_numpy(rows).long(), texts)


def draw_batch(times, _data, stage: Stage, recipe: Recipe, step: int, rank: int, workers: int):
    """This worker's part of batch `step` -> Pairs with text or picture left out here and there, timesteps
    [b], noise [b, 4, 32, 32].
    """
    rng = np.random.default_rng([stage.seed, step])
    generator = torch.Generator().manual_seed(stage.seed * 1_000_003 + step)
    pairs, size = pairs_of(rng, recipe.batch, stage.share), recipe.batch
    kind = torch.from_numpy(rng.uniform(size=size))
    no_text, no_picture = kind < 2 * LEFT_OUT, (kind >= LEFT_OUT) & (kind < 3 * LEFT_OUT)
    rows = torch.where(no_text[:, None], torch.from_numpy(EMPTY).long(), pairs.rows)
    before = torch.where(no_picture.view(-1, 1, 1, 1), torch.zeros(()), pairs.before)
    t, noise = times(size, generator, stage), torch.randn(size, 4, 32, 32, generator=generator)
    mine = slice(rank, None, workers)
    return Pairs(before[mine], pairs.after[mine], rows[mine], pairs.texts[mine]), t[mine], noise[mine]
