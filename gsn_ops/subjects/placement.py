"""Layout: which subject belongs in which region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..prompt import PromptTokens, SubjectColumns
from ..regions import Region
from .resolve import resolve


def place_subjects(
    subjects: Sequence[SubjectColumns], tokens: PromptTokens
) -> tuple[tuple[SubjectColumns, ...], dict[str, Region]]:
    """The subjects, those that only a region names among them, and label -> region.

    A region belongs to the subject with the same noun in the prompt, however its phrase was typed. Several regions of one
    subject are one region of several parts. Raises ValueError for a region whose subject is not in the prompt.
    """
    placed, regions = list(subjects), {}
    for phrase, region in tokens.regions:
        (named,) = resolve((phrase,), tokens)
        same = next((s for s in placed if s.noun == named.noun), None)
        if same is None:
            placed.append(same := named)
        regions[same.label] = regions[same.label] | region if same.label in regions else region
    return tuple(placed), regions


def region_of(
    mask: Tensor | None, box: Sequence[float], boxes: Mapping | Sequence | None, canvas: tuple[int, int]
) -> Region:
    """A region from a mask [B or none, H, W], else boxes in pixels of a canvas (width, height), else one box (x, y, w, h) in shares.

    The region's point is the middle of the box (or of the mask). Raises ValueError for what is empty or outside the picture.
    """
    if mask is not None:
        mask = mask.reshape(-1, *mask.shape[-2:])[0].float().cpu()  # [H, W]: the first of a batch
        if not mask.any():
            raise ValueError("The region's mask is empty: paint where the subject shall be.")
        ys, xs = mask.nonzero(as_tuple=True)
        h, w = mask.shape
        return Region(
            mask=mask, point=(float(xs.float().mean() + 0.5) / w, float(ys.float().mean() + 0.5) / h)
        )
    if boxes is not None:
        shares = [
            (b["x"] / canvas[0], b["y"] / canvas[1], b["width"] / canvas[0], b["height"] / canvas[1])
            for b in _flat(boxes)
        ]
        if not shares:
            raise ValueError(
                "There is no box in boxes: draw one, or disconnect it and use x, y, width and height."
            )
    else:
        shares = [tuple(box)]
    corners = tuple((x, y, x + w, y + h) for x, y, w, h in shares)
    for x1, y1, x2, y2 in corners:
        if x2 <= x1 or y2 <= y1:
            raise ValueError(
                f"The region has no area (width {x2 - x1:g}, height {y2 - y1:g}): make it wider and higher."
            )
        if x1 >= 1 or y1 >= 1 or x2 <= 0 or y2 <= 0:
            raise ValueError(
                f"The region from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) lies outside the picture, which goes from 0 to 1. "
                "Boxes are measured in canvas_width and canvas_height."
            )
    inside = tuple((max(0.0, x1), max(0.0, y1), min(1.0, x2), min(1.0, y2)) for x1, y1, x2, y2 in corners)
    x1, y1, x2, y2 = inside[0]
    return Region(boxes=inside, point=((x1 + x2) / 2, (y1 + y2) / 2))


def _flat(boxes) -> list[Mapping]:
    """The host hands over one box, a list of boxes, or a list of frames of boxes."""
    if isinstance(boxes, Mapping):
        return [boxes]
    return [box for part in boxes for box in _flat(part)]
