"""Sources of detections behind one interface: the demo models' shapes, boxes on a wire, an answer.

Detector models are in `gsn_ops/host/judge/detectors.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ..prompt import SubjectPhrase
from .answer import detections_of_answer
from .classes import normalised
from .demo_detector import detections
from .demo_shapes import SHAPES, SIDE
from .detection import Detection, from_bounding_boxes
from .verdict import CONFIDENCE, ImageVerdict, judge_image

ONE_ANSWER = (
    "The vision model's answer is about one image, but {images} are connected: judge them one at a time, or "
    "connect a detector."
)
NO_LABELS = (
    "The boxes have no labels, so it is not known which of {n} subjects they are of: connect the detector "
    "itself, the boxes of RT-DETR, or judge one subject at a time."
)
NOT_THE_DEMO = (
    "The judge of the demo models needs square images of {side}, {double}, ... pixels, as they make them, "
    "not {width} x {height}: connect a detector instead."
)
NO_CLASS = (
    "Nothing that is connected can find {names}: {why}. Name other subjects, or connect SAM 3, which takes "
    "any noun."
)
NO_SOURCE = (
    "Nothing is connected that can say what is in the image: connect a detector (RT-DETR or SAM 3), boxes, "
    "or a vision model's answer; for the demo models set judge_by to their shapes."
)


class Source(Protocol):
    """Finds things in images."""

    @property
    def name(self) -> str:
        """For reports."""

    def unknown(self, nouns: Sequence[str]) -> tuple[str, ...]:
        """The nouns that it cannot find."""

    def find(self, images: Tensor, nouns: Sequence[str], confidence: float) -> list[list[Detection]]:
        """What is in each image [B, H, W, 3] in 0 ... 1."""


class DemoShapes:
    """The shapes of the demo models, by geometry."""

    name = "shapes of the demo models"

    def unknown(self, nouns: Sequence[str]) -> tuple[str, ...]:
        return tuple(noun for noun in nouns if normalised(noun) not in SHAPES)

    def find(self, images: Tensor, nouns: Sequence[str], confidence: float) -> list[list[Detection]]:
        """Raises ValueError for images of another form than the demo models'."""
        height, width = images.shape[1:3]
        if height != width or height % SIDE:
            raise ValueError(NOT_THE_DEMO.format(side=SIDE, double=2 * SIDE, width=width, height=height))
        pixels = (images[..., :3].cpu().float().clamp(0, 1) * 255).round().byte().numpy()
        return [detections(np.ascontiguousarray(image)) for image in pixels]


@dataclass(frozen=True)
class GivenBoxes:
    """Boxes that another node has found. boxes: ComfyUI's BOUNDING_BOX."""

    boxes: Any
    name: str = "boxes"

    def unknown(self, nouns: Sequence[str]) -> tuple[str, ...]:
        """None: a noun that no box has is not there."""
        return ()

    def find(self, images: Tensor, nouns: Sequence[str], confidence: float) -> list[list[Detection]]:
        """Raises ValueError for what is no boxes, and for boxes without labels of several subjects."""
        found = from_bounding_boxes(self.boxes, len(images))
        if all(one.label for frame in found for one in frame):
            return found
        if len(nouns) != 1:
            raise ValueError(NO_LABELS.format(n=len(nouns)))
        return [[replace(one, label=one.label or nouns[0]) for one in frame] for frame in found]


@dataclass(frozen=True)
class GivenAnswer:
    """What a vision model said about one image."""

    answer: str
    subjects: tuple[SubjectPhrase, ...]
    name: str = "a vision model's answer"

    def unknown(self, nouns: Sequence[str]) -> tuple[str, ...]:
        """None: it was asked about all of them."""
        return ()

    def find(self, images: Tensor, nouns: Sequence[str], confidence: float) -> list[list[Detection]]:
        """Raises ValueError for several images, and for an answer that does not name every subject."""
        if len(images) > 1:
            raise ValueError(ONE_ANSWER.format(images=len(images)))
        return [detections_of_answer(self.answer, self.subjects)]


@dataclass(frozen=True)
class Verdicts:
    """Of a batch. images: one each. unknown: nouns that no source could find. sources: those that were asked.

    measured_in_boxes: whether a colour was measured in the inside of boxes, background included.
    """

    images: tuple[ImageVerdict, ...]
    unknown: tuple[str, ...]
    sources: tuple[str, ...]
    measured_in_boxes: bool


def judge(
    images: Tensor,
    subjects: Sequence[SubjectPhrase],
    sources: Sequence[Source],
    confidence: float = CONFIDENCE,
) -> Verdicts:
    """Judge images [B, H, W, 3] in 0 ... 1. A noun goes to the first source that can find it.

    Raises ValueError without a source, or where no source can find any of the subjects.
    """
    if not sources:
        raise ValueError(NO_SOURCE)
    left = list(dict.fromkeys(subject.noun for subject in subjects))
    found: list[list[Detection]] = [[] for _ in images]
    plan: list[tuple[Source, list[str]]] = []
    for source in sources:
        unknown = source.unknown(left)
        own = [noun for noun in left if noun not in unknown]
        if own:
            plan.append((source, own))
        left = list(unknown)
    if not plan:
        why = "it only knows the 80 classes of COCO"
        if isinstance(sources[0], DemoShapes):
            why = f"it only knows {', '.join(SHAPES)}"
        raise ValueError(NO_CLASS.format(names=", ".join(left), why=why))
    for source, own in plan:
        for into, more in zip(found, source.find(images, own, confidence), strict=True):
            into += [replace(one, source=source.name) for one in more]
    verdicts = tuple(
        judge_image(own, subjects, image, confidence=confidence, unknown=left)
        for own, image in zip(found, images, strict=True)
    )
    in_boxes = any(
        s.colour_share is not None and any(v.detections[i].mask is None for i in s.detections)
        for v in verdicts
        for s in v.subjects
    )
    return Verdicts(verdicts, tuple(left), tuple(source.name for source, _ in plan), in_boxes)
