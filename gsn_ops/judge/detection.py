"""What a detector found in one image, and the arithmetic of boxes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ..prompt import SubjectPhrase

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the image."""


@dataclass(frozen=True)
class Detection:
    """One object.

    label: the detector's name of it. score: 0 ... 1. box: None where only words are known. mask: [H, W] bool,
    None without one. colour: where the source names it itself; otherwise it is measured. source: its name.
    phrase: of the only subject that it counts for, see `phrase_of`; "" = any of its class. exact: it was
    found by its label, and counts for no other word of the same class ("man", "woman").
    """

    label: str
    score: float = 1.0
    box: Box | None = None
    mask: Tensor | None = field(default=None, compare=False)
    colour: str | None = None
    source: str = ""
    phrase: str = ""
    exact: bool = False


def phrase_of(subject: SubjectPhrase) -> str:
    """A subject's label without its number: "big dog" of big dog#2."""
    return re.sub(r"#\d+$", "", subject.label)


def inside(box: Box, height: int, width: int) -> Box | None:
    """The part of a box that lies in an image, None where there is none."""
    left, top, right, bottom = box
    cut = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    return cut if cut[0] < cut[2] and cut[1] < cut[3] else None


def cropped(found: Sequence[Detection], height: int, width: int) -> list[Detection]:
    """The detections with their boxes cut to the image; those outside of it are left out."""
    kept = []
    for one in found:
        box = None if one.box is None else inside(one.box, height, width)
        if box is not None or one.box is None:
            kept.append(replace(one, box=box))
    return kept


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 ... 1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def mask_iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two masks [H, W] bool, 0 ... 1."""
    return float((a & b).sum()) / max(float((a | b).sum()), 1.0)


def overlap(a: Detection, b: Detection) -> float:
    """The greater IoU of boxes and of masks, 0 where neither is known of both."""
    ious = [0.0]
    if a.box is not None and b.box is not None:
        ious.append(box_iou(a.box, b.box))
    if a.mask is not None and b.mask is not None:
        ious.append(mask_iou(a.mask, b.mask))
    return max(ious)


NOT_BOXES = (
    "The boxes input holds something else than boxes: connect a BOUNDING_BOX output, as of Run "
    "Real-Time Detection (RT-DETR) or SAM3 Detect."
)


def from_bounding_boxes(value: Any, images: int) -> list[list[Detection]]:
    """ComfyUI's BOUNDING_BOX values as detections of each image.

    value: one dict (x, y, width, height, label?, score?), a list of them (both hold for all images), or a
    list per image. A box without a label has the label "". Raises ValueError for anything else, or for
    another number of images.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(NOT_BOXES)
    if all(isinstance(one, Mapping) for one in value):
        return [[_detection(one) for one in value] for _ in range(images)]
    if not all(isinstance(frame, Sequence) and not isinstance(frame, str) for frame in value):
        raise ValueError(NOT_BOXES)
    if len(value) not in (1, images):
        raise ValueError(
            f"The boxes are of {len(value)} images, but there are {images}: connect the boxes that were "
            "found in these images."
        )
    frames = list(value) * (images if len(value) == 1 else 1)
    return [[_detection(one) for one in frame] for frame in frames]


def _detection(one: Any) -> Detection:
    try:
        x, y, width, height = (float(one[name]) for name in ("x", "y", "width", "height"))
        score = float(one.get("score", 1.0))
    except (TypeError, KeyError, ValueError, AttributeError):
        raise ValueError(NOT_BOXES) from None
    if not all(map(math.isfinite, (x, y, width, height, score))):
        raise ValueError(NOT_BOXES)
    left, right = sorted((x, x + width))  # a box may be drawn from right to left
    top, bottom = sorted((y, y + height))
    return Detection(str(one.get("label") or ""), score, (left, top, right, bottom))
