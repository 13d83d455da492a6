"""Where the user wants a subject: boxes, masks and points, and their cells on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CONVENTIONS = ("lmd", "round", "floor", "inclusive")


@dataclass(frozen=True)
class Region:
    """Where a subject shall be.

    boxes: (x1, y1, x2, y2) as fractions of the image. mask: [H, W] in 0 ... 1, any size. point: (x, y) as
    fractions.
    """

    boxes: tuple[tuple[float, float, float, float], ...] = ()
    mask: Tensor | None = None
    point: tuple[float, float] | None = None

    def __or__(self, other: Region) -> Region:
        """Both regions as one; the second mask is resized to the first one's size."""
        mask = self.mask if other.mask is None else other.mask
        if self.mask is not None and other.mask is not None:
            resized = F.interpolate(other.mask[None, None].float(), self.mask.shape, mode="bilinear")
            mask = torch.maximum(self.mask.float(), resized[0, 0])  # [H, W]
        return Region(self.boxes + other.boxes, mask, self.point or other.point)

    def on_grid(self, height: int, width: int, convention: str = "lmd") -> Tensor:
        """Cells of the region: bool [height, width], at least one; all for a region without box or mask."""
        cells = [box_mask(box, height, width, convention) for box in self.boxes]
        if self.mask is not None:
            area = F.adaptive_avg_pool2d(self.mask[None, None].float().cpu(), (height, width))[0, 0]
            # A region smaller than half a cell keeps the cell that it covers most.
            cells.append(area >= min(0.5, float(area.max())))
        if not cells:
            return torch.ones(height, width, dtype=torch.bool)
        return torch.stack(cells).any(0)


def box_mask(box: Sequence[float], height: int, width: int, convention: str = "lmd") -> Tensor:
    """Cells of a box (x1, y1, x2, y2), fractions of the image: bool [height, width], at least one cell.

    convention (rounding is half to even): "round" = round(x1 W) to round(x2 W), end exclusive (BoxDiff, ICCV
    2023); "floor" = the same, truncated (layout guidance, WACV 2024; R&B, ICLR 2024); "lmd" = start and size
    rounded separately, so that the size does not depend on the position (LMD, TMLR 2024); "inclusive" =
    int(x1 (W - 1)) to int(x2 (W - 1)), end inclusive (SAGA, AAAI 2026). Raises ValueError for another one.
    """
    x1, y1, x2, y2 = box
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[_cells(y1, y2, height, convention), _cells(x1, x2, width, convention)] = True
    return mask


def _cells(low: float, high: float, n: int, convention: str) -> slice:
    """The cells of low ... high on an axis of n cells."""
    if convention == "round":
        start, stop = round(low * n), round(high * n)
    elif convention == "floor":
        start, stop = int(low * n), int(high * n)
    elif convention == "lmd":
        start = round(low * n)
        stop = start + round((high - low) * n)
    elif convention == "inclusive":
        start, stop = int(low * (n - 1)), int(high * (n - 1)) + 1
    else:
        raise ValueError(f"Unknown box convention '{convention}': choose one of {', '.join(CONVENTIONS)}.")
    start, stop = max(0, start), min(n, stop)
    if start < stop:
        return slice(start, stop)
    nearest = min(n - 1, max(0, int((low + high) / 2 * n)))  # a box smaller than a cell
    return slice(nearest, nearest + 1)
