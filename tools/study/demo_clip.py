"""A CLIP of the shapes world, for studies of guidance: two small towers, trained here on drawn pictures.

The image tower is a convolutional network on 32 x 32 pixels; the text tower reads the pairs (colour, shape)
of a caption. Trained with CLIP's loss, on pictures that are blurred and noisy, as predictions of a model are
in its first steps. About three minutes on one core; what was trained is kept.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.host_env.paths import HOST_DIR
from tools.tiny.captions import caption, parse
from tools.tiny.world import COLOURS, SHAPES, Scenes, render, sample_scenes

FILE = HOST_DIR / "study" / "demo_clip.safetensors"
STEPS, BATCH, WIDTH = 1500, 128, 64


class DemoClip(nn.Module):
    """Both towers, and the temperature of their loss."""

    def __init__(self):
        super().__init__()
        channels = (3, 32, 64, 128)
        layers: list[nn.Module] = []
        for a, b in zip(channels, channels[1:], strict=False):
            layers += [nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(8, b), nn.SiLU()]
        self.see = nn.Sequential(*layers, nn.Conv2d(128, 128, 3, 1, 1), nn.SiLU(), nn.Flatten())
        self.project = nn.Linear(128 * 16, WIDTH)
        self.pairs = nn.Embedding(len(COLOURS) * len(SHAPES), WIDTH)
        self.read = nn.Sequential(nn.Linear(WIDTH, 128), nn.SiLU(), nn.Linear(128, WIDTH))
        self.heat = nn.Parameter(torch.tensor(2.5))

    def images(self, pictures: Tensor) -> Tensor:
        """[B, H, W, 3] in 0 ... 1 -> [B, d]."""
        small = F.adaptive_avg_pool2d(pictures.movedim(-1, 1), 32)
        return F.normalize(self.project(self.see(2 * small - 1)), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[n, d]. Objects without a colour are not read."""
        found = []
        for text in texts:
            pairs = [
                COLOURS.index(colour) * len(SHAPES) + SHAPES.index(shape) for colour, shape in parse(text)
            ]
            found.append(self.read(self.pairs(torch.tensor(pairs))).sum(0))
        return F.normalize(torch.stack(found), dim=-1)


def scenes_with_captions(rng: np.random.Generator, count: int) -> tuple[Tensor, list[str], Scenes]:
    """Drawn pictures [count, 32, 32, 3] of one to three shapes, and their captions."""
    scenes = sample_scenes(rng, count)
    images, _ = render(scenes)
    texts = [caption(scenes.objects(i)) for i in range(count)]
    return torch.from_numpy(images).float() / 255, texts, scenes


def spoiled(pictures: Tensor) -> Tensor:
    """As a model predicts them early: half of them blurred, all with some noise."""
    blurred = F.avg_pool2d(pictures.movedim(-1, 1), 5, 1, 2, count_include_pad=False).movedim(1, -1)
    chosen = torch.rand(len(pictures), 1, 1, 1) < 0.5
    noise = torch.randn_like(pictures) * torch.rand(len(pictures), 1, 1, 1) * 0.15
    return torch.where(chosen, blurred, pictures) + noise


@torch.enable_grad()
def train(steps: int = STEPS) -> DemoClip:
    """A new one, the same for ever."""
    torch.manual_seed(0)
    rng, made = np.random.default_rng(0), DemoClip()
    adam = torch.optim.AdamW(made.parameters(), lr=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total_steps=steps)
    for _ in range(steps):
        pictures, texts, _ = scenes_with_captions(rng, BATCH)
        logits = made.heat.exp() * made.images(spoiled(pictures)) @ made.texts(texts).T
        # A caption may occur twice: both are right.
        same = torch.tensor([[a == b for b in texts] for a in texts]).float()
        right = same / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
        adam.zero_grad()
        loss.backward()
        adam.step()
        plan.step()
    return made.eval().requires_grad_(False)


def demo_clip(file: Path = FILE) -> DemoClip:
    """The one of a file, trained and kept there if it is not there yet."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(train().state_dict(), file)
    made = DemoClip()
    made.load_state_dict(safetensors.torch.load_file(file))
    return made.eval().requires_grad_(False)


def found_at_once(made: DemoClip, count: int = 100) -> float:
    """Share of new pictures whose own caption is the nearest of `count`."""
    pictures, texts, _ = scenes_with_captions(np.random.default_rng(7), count)
    nearest = (made.images(pictures) @ made.texts(texts).T).argmax(1).tolist()
    return sum(texts[i] == texts[k] for i, k in enumerate(nearest)) / count
