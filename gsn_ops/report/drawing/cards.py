"""Pages: a recipe's report for one image, a sheet of labelled images, a note."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..run_report import RecipeReport, RunReport
from ..text import counted
from .canvas import EDGE, INK, SOFT, Canvas, shorten, wrap
from .charts import BODY, PAD, SMALL, loss_curve, maxima_bars

GAP, TITLE = 20, 26
CAPTION = 34  # below a predicted image
LINE = 22  # of small text


def note_card(title: str, text: str, width: int = 1160) -> np.ndarray:
    """Title and text, float32 [., width, 3]; the text is broken into lines."""
    lines = wrap(text, BODY, width - 2 * PAD)
    canvas = Canvas(width, PAD + TITLE + 30 + 26 * len(lines) + PAD)
    canvas.text(PAD, PAD + TITLE - 4, shorten(title, TITLE, width - 2 * PAD), TITLE)
    for n, line in enumerate(lines):
        canvas.text(PAD, PAD + TITLE + 34 + 26 * n, line, BODY, SOFT)
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

    The first line of a label is dark, the following ones (after a line break) are soft; long lines are
    shortened. Images of other proportions are centred in their cell. Raises ValueError if images and labels
    differ in number.
    """
    if len(images) != len(labels) or not images:
        raise ValueError(f"A contact sheet needs one label per image, got {len(images)} and {len(labels)}.")
    columns = max(1, min(columns, len(images)))
    lines = [label.split("\n") for label in labels]
    tall = max(fitted(image, cell, cell)[1] for image in images)
    pitch = tall + 12 + 20 * max(map(len, lines)) + GAP
    top = PAD + (TITLE + GAP if title else 0)
    rows = -(-len(images) // columns)
    canvas = Canvas(2 * PAD + columns * (cell + GAP) - GAP, top + rows * pitch - GAP + PAD)
    if title:
        canvas.text(PAD, PAD + TITLE - 6, shorten(title, TITLE, canvas.width - 2 * PAD), TITLE)
    for i, (image, label) in enumerate(zip(images, lines, strict=True)):
        x, y = PAD + i % columns * (cell + GAP), top + i // columns * pitch
        w, h = fitted(image, cell, tall)
        canvas.paste(image, x + (cell - w) / 2, y + (tall - h) / 2, w, h)
        for n, line in enumerate(label):
            canvas.text(x, y + tall + 20 + 20 * n, shorten(line, SMALL, cell), SMALL, SOFT if n else INK)
    return canvas.array()


def headline(report: RunReport, recipe: RecipeReport, b: int) -> str:
    """Step, noise level, update steps and cost in one line."""
    words = [] if recipe.step is None else [f"step {recipe.step} of {report.n_steps}"]
    words += [] if recipe.sigma is None else [f"sigma {recipe.sigma:.3g}"]
    words += [counted(recipe.updates[b], "update step")] if recipe.updates else []
    words += [f"{recipe.forwards} forward, {recipe.backwards} backward passes"] if recipe.forwards else []
    words += [f"image {b + 1} of {len(recipe.updates)}"] if len(recipe.updates) > 1 else []
    return ",  ".join([*words, report.sampler])


def report_card(
    report: RunReport,
    recipe: RecipeReport,
    b: int = 0,
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
    title: str = "",
    width: int = 1160,
) -> np.ndarray:
    """One recipe run for image b, float32 [., width, 3]: predicted x0 before and after, loss, attention.

    before, after: images [H, W, 3] in 0 ... 1, None = without them. title: above the card, by default the
    method. Cards of one run have one size, so that they stack to a batch.
    """
    wide = width - 2 * PAD
    half = (wide - GAP) // 2
    captions = ((before, "predicted before the update steps"), (after, "predicted after the update steps"))
    images = [(image, caption) for image, caption in captions if image is not None]
    remarks = [] if recipe.step is not None else [recipe.status]
    notes = [line for remark in [*remarks, *report.warnings] for line in wrap(remark, SMALL, wide)]
    labels = recipe.subjects or [s.label for s in report.subjects]
    charts = 0 if recipe.step is None else max(320, 110 + 48 * len(labels))
    tall = max([fitted(image, half, half)[1] for image, _ in images], default=0)

    top = PAD + TITLE + 52
    of_images = tall + CAPTION + GAP if images else 0
    of_charts = charts + GAP if charts else 0
    canvas = Canvas(width, top + of_images + of_charts + LINE * len(notes) + PAD - GAP)
    canvas.text(PAD, PAD + TITLE - 4, shorten(title or recipe.method, TITLE, wide), TITLE)
    canvas.text(PAD, PAD + TITLE + 24, shorten(headline(report, recipe, b), BODY, wide), BODY, SOFT)
    for i, (image, caption) in enumerate(images):
        _draw_prediction(canvas, image, caption, PAD + i * (half + GAP), top, half, tall)
    if charts:
        y = top + of_images
        canvas.paste(loss_curve(recipe, b, half, charts), PAD, y, half, charts)
        canvas.paste(maxima_bars(recipe, labels, b, half, charts), PAD + half + GAP, y, half, charts)
    for n, line in enumerate(notes):
        canvas.text(PAD, top + of_images + of_charts + 14 + LINE * n, line, SMALL, SOFT)
    return canvas.array()


def _draw_prediction(
    canvas: Canvas, image: np.ndarray, caption: str, x: float, y: float, width: float, height: float
) -> None:
    """An image centred in a frame, with its caption below."""
    w, h = fitted(image, width, height)
    canvas.box(x, y, width, height, EDGE)
    canvas.paste(image, x + (width - w) / 2, y + (height - h) / 2, w, h)
    canvas.text(x, y + height + LINE, caption, SMALL, SOFT)
