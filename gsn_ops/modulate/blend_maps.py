"""Attention to LocalBlend's words over the passes of a run, and the mask that is made of it."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from ..attention_layout import AttentionLayout
from .local_blend import blend_mask

_Grid = tuple[tuple[int, int], int]
"""A grid (h, w) of tokens, and the latent's cells per token and side."""


class BlendMaps:
    """Sums of the blend words' maps over calls, per grid: [b, h w] of the sources and the targets."""

    def __init__(self):
        self._sums: dict[_Grid, list[Tensor]] = {}
        self._of_pass: dict[_Grid, list[tuple[Tensor, Tensor]]] = defaultdict(list)

    def keep(self, layout: AttentionLayout, grid: tuple[int, int], source: Tensor, target: Tensor) -> None:
        """One call's maps of some pairs, [b, h w]; the pairs of a call come one after the other."""
        self._of_pass[grid, layout.level(grid)].append((source.float(), target.float()))

    def end(self, pairs: int) -> None:
        """Add the maps of all calls since the last time. pairs: in the batch."""
        for grid, parts in self._of_pass.items():
            maps = [torch.cat(own).unflatten(0, (-1, pairs)).sum(0) for own in zip(*parts)]
            held = self._sums.get(grid)
            self._sums[grid] = maps if held is None else [a + b for a, b in zip(held, maps)]
        self._of_pass.clear()

    def of_words(self) -> tuple[Tensor, Tensor, int] | None:
        """The maps of the sources and the targets, [b, h, w], and the latent's cells per token and side.

        None before the first pass.
        """
        if not self._sums:
            return None
        grid, level = finest = max(self._sums)
        source, target = (t.unflatten(-1, grid) for t in self._sums[finest])
        return source, target, level

    def mask(self, size: tuple[int, int], threshold: float) -> Tensor | None:
        """Where images may change, bool [b, H, W]; None before the first pass."""
        found = self.of_words()
        if found is None:
            return None
        source, target, level = found
        h, w = source.shape[-2:]
        mask = blend_mask(source, target, (h * level, w * level), threshold)  # the last cells may overhang
        return mask[..., : size[0], : size[1]]
