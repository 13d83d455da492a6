"""Pages: a recipe's report for one image, a sheet of labelled images, a note."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...regions import Region
from ..run_report import RecipeReport, RunReport
from ..text import counted
from ..verdict import WEAK
from .canvas import COLOURS, EDGE, INK, SOFT, Canvas, resized, shorten, told, wrap
from .charts import BODY, PAD, SMALL, bars_height, loss_curve, maxima_bars
from .outlines import outlined

GAP, TITLE = 16, 30
CARD = 840  # width of a report, in pixels
CAPTION = 30  # below a predicted image
LINE = 26  # of small text
CURVE = 160  # height of the loss curve


def note_card(title: str, text: str, width: int = CARD) -> np.ndarray:
    """Title and text, float32 [., width, 3]; the text is broken into lines."""
    title, lines = told(title), wrap(told(text), BODY, width - 2 * PAD)
    canvas = Canvas(width, PAD + TITLE + 30 + 32 * len(lines) + PAD)
    canvas.text(PAD, PAD + TITLE - 4, shorten(title, TITLE, width - 2 * PAD), TITLE)
    for n, line in enumerate(lines):
        canvas.text(PAD, PAD + TITLE + 36 + 32 * n, line, BODY, SOFT)
    return canvas.array()


def fitted(image: np.ndarray, width: float, height: float) -> tuple[float, float]:
    """Largest (width, height) with the image's proportions inside a box."""
    h, w = np.shape(image)[:2]
    scale = min(width / w, height / h)
    return max(1, round(w * scale)), max(1, round(h * scale))


