"""Losses on pictures, for guidance by a judge: 0 = the judge sees what is asked, differentiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..prompt import SubjectPhrase
from .classes import normalised
from .demo_shapes import PALETTE, SHAPES, SIDE, coverage

NOT_A_SHAPE = (
    "The demo models draw {shapes}, so their shapes cannot guide to '{label}': name one of these, or choose "
    "CLIP."
)
WINDOW = 10
"""Half of the side of a template, in pixels of the demo models' grid."""
SIZES = (9.0, 11.0, 13.0)
"""Of the objects that the demo models draw."""
MARGIN = 2
"""Ink this near around a template counts against it."""
SHARPNESS = 40.0
"""Of the soft maximum over places and sizes."""


class PictureLoss(Protocol):
    """What guidance lowers: one number per picture, with a gradient."""

    @property
    def name(self) -> str:
        """In reports."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """[B, H, W, 3] in 0 ... 1 (a prediction may lie beyond) -> [B]."""


@dataclass(frozen=True)
class ClipLoss:
    """1 - cos(picture, text), as GLIDE is guided (Nichol et al., ICML 2022, section 2.4), with a usual CLIP.

    embed: pictures [B, H, W, 3] -> [B, d], differentiable. text: [d].
    """

    embed: Callable[[Tensor], Tensor]
    text: Tensor
    name: str = "CLIP"

    def __call__(self, pictures: Tensor) -> Tensor:
        embedded = self.embed(pictures)
        return 1 - F.cosine_similarity(embedded, self.text.to(embedded)[None])


@dataclass(frozen=True)
class ShapesLoss:
    """1 - the mean over subjects of how well the best place fits: soft overlap (Dice) of the subject's colour
    with its shape, 0 ... 1. For the demo models' pictures. wanted: (colour or None, shape).
    """

    wanted: tuple[tuple[str | None, str], ...]
    name: str = "shapes"

    @classmethod
    def of(cls, subjects: Sequence[SubjectPhrase]) -> ShapesLoss:
        """Of subjects such as "red circle". Raises ValueError for what is not a shape."""
        wanted = []
        for subject in subjects:
            shape = normalised(subject.noun)
            if shape not in SHAPES:
                raise ValueError(NOT_A_SHAPE.format(shapes=", ".join(SHAPES), label=subject.label))
            colours = [word for word in subject.label.lower().split() if word in PALETTE]
            wanted.append((colours[0] if colours else None, shape))
        return cls(tuple(wanted))

    def __call__(self, pictures: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(pictures.float().movedim(-1, 1), SIDE)
        ink = ink_of(small)
        names = list(PALETTE)
        fits = [
            best_fit(ink.sum(1) if colour is None else ink[:, names.index(colour)], shape)
            for colour, shape in self.wanted
        ]
        return 1 - torch.stack(fits).mean(0)


def ink_of(small: Tensor) -> Tensor:
    """How much each colour of the palette covers each pixel: [B, 3, 32, 32] -> [B, 6, 32, 32] in 0 ... 1."""
    border = torch.cat([small[:, :, 0], small[:, :, -1], small[:, :, :, 0], small[:, :, :, -1]], -1)
    ground = border.detach().median(-1).values[:, None, :, None, None]  # [B, 1, 3, 1, 1]
    palette = torch.tensor(list(PALETTE.values()), device=small.device)[None, :, :, None, None]
    way, there = palette - ground, small[:, None] - ground
    share = (way * there).sum(2) / way.square().sum(2)  # [B, 6, 32, 32]
    rest = (there - share[:, :, None] * way).square().sum(2)
    return torch.sigmoid(8 * (share - 0.5)) * torch.exp(-rest / 0.1)


def best_fit(ink: Tensor, shape: str) -> Tensor:
    """Soft overlap [B], 0 ... 1, of ink [B, 32, 32] with a shape at its best place and size."""
    found = []
    for size in SIZES:
        drawn = torch.from_numpy(coverage(shape, size, SIDE / 2, SIDE / 2)[0]).to(ink)
        cut = slice(SIDE // 2 - WINDOW, SIDE // 2 + WINDOW)
        drawn = drawn[cut, cut][None, None]
        near = F.max_pool2d((drawn > 0.05).float(), 2 * MARGIN + 1, 1, MARGIN)
        filled = F.pad(ink[:, None], (WINDOW, WINDOW - 1, WINDOW, WINDOW - 1))
        shared, there = F.conv2d(filled, drawn), F.conv2d(filled, near)
        found.append((2 * shared / (there + drawn.sum())).flatten(1))
    overlap = torch.cat(found, 1)
    return (overlap * torch.softmax(SHARPNESS * overlap, 1)).sum(1)
