"""Mean attention maps of weighted words over the passes of a run, without and with their weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..attention_layout import AttentionLayout

Grid = tuple[int, int]


@dataclass
class _Sum:
    """Sums over the calls of one word on one grid: [B, h, w] without and with its weight."""

    before: Tensor | float = 0.0
    after: Tensor | float = 0.0
    calls: int = 0


@dataclass
class WordMaps:
    """levels: those to keep (latent height / grid height), () = all."""

    levels: tuple[int, ...] = ()
    _sums: dict[Grid, dict[str, _Sum]] = field(default_factory=lambda: defaultdict(dict))

    def add(
        self,
        words: Mapping[str, Sequence[int]],
        layout: AttentionLayout,
        columns: Sequence[int],
        p: Tensor,
        p_after: Tensor,
    ) -> None:
        """One changed call. words: label -> its columns. p, p_after [B, H, image tokens, columns]."""
        try:
            grid = layout.cells(p.shape[2])
        except ValueError:  # tokens were merged: they have no places
            return
        if self.levels and layout.level(grid) not in self.levels:
            return
        before, after = (t.detach().mean(1) for t in (p, p_after))  # [B, h w, columns]
        for label, own in words.items():
            picked = [n for n, column in enumerate(columns) if column in own]
            if not picked:
                continue
            kept = self._sums[grid].setdefault(label, _Sum())
            kept.before = kept.before + before[..., picked].sum(-1).unflatten(1, grid)
            kept.after = kept.after + after[..., picked].sum(-1).unflatten(1, grid)
            kept.calls += 1

    def means(self) -> tuple[tuple[str, ...], Tensor, Tensor] | None:
        """Labels, and their maps [B, k, h, w] without and with weights, float32 on the CPU; None = none.

        Of the grid that most calls had.
        """
        if not self._sums:
            return None
        grid = max(self._sums, key=lambda g: (sum(s.calls for s in self._sums[g].values()), g))
        sums = self._sums[grid]
        before, after = (
            torch.stack([torch.as_tensor(getattr(s, name)) / s.calls for s in sums.values()], 1).float().cpu()
            for name in ("before", "after")
        )
        return tuple(sums), before, after