def contact_sheet(
    images: Sequence[np.ndarray], labels: Sequence[str], columns: int = 4, cell: int = 256, title: str = ""
) -> np.ndarray:
    """Images [H, W, 3] in rows, each with its label below: float32 [., ., 3].

    The first line of a label is bright, the following ones (after a line break) are soft; long lines are
    shortened. Images of other proportions are centred in their cell. Raises ValueError if images and labels
    differ in number.
    """
    if len(images) != len(labels) or not images:
        raise ValueError(f"A contact sheet needs one label per image, got {len(images)} and {len(labels)}.")
    columns = max(1, min(columns, len(images)))
    lines = [label.split("\n") for label in labels]
    tall = max(fitted(image, cell, cell)[1] for image in images)
    pitch = tall + 10 + LINE * max(map(len, lines)) + GAP
    top = PAD + (TITLE + GAP if title else 0)
    rows = -(-len(images) // columns)
    canvas = Canvas(2 * PAD + columns * (cell + GAP) - GAP, top + rows * pitch - GAP + PAD)
    if title:
        canvas.text(PAD, PAD + TITLE - 6, shorten(told(title), TITLE, canvas.width - 2 * PAD), TITLE)
    for i, (image, label) in enumerate(zip(images, lines, strict=True)):
        x, y = PAD + i % columns * (cell + GAP), top + i // columns * pitch
        w, h = fitted(image, cell, tall)
        canvas.paste(image, x + (cell - w) / 2, y + (tall - h) / 2, w, h)
        for n, line in enumerate(label):
            canvas.text(x, y + tall + 24 + LINE * n, shorten(line, SMALL, cell), SMALL, SOFT if n else INK)
    return canvas.array()


def headline(report: RunReport, recipe: RecipeReport, b: int) -> str:
    """Step, noise level, update steps and cost in one line."""
    words = [] if recipe.step is None else [f"step {recipe.step} of {report.n_steps}"]
    words += [f"image {b + 1} of {len(recipe.updates)}"] if len(recipe.updates) > 1 else []
    words += [counted(recipe.updates[b], "update step")] if recipe.updates else []
    words += [f"{recipe.forwards} + {recipe.backwards} passes"] if recipe.forwards else []
    words += [] if recipe.sigma is None else [f"sigma {recipe.sigma:.3g}"]
    return ", ".join([*map(told, words), report.sampler.removeprefix("sample_")])


def report_card(
    report: RunReport,
    recipe: RecipeReport,
    b: int = 0,
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
    title: str = "",
    width: int = CARD,
) -> np.ndarray:
    """One recipe run for image b, float32 [., width, 3]: predicted x0 before and after, attention, loss.

    before, after: images [H, W, 3] in 0 ... 1, None = without them. title: above the card, by default the
    method.
    """
    wide = width - 2 * PAD
    labels = recipe.subjects or tuple(s.label for s in report.subjects)
    top = _header(report, recipe, b, wide)
    notes = [line for remark in _remarks(report, recipe) for line in wrap(told(remark), SMALL, wide)]
    middle = [] if recipe.step is None else _middle(recipe, labels, b, before, after, wide)
    height = len(top) + 1  # of the header: a title, then lines
    canvas = Canvas(
        width, 2 * PAD - GAP + TITLE + LINE * height + sum(h + GAP for h, _ in middle) + LINE * len(notes)
    )
    canvas.text(PAD, PAD + TITLE - 4, shorten(title or recipe.method, TITLE, wide), TITLE)
    for n, (line, ink) in enumerate(top):
        canvas.text(PAD, PAD + TITLE + 4 + LINE * (n + 1), line, SMALL, ink)
    y = PAD + TITLE + LINE * height
    for tall, parts in middle:
        x = float(PAD)
        for part in parts:
            canvas.paste(part, x, y, part.shape[1], part.shape[0])
            x += part.shape[1] + GAP
        y += tall + GAP
    for n, line in enumerate(notes):
        canvas.text(PAD, y + 18 + LINE * n, line, SMALL, SOFT)
    return canvas.array()


def _header(report: RunReport, recipe: RecipeReport, b: int, wide: int) -> list[tuple[str, str]]:
    """(line, colour) below the title: what became of the subjects, or why nothing was done; then the cost."""
    said = recipe.said if recipe.step is None else recipe.verdict
    if len(recipe.updates) > 1:
        said = ""  # it is about the worst image of the batch, which need not be this one
    lines = [(line, INK) for line in wrap(told(said), SMALL, wide)]
    if recipe.step is None:
        return lines
    return [*lines, (shorten(headline(report, recipe, b), SMALL, wide), SOFT)]


def _remarks(report: RunReport, recipe: RecipeReport) -> list[str]:
    """What stands below a card: remarks of the run, and the status where the cure alone is in the header."""
    status = [recipe.status] if recipe.step is None and recipe.line else []
    return [*status, *report.warnings]


Row = tuple[int, list[np.ndarray]]
"""Height of a row of a card, and the images in it from the left."""


def _middle(
    recipe: RecipeReport,
    labels: Sequence[str],
    b: int,
    before: np.ndarray | None,
    after: np.ndarray | None,
    wide: int,
) -> list[Row]:
    """The rows of a card: predicted images and bars side by side, and the loss curve below."""
    regions = recipe.regions or {}
    colours = [COLOURS[j % len(COLOURS)] if label in regions else "" for j, label in enumerate(labels)]
    drawn = [(regions[label], colour) for label, colour in zip(labels, colours, strict=True) if colour]
    idle = bool(recipe.updates) and not recipe.updates[b]
    bars = bars_height(len(recipe.maxima_before[b])) if recipe.maxima_before else 0
    images = _images(before, after, idle, bool(recipe.updates))
    side = round(0.3 * wide) if bars else (wide - GAP) // 2
    pictures = [_prediction(image, caption, side, drawn) for image, caption in images]
    rows: list[Row] = []
    first = list(pictures)
    if bars:
        left = wide - sum(part.shape[1] + GAP for part in pictures)
        tall = max([bars, *(part.shape[0] for part in pictures)])
        first.append(maxima_bars(recipe, labels, b, left, tall, colours))
    if first:
        rows.append((max(part.shape[0] for part in first), first))
    if idle:
        rows.append((BODY + GAP, [_line(_why_idle(recipe, b), wide)]))
    elif recipe.losses:
        rows.append((CURVE, [loss_curve(recipe, b, wide, CURVE)]))
    return rows


def _images(
    before: np.ndarray | None, after: np.ndarray | None, idle: bool, updated: bool
) -> list[tuple[np.ndarray, str]]:
    """(predicted image, caption); one alone where nothing was changed."""
    if idle:
        captions: tuple[tuple[np.ndarray | None, str], ...] = ((before, "predicted at this step"),)
    elif updated:
        captions = ((before, "predicted before"), (after, "predicted after"))
    else:
        captions = ((before, "predicted without"), (after, "predicted with"))
    return [(image, caption) for image, caption in captions if image is not None]


def _why_idle(recipe: RecipeReport, b: int) -> str:
    """What is said in place of the curve of an image without an update step."""
    found = recipe.maxima_before[b] if recipe.maxima_before else ()
    if found and min(found) >= WEAK:
        return "Nothing to mend: no subject was missing, no update step was made."
    return "No update step was made."


def _line(text: str, wide: int) -> np.ndarray:
    canvas = Canvas(wide, BODY + GAP)
    canvas.text(0, BODY, shorten(told(text), BODY, wide), BODY)
    return canvas.array()


def _prediction(
    image: np.ndarray, caption: str, side: int, regions: Sequence[tuple[Region, str]]
) -> np.ndarray:
    """A predicted image with the regions on it, centred in its frame, and its caption below."""
    w, h = fitted(image, side, side)
    canvas = Canvas(side, h + CAPTION)
    canvas.box(0, 0, side, h, EDGE)
    canvas.paste(outlined(resized(image, w, h), regions), (side - w) / 2, 0, w, h)
    canvas.text(0, h + CAPTION - 6, shorten(told(caption), SMALL, side), SMALL, SOFT)
    return canvas.array()
