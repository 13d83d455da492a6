"""A drawing surface with text, lines and boxes, antialiased. Pillow only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import cast

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ...language import in_picture

# Dark, as ComfyUI's own nodes: a white page would be the brightest thing on the canvas.
PAPER, PANEL, EDGE, GRID = "#1b1d21", "#25282d", "#3b4048", "#363b43"
INK, SOFT, FAINT = "#eef0f2", "#aab2bc", "#5b636d"
BEFORE, AFTER = "#7c8795", "#5ea3f0"
WHITE = "#ffffff"
COLOURS = ("#5ea3f0", "#f0855e", "#5fc58a", "#c08ae6", "#e6b84a", "#4cc3cf", "#f07aa6", "#b9c2cc")
"""One per subject or box, in their order."""
WIDE = "[\u3040-\u30ff\u3400-\u9fff]"
PIECES = re.compile(rf"{WIDE}[^\w\s]*\s*|(?:(?!{WIDE})\S)+\s*")
"""A line may end behind each: a wide letter or a word, with what follows."""
OVERSAMPLING = 2  # everything is drawn this much larger and then averaged: antialiasing

# Tried in this order when a text has letters that Pillow's own font lacks: it has no accents.
SYSTEM_FONTS = [
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "meiryo.ttc",
    "malgun.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "wqy-zenhei.ttc",
]


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=16)
def _own_font(size: int) -> Font:
    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _has_glyphs(font: Font, text: str) -> bool:
    """Whether the font has a glyph for every letter. A missing one looks like that of an unassigned code."""
    box = _glyph(font, "\U0010fffe")
    return all(c.isspace() or _glyph(font, c) != box for c in set(text))


def _glyph(font: Font, letter: str) -> bytes:
    """The pixels of a letter, row by row."""
    return bytes(cast(Iterable[int], font.getmask(letter)))


def add_font(file: str) -> None:
    """A font file that is tried before the system's."""
    if file not in SYSTEM_FONTS:
        SYSTEM_FONTS.insert(0, file)
        _name_of_font.cache_clear()


@lru_cache(maxsize=512)
def _name_of_font(letters: frozenset[str]) -> str | None:
    """Which font has all these letters: "" = Pillow's own, None = none."""
    text = "".join(letters)
    if text.isascii() or _has_glyphs(_own_font(12), text):
        return ""
    fonts = ((name, _system_font(name, 12)) for name in SYSTEM_FONTS)
    return next((name for name, font in fonts if font is not None and _has_glyphs(font, text)), None)


def font_for(text: str, size: int) -> tuple[Font, str]:
    """A font that has the letters of `text`, and the text to draw.

    Without such a font accents are dropped and the remaining letters escaped.
    """
    own, name = _own_font(size), _name_of_font(frozenset(text))
    if name == "":
        return own, text
    font = None if name is None else _system_font(name, size)
    if font is not None:
        return font, text
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return own, bare.encode("ascii", "backslashreplace").decode()


def told(text: str) -> str:
    """Words of a picture in the language of the person where a font has the letters, else as they are."""
    words = in_picture(text)
    return text if _name_of_font(frozenset(words)) is None else words


def width_of(text: str, size: int) -> float:
    """Width of a line of text in pixels."""
    font, text = font_for(text, size * OVERSAMPLING)
    return font.getlength(text) / OVERSAMPLING


def shorten(text: str, size: int, width: float) -> str:
    """The text, or as much of it as fits in `width` pixels with "..." behind."""
    if width_of(text, size) <= width:
        return text
    while text and width_of(text + "...", size) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def wrap(text: str, size: int, width: float) -> list[str]:
    """Lines of at most `width` pixels, broken between words, and between Chinese or Japanese letters."""
    lines, line = [], ""
    for word in PIECES.findall(text):
        if line and width_of((line + word).rstrip(), size) > width:
            lines.append(line)
            line = ""
        line += word
    return [shorten(one.strip(), size, width) for one in [*lines, line] if one.strip()]


def to_image(array: np.ndarray) -> Image.Image:
    """[H, W, 3] in 0 ... 1 (anything that numpy reads; NaN = black) as a Pillow image."""
    values = np.nan_to_num(np.asarray(array, dtype=np.float32), posinf=1.0)
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))


def to_array(image: Image.Image) -> np.ndarray:
    """A Pillow image as float32 [H, W, 3] in 0 ... 1."""
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def resized(array: np.ndarray, width: float, height: float) -> np.ndarray:
    """An image [H, W, 3] in 0 ... 1 as float32 [height, width, 3]."""
    size = (round(width), round(height))
    image = to_image(array)
    return to_array(image if image.size == size else image.resize(size, Image.Resampling.LANCZOS))


def extended(array: np.ndarray, height: int) -> np.ndarray:
    """An image [H, W, 3] with empty paper below, up to this height."""
    paper = np.array(ImageColor.getrgb(PAPER), dtype=np.float32) / 255
    rest = np.broadcast_to(paper, (height - len(array), *array.shape[1:]))
    return np.concatenate([array, rest])


class Canvas:
    """Draws in pixels of the finished image, which `array()` returns."""

    def __init__(self, width: float, height: float, paper: str = PAPER) -> None:
        self.width, self.height = round(width), round(height)
        self.image = Image.new("RGB", (self.width * OVERSAMPLING, self.height * OVERSAMPLING), paper)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 16,
        colour: str = INK,
        anchor: str = "ls",
        halo: str | None = None,
    ) -> None:
        """One line of text at (x, y); anchor as in Pillow ("ls" = left end of the baseline).

        halo: colour of a rim around the letters that hides lines behind them.
        """
        font, text = font_for(text, size * OVERSAMPLING)
        at = (x * OVERSAMPLING, y * OVERSAMPLING)
        if halo:
            self.draw.text(at, text, halo, font, anchor, stroke_width=3 * OVERSAMPLING, stroke_fill=halo)
        self.draw.text(at, text, colour, font, anchor)

    def line(self, points: Sequence[tuple[float, float]], colour: str = INK, width: float = 1) -> None:
        """A line through the points."""
        scaled = [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]
        self.draw.line(scaled, colour, max(1, round(width * OVERSAMPLING)), joint="curve")

    def dot(self, x: float, y: float, radius: float, colour: str, edge: str = PANEL) -> None:
        """A disc with a thin edge."""
        s = OVERSAMPLING
        box = ((x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s)
        self.draw.ellipse(box, colour, edge, round(1.5 * s))

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str = PANEL,
        edge: str | None = None,
        radius: float = 0,
    ) -> None:
        """A filled rectangle from (x, y), with round corners of this radius."""
        s = OVERSAMPLING
        corners = (x * s, y * s, (x + width) * s - 1, (y + height) * s - 1)
        self.draw.rounded_rectangle(corners, radius * s, fill, edge, s if edge else 0)

    def paste(self, array: np.ndarray, x: float, y: float, width: float, height: float) -> None:
        """An image [H, W, 3] in 0 ... 1, resized to width x height, with its top left corner at (x, y)."""
        size = (round(width), round(height))
        image = to_image(resized(array, *size))
        large = image.resize((size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), Image.Resampling.NEAREST)
        self.image.paste(large, (round(x) * OVERSAMPLING, round(y) * OVERSAMPLING))

    def array(self) -> np.ndarray:
        """What has been drawn: float32 [H, W, 3] in 0 ... 1."""
        return to_array(self.image.reduce(OVERSAMPLING))
