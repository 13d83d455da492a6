"""Examples for an LLM that lays out an image, on a canvas of 512 x 512 (ours)."""

from __future__ import annotations

from dataclasses import dataclass

Entry = tuple[str, tuple[int, int, int, int]]


@dataclass(frozen=True)
class Example:
    """A caption and its layout: (object, (x, y, width, height)) each."""

    caption: str
    objects: tuple[Entry, ...]
    background: str
    negative: str = ""


EXAMPLES = (
    Example(
        "A watercolour of a lighthouse to the left of a sailing boat",
        (("a lighthouse", (40, 70, 130, 340)), ("a sailing boat", (270, 230, 190, 180))),
        "A watercolour of a calm sea under a pale sky",
    ),
    Example(
        "three oranges in a row on a kitchen table, no knives",
        (
            ("an orange", (40, 270, 120, 120)),
            ("an orange", (196, 272, 120, 120)),
            ("an orange", (352, 270, 120, 120)),
        ),
        "A photo of a kitchen table",
        "knives",
    ),
    Example(
        "an owl above a wooden chest",
        (("an owl", (180, 60, 150, 180)), ("a wooden chest", (130, 280, 250, 180))),
        "A realistic scene",
    ),
    Example(
        "a girl in a yellow raincoat walks a small dog in an empty street",
        (("a girl in a yellow raincoat", (110, 90, 150, 370)), ("a small dog", (300, 330, 130, 125))),
        "A photo of an empty street in the rain",
        "cars, other people",
    ),
    Example(
        "pixel art: a red dragon fights a knight in front of a castle",
        (
            ("a castle", (150, 20, 220, 200)),
            ("a red dragon", (20, 210, 230, 220)),
            ("a knight", (330, 270, 110, 180)),
        ),
        "Pixel art of a green valley",
    ),
    Example(
        "two teapots below a shelf with a round clock on it",
        (
            ("a round clock", (206, 40, 100, 100)),
            ("a shelf", (100, 145, 312, 45)),
            ("a teapot", (90, 300, 140, 130)),
            ("a teapot", (290, 300, 140, 130)),
        ),
        "A cosy room with a plain wall",
    ),
    Example(
        "An oil painting of a mountain lake without any boats, a moose on the right",
        (("a moose", (310, 230, 170, 210)),),
        "An oil painting of a mountain lake",
        "boats",
    ),
)
FOREIGN = Example(
    "\u4e00\u53ea\u767d\u732b\u5750\u5728\u7ea2\u8272\u6c99\u53d1\u4e0a\uff0c\u65c1\u8fb9\u6709\u4e00\u76cf\u53f0\u706f",
    (
        ("a white cat", (170, 150, 160, 170)),
        ("a red sofa", (60, 260, 360, 200)),
        ("a table lamp", (420, 90, 80, 200)),
    ),
    "A photo of a living room",
)
"""A caption in another language, answered in English."""
