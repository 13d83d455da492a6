"""Single rows of self-attention, evaluated where they are needed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SelfAttention:
    """Queries [B, H, N, d] and keys [B, H, K, d] of one call, to evaluate single rows of softmax(q k^T).

    grid: (h, w) with h * w = N. scale: None = d ** -0.5. mask: additive, [B or 1, H or 1, 1 or N, K].
    image: the keys that are the image; None = all, as in self-attention.
    """

    q: Tensor
    k: Tensor
    grid: tuple[int, int]
    scale: float | None = None
    mask: Tensor | None = None
    image: slice | None = None

    def rows(self, cells: Tensor) -> Tensor:
        """Attention of the cells [B, r] (row-major) to every cell -> [B, r, h, w], differentiable.

        Mean over heads.
        """
        q = _rows_of(self.q.float(), cells)  # [B, H, r, d]
        logits = q @ self.k.float().transpose(-1, -2) * (self.scale or q.shape[-1] ** -0.5)  # [B, H, r, K]
        mask = self.mask
        if mask is not None and mask.shape[-2] > 1:
            mask = _rows_of(mask.expand(len(q), -1, -1, -1), cells)
        if mask is not None:
            logits = logits + mask
        probabilities = logits.softmax(-1)[..., self.image or slice(None)].mean(1)  # [B, r, h * w]
        return probabilities.unflatten(-1, self.grid)


def _rows_of(t: Tensor, cells: Tensor) -> Tensor:
    """Rows [B, r] of t [B, H, N, d]: [B, H, r, d]."""
    return t.gather(2, cells[:, None, :, None].expand(-1, t.shape[1], -1, t.shape[-1]))
