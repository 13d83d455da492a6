"""Where an object is in the image that was generated for its box alone (LMD, Lian et al., TMLR 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

THRESHOLD = 0.25
SIGMA, CELLS = 1.5, 16
"""Published smoothing, in cells of a grid of 16; other grids are smoothed over the same part of the image."""
SURE, OVERLAP = 0.85, 0.25
"""A segmenter's mask with less confidence, or less IoU with the attention's, is taken only for want of
another.
"""


def mask_of_map(attention: Tensor, size: tuple[int, int], threshold: float = THRESHOLD) -> Tensor:
    """The cells [h, w] of an object, from its word's attention: what is connected with the maximum.

    attention: [a, b], the mean over layers, heads and steps, >= 0. It is smoothed, enlarged to size = (h, w)
    and divided by its maximum; cells above the threshold belong to the object (published with a segmenter
    behind it; by threshold alone ours).
    """
    smooth = _smoothed(attention.float(), SIGMA * max(attention.shape) / CELLS)
    large = F.interpolate(smooth[None, None], size, mode="bilinear", align_corners=False)[0, 0]  # [h, w]
    top = int(large.argmax())
    return connected(large >= threshold * large.max(), (top // size[1], top % size[1]))


def _smoothed(m: Tensor, sigma: float) -> Tensor:
    """m [a, b] under a Gaussian of four sigma, edges repeated."""
    reach = int(4 * sigma + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(m[None, None], (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, kernel[None, None, None])
    return F.conv2d(across, kernel[None, None, :, None])[0, 0]


def connected(mask: Tensor, start: tuple[int, int]) -> Tensor:
    """The cells of a mask, bool [h, w], that are connected with one of them by their sides."""
    found = torch.zeros_like(mask)
    found[start] = True
    while True:
        grown = found.clone()
        grown[1:] |= found[:-1]
        grown[:-1] |= found[1:]
        grown[:, 1:] |= found[:, :-1]
        grown[:, :-1] |= found[:, 1:]
        grown &= mask
        if torch.equal(grown, found):
            return found
        found = grown


def on_grid(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask [H, W] in 0 ... 1 on a grid (h, w): cells covered by half or more, or else the most covered.

    Raises ValueError for an empty mask.
    """
    mask = mask.float().nan_to_num(0.0)
    if not mask.any():
        raise ValueError(
            "masks has an empty mask: it needs the object of each box, in the order of the boxes, as the "
            "output objects shows it."
        )
    area = F.adaptive_avg_pool2d(mask[None, None].cpu(), size)[0, 0]
    return area >= min(0.5, float(area.max()))


def choose_mask(found: Sequence[tuple[Tensor, float]], coarse: Tensor) -> Tensor | None:
    """The best of a segmenter's masks: the largest one, penalised below `SURE` and below `OVERLAP`.

    found: (bool [H, W], confidence) each. coarse: bool [h, w], the attention's own. None if there is none.
    """
    best: tuple[int, int] | None = None
    chosen = None
    for mask, confidence in found:
        if not mask.any():
            continue
        cells = on_grid(mask, (coarse.shape[0], coarse.shape[1]))
        iou = int((cells & coarse).sum()) / int((cells | coarse).sum())
        rank = (int(confidence >= SURE) + int(iou >= OVERLAP), int(mask.sum()))
        if best is None or rank > best:
            best, chosen = rank, cells
    return chosen
