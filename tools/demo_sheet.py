"""Pairs of pictures on a sheet: plain above refined, with the prompt and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, GREY, GREEN, RED = "#202020", "#707070", "#1a7f37", "#c62828"
GAP = 14
LINE = 17


@dataclass(frozen=True)
class Pair:
    """plain, refined [h, w, 3] uint8 of one prompt and seed, and whether the detector found all wanted shapes in each."""

    text: str
    plain: np.ndarray
    refined: np.ndarray
    plain_right: bool
    refined_right: bool


def _font(size: int):
    return ImageFont.load_default(size)


def _wrapped(text: str, width: int, font) -> list[str]:
    """The text broken into lines no wider than `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def pair_sheet(pairs: Sequence[Pair], columns: int, side: int = 160, title: str = "") -> Image.Image:
    """One picture of many pairs: prompt, plain with its verdict, refined with its verdict. `side`: of one picture."""
    font, small, bold = _font(13), _font(12), _font(15)
    lines = [_wrapped(pair.text, side, font) for pair in pairs]
    words = max(map(len, lines)) * LINE
    cell = (side + GAP, words + 2 * (side + LINE + 6) + GAP)
    top = 2 * GAP + LINE if title else GAP
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * cell[0] + GAP, top + rows * cell[1]), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, bold)
    for i, (pair, text) in enumerate(zip(pairs, lines, strict=True)):
        x, y = GAP + i % columns * cell[0], top + i // columns * cell[1]
        for n, line in enumerate(text):
            draw.text((x, y + n * LINE), line, INK, font)
        y += words + 4
        for name, picture, right in (
            ("plain", pair.plain, pair.plain_right),
            ("refined", pair.refined, pair.refined_right),
        ):
            sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS), (x, y))
            draw.rectangle((x - 1, y - 1, x + side, y + side), outline="#c8c8c8")
            draw.text((x, y + side + 2), name, GREY, small)
            verdict = "all found" if right else "not all found"
            draw.text((x + side, y + side + 2), verdict, GREEN if right else RED, small, anchor="ra")
            y += side + LINE + 6
    return sheet
