"""A layout as data: captioned boxes on a canvas, what is behind them, and what must not appear."""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2) as fractions of the canvas, y downwards."""


@dataclass(frozen=True)
class PlacedObject:
    """One object and its box. start: where its entry stands in the text that was read, -1 = in none."""

    name: str
    box: Box
    start: int = -1


@dataclass(frozen=True)
class Layout:
    """What an image shall show, and where.

    objects: one per box, a name may repeat. background: what is behind them. negative: what must not appear.
    canvas: width and height in pixels. description: the whole image in one or two sentences, if the source
    has that. notes: what was changed or guessed while reading, in words.
    """

    objects: tuple[PlacedObject, ...]
    background: str = ""
    negative: str = ""
    canvas: tuple[int, int] = (512, 512)
    description: str = ""
    notes: tuple[str, ...] = ()


def in_pixels(box: Box, canvas: tuple[int, int]) -> tuple[int, int, int, int]:
    """(x, y, width, height) in whole pixels of the canvas, at least one pixel each way."""
    width, height = canvas
    x1, y1, x2, y2 = (
        round(box[0] * width),
        round(box[1] * height),
        round(box[2] * width),
        round(box[3] * height),
    )
    return x1, y1, max(1, x2 - x1), max(1, y2 - y1)


def editor_boxes(layout: Layout) -> list[dict]:
    """The boxes as ComfyUI's BOUNDING_BOX with the metadata of its box editor: pixels, description."""
    boxes = []
    for placed in layout.objects:
        x, y, width, height = in_pixels(placed.box, layout.canvas)
        about = {"type": "obj", "text": "", "desc": placed.name, "palette": []}
        boxes.append({"x": x, "y": y, "width": width, "height": height, "metadata": about})
    return boxes


def as_text(layout: Layout) -> str:
    """The layout in the form that an LLM is asked for, in pixels: what it gets back for the next round."""
    entries = ", ".join(f"({p.name!r}, {list(in_pixels(p.box, layout.canvas))})" for p in layout.objects)
    lines = [f"Objects: [{entries}]", f"Background prompt: {layout.background}"]
    return "\n".join([*lines, f"Negative prompt: {layout.negative}"])
