"""The regions that a person has drawn, as outlines on an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import ImageColor

from ...regions import Region

THIN = 110
"""An outline's width is this part of the image's shorter side, and at least 1 pixel."""


def outlined(image: np.ndarray, regions: Sequence[tuple[Region, str]]) -> np.ndarray:
    """A copy of the image [H, W, 3] in 0 ... 1 with the edge of each (region, colour): float32, same size.

    A point alone is a small square around it. A region without box, mask or point has no edge.
    """
    drawn = np.array(image, dtype=np.float32)
    height, width = drawn.shape[:2]
    thick = max(1, round(min(height, width) / THIN))
    for region, colour in regions:
        rgb = np.array(ImageColor.getrgb(colour), dtype=np.float32) / 255
        if region.boxes or region.mask is not None:
            drawn[edge(region.on_grid(height, width).numpy(), thick)] = rgb
        elif region.point is not None:
            x, y = round(region.point[0] * (width - 1)), round(region.point[1] * (height - 1))
            reach = 3 * thick
            drawn[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = rgb
    return drawn


def edge(cells: np.ndarray, thick: int) -> np.ndarray:
    """The outermost `thick` cells of a bool area [H, W]; the image's own border counts as outside."""
    inner = cells
    for _ in range(thick):
        around = np.pad(inner, 1)
        inner = inner & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return cells & ~inner
