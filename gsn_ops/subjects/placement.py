"""Which subject belongs in which region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..prompt import PromptTokens, SubjectColumns
from ..regions import Region
from .resolve import resolve

Box = tuple[float, float, float, float]


def place_subjects(
    subjects: Sequence[SubjectColumns], tokens: PromptTokens
) -> tuple[tuple[SubjectColumns, ...], dict[str, Region]]:
    """The subjects, including those that only a region names, and label -> region.

    A region belongs to the subject with the same noun in the prompt, however its phrase was typed. Several
    regions of one subject are one region with several parts. Raises ValueError if a region's subject is not
    in the prompt.
    """
    placed = list(subjects)
    regions: dict[str, Region] = {}
    for phrase, region in tokens.regions:
        (named,) = resolve((phrase,), tokens)
        same = next((s for s in placed if s.noun == named.noun), None)
        if same is None:
            same = named
            placed.append(named)
        regions[same.label] = regions[same.label] | region if same.label in regions else region
    return tuple(placed), regions


def region_of(
    mask: Tensor | None, box: Sequence[float], boxes: Mapping | Sequence | None, canvas: tuple[int, int]
) -> Region:
    """A region from the first of these that is given: mask, boxes, box.

    mask: [B or none, H, W], the first of a batch. boxes: in pixels of `canvas` (width, height), each with the
    keys x, y, width and height. box: (x, y, width, height) as fractions of the image. The region's point is
    the middle of the (first) box or of the mask. Raises ValueError for a region that is empty or outside the
    image.
    """
    if mask is not None:
        return _region_of_mask(mask)
    fractions = [(box[0], box[1], box[2], box[3])] if boxes is None else _fractions(boxes, canvas)
    inside = [_inside((x, y, x + w, y + h)) for x, y, w, h in fractions]
    x1, y1, x2, y2 = inside[0]
    return Region(boxes=tuple(inside), point=((x1 + x2) / 2, (y1 + y2) / 2))


def _region_of_mask(mask: Tensor) -> Region:
    mask = mask.reshape(-1, *mask.shape[-2:])[0].float().cpu()  # [H, W]
    if not mask.any():
        raise ValueError("The region's mask is empty: paint where the subject shall be.")
    ys, xs = mask.nonzero(as_tuple=True)
    h, w = mask.shape
    return Region(mask=mask, point=(float(xs.float().mean() + 0.5) / w, float(ys.float().mean() + 0.5) / h))


def _fractions(boxes: Mapping | Sequence, canvas: tuple[int, int]) -> list[Box]:
    """Boxes (x, y, width, height) as fractions of the canvas."""
    width, height = canvas
    fractions = [
        (b["x"] / width, b["y"] / height, b["width"] / width, b["height"] / height) for b in _flat(boxes)
    ]
    if not fractions:
        raise ValueError(
            "There is no box in boxes: draw one, or disconnect it and use x, y, width and height."
        )
    return fractions


def _inside(corners: Box) -> Box:
    """The part of a box (x1, y1, x2, y2) that is inside the image. Raises ValueError if there is none."""
    x1, y1, x2, y2 = corners
    if not (x2 > x1 and y2 > y1):
        raise ValueError(
            f"The region has no area (width {x2 - x1:g}, height {y2 - y1:g}): make it wider and higher."
        )
    if x1 >= 1 or y1 >= 1 or x2 <= 0 or y2 <= 0:
        raise ValueError(
            f"The region from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is outside the image, which goes from "
            "0 to 1. Boxes are measured in canvas_width and canvas_height."
        )
    return max(0.0, x1), max(0.0, y1), min(1.0, x2), min(1.0, y2)


def _flat(boxes: Mapping | Sequence) -> list[Mapping[str, Any]]:
    """ComfyUI passes one box, a list of boxes, or a list of frames of boxes."""
    if isinstance(boxes, Mapping):
        return [boxes]
    return [box for part in boxes for box in _flat(part)]
