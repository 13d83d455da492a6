"""The square pictures in the list of templates: plain and changed image side by side, or a card with a name.

    python3 tools/dev.py run -m tools.workflows.cards NAME [PICTURE.png]

PICTURE is what the workflow saved: two images side by side, or one. Without it, the name alone.
"""

import argparse
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tools.host_env.paths import CLONE

FOLDER = CLONE / "example_workflows"
SIDE, EDGE = 512, 24
PAPER, INK, SOFT = (28, 30, 34), (240, 240, 240), (150, 156, 166)
ACCENT = (92, 184, 122)


def card(
    name: str, picture: Image.Image | None, labels: tuple[str, str] = ("without", "with")
) -> Image.Image:
    """The picture of a template, SIDE x SIDE.

    name: as in the list, its number included. labels: of the two halves of a wide picture.
    """
    made = Image.new("RGB", (SIDE, SIDE), PAPER)
    draw = ImageDraw.Draw(made)
    title = name.split(" ", 1)[1].split(" - ")
    room = SIDE - 2 * EDGE
    top = EDGE
    if picture is not None:
        shown = picture.convert("RGB")
        shown = shown.resize((room, round(shown.height * room / shown.width)), Image.Resampling.LANCZOS)
        shown = shown.crop((0, 0, room, min(shown.height, 340)))
        made.paste(shown, (EDGE, top))
        top += shown.height + 10
        if picture.width > 1.5 * picture.height:
            draw.text((EDGE, top), labels[0], SOFT, ImageFont.load_default(20))
            draw.text((SIDE // 2 + 4, top), labels[1], ACCENT, ImageFont.load_default(20))
            top += 34
    else:
        draw.rectangle((EDGE, top, EDGE + 72, top + 8), ACCENT)
        top += 130
    for n, part in enumerate(title):
        size = 26 if n else 38
        for line in textwrap.wrap(part, room // (size // 2 - 1)):
            draw.text((EDGE, top), line, SOFT if n else INK, ImageFont.load_default(size))
            top += size + 10
    if picture is None:
        draw.text((EDGE, SIDE - EDGE - 24), "Semantic Nursing", ACCENT, ImageFont.load_default(22))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--labels", nargs=2, default=("without", "with"), metavar=("LEFT", "RIGHT"))
    args = parser.parse_args()
    picture = Image.open(args.picture) if args.picture else None
    card(args.name, picture, args.labels).save(FOLDER / f"{args.name}.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main()
