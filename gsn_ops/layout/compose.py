"""LMD's second stage on tensors: the noise of one box, moving an object to its place, several as one latent.

Lian et al., TMLR 2024. Tensors are [..., h, w] on any grid of the canvas: all of them move by whole eighths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .layout import Box

GROUND = 0.8
"""The lower edge of a centred box, as a share of the canvas."""
EIGHTHS = 8
GROWN = 1
"""Cells by which the part of the initial noise that moves with an object is larger than its mask."""

Offset = tuple[int, int]
"""(down, right) in eighths of the canvas."""


def centred(box: Box) -> Box:
    """The box in which its object is generated alone: same size, middle of the canvas, standing at 0.8."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    left, top = (1 - width) / 2, max(0.0, GROUND - height)
    return left, top, left + width, top + height


def mixed_noise(background: Tensor, own: Tensor, cells: Tensor, r: float) -> Tensor:
    """sqrt(1 - r) background + sqrt(r) own in the box, the background's noise elsewhere: unit variance.

    background, own: [..., h, w]. cells: bool [h, w]. r: 0.01 published, 0.1 with GLIGEN.
    """
    mixed = math.sqrt(1 - r) * background + math.sqrt(r) * own
    return torch.where(cells, mixed, background)


def offset_to(box: Box, mask: Tensor) -> Offset:
    """How far an object moves: the centroid of its mask (bool [h, w]) comes nearest to its box's middle, and
    stays on the canvas.
    """
    ys, xs = mask.nonzero(as_tuple=True)
    height, width = mask.shape
    middle = float((ys.double() + 0.5).mean()) / height, float((xs.double() + 0.5).mean()) / width
    wanted = (box[1] + box[3]) / 2, (box[0] + box[2]) / 2
    down, right = (_eighths(a, b) for a, b in zip(wanted, middle, strict=True))
    return down, right


def _eighths(wanted: float, middle: float) -> int:
    by = round(EIGHTHS * (wanted - middle))
    after = middle + by / EIGHTHS
    return by + (after < 0) - (after > 1)


def shifted(t: Tensor, offset: Offset) -> Tensor:
    """t [..., h, w] moved by whole cells of its own grid, zeros (False) where nothing comes from."""
    height, width = t.shape[-2:]
    out = torch.zeros_like(t)
    rows = _ranges(round(offset[0] * height / EIGHTHS), height)
    columns = _ranges(round(offset[1] * width / EIGHTHS), width)
    if rows is not None and columns is not None:
        out[..., rows[1], columns[1]] = t[..., rows[0], columns[0]]
    return out


def _ranges(by: int, size: int) -> tuple[slice, slice] | None:
    """(source, target) cells on an axis; None if nothing stays on it."""
    if abs(by) >= size:
        return None
    return slice(max(0, -by), size - max(0, by)), slice(max(0, by), size - max(0, -by))


@dataclass(frozen=True)
class MovedObject:
    """One object of a composition.

    mask: bool [h, w], where it is when it was generated alone. offset: to its place. noise: [..., h, w], unit
    variance, that its run began with. states: [steps, ..., h, w], the network's input z at each step.
    """

    mask: Tensor
    offset: Offset
    noise: Tensor
    states: Tensor

    @property
    def place(self) -> Tensor:
        """Its mask in its place, bool [h, w]."""
        return shifted(self.mask, self.offset)


class Composition:
    """The objects in one latent: the largest mask first, smaller ones on top.

    objects: in any order. background: the noise behind them, [..., h, w]. mask: bool [h, w], where any object
    is. noise: what the overall run begins with; here the bounding box of each mask, grown by a cell, comes
    with it.
    """

    def __init__(self, objects: Sequence[MovedObject], background: Tensor):
        self.objects = sorted(objects, key=lambda one: int(one.place.sum()), reverse=True)
        self._places = [one.place for one in self.objects]
        self.mask = torch.stack(self._places).any(0)
        noise = background.clone()
        for place in (_grown_box, lambda mask: mask):
            for one, mask in zip(self.objects, self._places, strict=True):
                # A grown box may reach to where the object's own noise has not moved from.
                cells = place(mask) & shifted(torch.ones_like(mask), one.offset)
                noise = torch.where(cells, shifted(one.noise, one.offset).to(noise), noise)
        self.noise = noise

    def at(self, step: int) -> Tensor:
        """The objects' states [..., h, w] when a step begins, float32; 0 where no object is."""
        first = self.objects[0].states[step]
        out = torch.zeros(first.shape, dtype=torch.float32)
        for one, mask in zip(self.objects, self._places, strict=True):
            out = torch.where(mask, shifted(one.states[step], one.offset).float(), out)
        return out


def _grown_box(mask: Tensor) -> Tensor:
    """The bounding box of a mask, grown by a cell on each side; nothing for an empty mask."""
    cells = torch.zeros_like(mask)
    ys, xs = mask.nonzero(as_tuple=True)
    if len(ys):
        rows = slice(max(0, int(ys.min()) - GROWN), int(ys.max()) + 1 + GROWN)
        cells[rows, max(0, int(xs.min()) - GROWN) : int(xs.max()) + 1 + GROWN] = True
    return cells


def frozen_steps(steps: int, share: float) -> range:
    """The steps whose state takes the objects from the composition: behind each step of the first share.

    The last state is left out: a step must remain in which the whole image is free.
    """
    return range(1, min(int(steps * share), steps - 1) + 1)
