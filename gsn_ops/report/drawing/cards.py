"""A page with a title and a sentence, where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..run_report import ActionReport, RunReport
from .canvas import EDGE, INK, SOFT, Canvas, shorten, wrap
from .charts import BODY, PAD, SMALL, loss_curve, maxima_bars


def note_card(title: str, text: str, width: int = 1160) -> np.ndarray:
    """Title and text on paper, float32 [., width, 3]; the text is broken into lines."""
    lines = wrap(text, BODY, width - 2 * PAD)
    canvas = Canvas(width, PAD + TITLE + 30 + 26 * len(lines) + PAD)
    canvas.text(PAD, PAD + TITLE - 4, shorten(title, TITLE, width - 2 * PAD), TITLE)
    for n, line in enumerate(lines):
        canvas.text(PAD, PAD + TITLE + 34 + 26 * n, line, BODY, SOFT)
    return canvas.array()


GAP, TITLE = 20, 26


def fitted(picture: np.ndarray, width: float, height: float) -> tuple[float, float]:
    """Largest (width, height) with the picture's proportions inside a place."""
    h, w = np.shape(picture)[:2]
    scale = min(width / w, height / h)
    return max(1, round(w * scale)), max(1, round(h * scale))


def contact_sheet(
    pictures: Sequence[np.ndarray], labels: Sequence[str], columns: int = 4, cell: int = 256, title: str = ""
) -> np.ndarray:
    """Pictures [H, W, 3] in rows, each with its label below, float32 [., ., 3].

    The first line of a label is dark, the following ones (after a line break) are soft; long lines are shortened.
    Pictures of other proportions are centred in their cell. Raises ValueError if pictures and labels differ in number.
    """
    if len(pictures) != len(labels) or not pictures:
        raise ValueError(
            f"A contact sheet needs one label per picture, got {len(pictures)} and {len(labels)}."
        )
    columns = max(1, min(columns, len(pictures)))
    lines = [label.split("\n") for label in labels]
    tall = max(fitted(p, cell, cell)[1] for p in pictures)
    pitch = tall + 12 + 20 * max(map(len, lines)) + GAP
    top = PAD + (TITLE + GAP if title else 0)
    rows = -(-len(pictures) // columns)
    canvas = Canvas(2 * PAD + columns * (cell + GAP) - GAP, top + rows * pitch - GAP + PAD)
    if title:
        canvas.text(PAD, PAD + TITLE - 6, shorten(title, TITLE, canvas.width - 2 * PAD), TITLE)
    for i, (picture, label) in enumerate(zip(pictures, lines, strict=True)):
        x, y = PAD + i % columns * (cell + GAP), top + i // columns * pitch
        w, h = fitted(picture, cell, tall)
        canvas.picture(picture, x + (cell - w) / 2, y + (tall - h) / 2, w, h)
        for n, line in enumerate(label):
            canvas.text(x, y + tall + 20 + 20 * n, shorten(line, SMALL, cell), SMALL, SOFT if n else INK)
    return canvas.array()


def headline(report: RunReport, action: ActionReport, b: int) -> str:
    """Step, noise level, shifts and cost in one line."""
    words = [] if action.step is None else [f"step {action.step} of {report.n_steps}"]
    words += [] if action.sigma is None else [f"sigma {action.sigma:.3g}"]
    words += [f"{action.shifts[b]} shift{'s' * (action.shifts[b] != 1)}"] if action.shifts else []
    words += [f"{action.forwards} forward, {action.backwards} backward passes"] if action.forwards else []
    words += [f"image {b + 1} of {len(action.shifts)}"] if len(action.shifts) > 1 else []
    return ",  ".join([*words, report.sampler])


def report_card(
    report: RunReport,
    action: ActionReport,
    b: int = 0,
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
    title: str = "",
    width: int = 1160,
) -> np.ndarray:
    """What one action did to image b, float32 [., width, 3]: predicted picture before and after, loss, attention.

    before, after: pictures [H, W, 3] in 0..1, None = without them. title: above the card, by default the method.
    Cards of one run have one size, so that they stack to a batch.
    """
    wide = width - 2 * PAD
    half = (wide - GAP) // 2
    notes = [
        line
        for note in ([] if action.step is not None else [action.status]) + list(report.warnings)
        for line in wrap(note, SMALL, wide)
    ]
    shown = [
        (p, text)
        for p, text in ((before, "predicted before the shifts"), (after, "predicted after the shifts"))
        if p is not None
    ]
    tall = max([fitted(p, half, half)[1] for p, _ in shown], default=0)
    labels = action.subjects or [s.label for s in report.subjects]
    charts = 0 if action.step is None else max(320, 110 + 48 * len(labels))
    top = PAD + TITLE + 52
    height = (
        top
        + (tall + 34 + GAP if shown else 0)
        + (charts + GAP if charts else 0)
        + 22 * len(notes)
        + PAD
        - GAP
    )
    canvas = Canvas(width, height)
    canvas.text(PAD, PAD + TITLE - 4, shorten(title or action.method, TITLE, wide), TITLE)
    canvas.text(PAD, PAD + TITLE + 24, shorten(headline(report, action, b), BODY, wide), BODY, SOFT)
    y = top
    for i, (picture, text) in enumerate(shown):
        w, h = fitted(picture, half, tall)
        x = PAD + i * (half + GAP)
        canvas.box(x, y, half, tall, EDGE)
        canvas.picture(picture, x + (half - w) / 2, y + (tall - h) / 2, w, h)
        canvas.text(x, y + tall + 22, text, SMALL, SOFT)
    y += tall + 34 + GAP if shown else 0
    if charts:
        canvas.picture(loss_curve(action, b, half, charts), PAD, y, half, charts)
        canvas.picture(maxima_bars(action, labels, b, half, charts), PAD + half + GAP, y, half, charts)
        y += charts + GAP
    for n, line in enumerate(notes):
        canvas.text(PAD, y + 14 + 22 * n, line, SMALL, SOFT)
    return canvas.array()
