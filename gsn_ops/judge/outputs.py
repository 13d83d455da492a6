"""What the judge node hands on: one line of text, JSON, and masks."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor

from .detection import Box, Detection
from .sources import Verdicts
from .verdict import ImageVerdict, tiam

SCHEMA = 1


def summary(verdicts: Verdicts, colours: bool) -> str:
    """One line: what is missing where, or that all is there."""
    images = verdicts.images
    lines = []
    for b, verdict in enumerate(images):
        lacking = verdict.missing(colours)
        if lacking:
            lines.append((f"image {b + 1}: " if len(images) > 1 else "missing: ") + ", ".join(lacking))
    text = "; ".join(lines) or "all subjects are there"
    if len(images) > 1:
        right = sum(verdict.right(colours) for verdict in images)
        text = f"{right} of {len(images)} images have all subjects" + (f"; {text}" if lines else "")
    if verdicts.unknown:
        asked, names = " and ".join(verdicts.sources), ", ".join(verdicts.unknown)
        text += f". Not judged, for {asked} cannot find it: {names}"
    if verdicts.measured_in_boxes:
        text += ". Colours were measured in boxes, background included (SAM 3 gives masks)"
    return text


def to_json(verdicts: Verdicts, colours: bool) -> str:
    """The verdicts as data, for scripts."""
    images = verdicts.images
    return json.dumps(
        {
            "schema": SCHEMA,
            "all_present": all(verdict.right(colours) for verdict in images),
            "score": score(verdicts, colours),
            "tiam": tiam(images),
            "tiam_with_colours": tiam(images, colours=True),
            "sources": verdicts.sources,
            "not_judged": verdicts.unknown,
            "colours_measured_in_boxes": verdicts.measured_in_boxes,
            "images": [verdict.to_dict(colours) for verdict in images],
        }
    )


def score(verdicts: Verdicts, colours: bool) -> float:
    """Share of the subjects that are right, mean over the images, 0 ... 1."""
    return sum(verdict.score(colours) for verdict in verdicts.images) / max(len(verdicts.images), 1)


def missing(verdicts: Verdicts, colours: bool) -> str:
    """The subjects that are not right in some image, each once, separated by commas: "" = none."""
    names = (name for verdict in verdicts.images for name in verdict.missing(colours))
    return ", ".join(dict.fromkeys(names))


def subject_masks(verdicts: Verdicts, height: int, width: int) -> Tensor:
    """One mask per subject, for each image in turn: [B k, H, W] float, of masks or insides of boxes."""
    masks = [
        _union([verdict.detections[i] for i in subject.detections], height, width)
        for verdict in verdicts.images
        for subject in verdict.subjects
    ]
    return torch.stack(masks).float()


def _union(found: Sequence[Detection], height: int, width: int) -> Tensor:
    whole = torch.zeros(height, width, dtype=torch.bool)
    for one in found:
        if one.mask is not None:
            whole |= one.mask.cpu()
        elif one.box is not None:
            left, top, right, bottom = (round(v) for v in one.box)
            whole[top:bottom, left:right] = True
    return whole


def labels(verdict: ImageVerdict) -> list[tuple[Box, str, str]]:
    """The box of each detection that has one, its text, and the subject that it counts for ("" = none)."""
    owner = {i: subject.label for subject in verdict.subjects for i in subject.detections}
    return [
        (one.box, f"{owner.get(i, one.label)} {one.score:.2f}", owner.get(i, ""))
        for i, one in enumerate(verdict.detections)
        if one.box is not None
    ]
