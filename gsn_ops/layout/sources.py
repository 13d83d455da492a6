"""One layout from what is connected: a text, boxes, or both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .answer import read_layout
from .drawn import drawn_layout
from .layout import Layout
from .lines import LayoutError
from .order import AUTO, CHOICES

NEITHER = (
    "There is no layout: connect a layout, boxes with descriptions (elements of Create Bounding Boxes), or "
    "an LLM's answer as text."
)


def chosen_layout(
    text: str, boxes: Any = None, canvas: tuple[int, int] = (512, 512), order: str = AUTO, names: str = ""
) -> Layout:
    """The layout of boxes, of a text, or of edited boxes with the background and negative of the text.

    boxes: as `drawn_layout`, or a text. names: of boxes without description, separated by commas or lines.
    Raises LayoutError for neither, and for what cannot be read.
    """
    if order not in CHOICES:
        raise LayoutError(f"coordinates is '{order}': choose one of {', '.join(CHOICES)}.")
    boxes = boxes.tolist() if hasattr(boxes, "tolist") else boxes  # a tensor, as some detectors give it
    if isinstance(boxes, str):
        boxes = read_layout(boxes, canvas, order) if boxes.strip() else None
    elif boxes or isinstance(boxes, int | float):
        listed = [name.strip() for name in names.replace("\n", ",").split(",") if name.strip()]
        boxes = drawn_layout(boxes, canvas, order, listed)
    else:
        boxes = None
    said = read_layout(text, canvas, order) if text.strip() else None
    if said is None:
        if boxes is None:
            raise LayoutError(NEITHER)
        return boxes
    if boxes is None:
        return said
    description = boxes.description or said.description
    background, negative = boxes.background or said.background, boxes.negative or said.negative
    return replace(boxes, background=background, negative=negative, description=description)
