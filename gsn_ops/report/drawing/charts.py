"""Charts of one recipe run: the loss over the update steps, and each subject's attention before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..run_report import RecipeReport
from .canvas import AFTER, BEFORE, EDGE, FAINT, GRID, INK, PANEL, SOFT, Canvas, shorten, told, width_of

PAD, SMALL, BODY = 20, 20, 24
"""Pixels. A report of CARD pixels is shown about 400 wide on its node, where SMALL is 10 pixels high."""
SUBJECT, MANY, SUBJECT_OF_MANY = 76, 4, 54  # height of one subject's bars; of more than MANY subjects

Curve = list[tuple[int, float]]
"""Points (update steps made, loss)."""


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) that enclose low ...

    high in at most `most` steps.
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power * factor for factor in (1, 2, 5, 10, 20)):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first <= most:
            break
    return [n * step for n in range(first, last + 1)]


def curve_of(recipe: RecipeReport, b: int) -> Curve:
    """The losses of image b as long as they are finite, the one after the last update included."""
    curve = [(n, row[b]) for n, row in enumerate(recipe.losses) if math.isfinite(row[b])]
    if recipe.loss_after and math.isfinite(recipe.loss_after[b]) and recipe.updates:
        made = recipe.updates[b]
        curve = [point for point in curve if point[0] < made] + [(made, recipe.loss_after[b])]
    return curve


def panel(width: float, height: float, title: str = "") -> Canvas:
    """An empty card with a title."""
    canvas = Canvas(width, height)
    canvas.box(0, 0, width, height, PANEL, EDGE, radius=8)
    canvas.text(PAD, PAD + 16, shorten(told(title), BODY, width - 2 * PAD), BODY)
    return canvas


class Axes:
    """From (update steps, loss) to pixels.

    The loss axis starts at 0, or below it where a loss is negative.
    """

    def __init__(self, curves: Sequence[Curve], left: float, top: float, width: float, height: float) -> None:
        points = [point for curve in curves for point in curve]
        losses = [y for _, y in points]
        low, high = min(0.0, *losses), max(0.0, *losses)
        self.x_end = max(1, *(x for x, _ in points))
        self.x_ticks = [t for t in ticks(0, self.x_end, 6) if t == round(t) and t <= self.x_end]
        most = 5 if height > 200 else 2
        self.y_ticks = ticks(low, high if high > low else low + 1, most)
        self.left, self.top = left, top
        self.width, self.height = width, height

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.left + self.width * x / self.x_end, self.top + self.height * (high - y) / (high - low)

    def draw(self, canvas: Canvas) -> None:
        """Grid lines and numbers."""
        decimals = max(0, -math.floor(math.log10(self.y_ticks[1] - self.y_ticks[0]) + 1e-9))
        for y in self.y_ticks:
            (x0, py), (x1, _) = self.at(0, y), self.at(self.x_end, y)
            canvas.line([(x0, py), (x1, py)], FAINT if y == self.y_ticks[0] else GRID)
            canvas.text(x0 - 12, py, f"{y:.{decimals}f}", SMALL, SOFT, "rm")
        for x in self.x_ticks:
            canvas.text(self.at(x, 0)[0], self.top + self.height + 26, f"{x:g}", SMALL, SOFT, "ms")


def loss_curve(recipe: RecipeReport, b: int = 0, width: int = 560, height: int = 320) -> np.ndarray:
    """The loss of image b over the update steps, float32 [height, width, 3].

    The curves of the batch's other images are faint.
    """
    canvas = panel(width, height, "Loss over the update steps")
    curves = [curve_of(recipe, i) for i in range(len(recipe.losses[0]) if recipe.losses else 0)]
    if not curves or not curves[b]:
        text = "no finite loss" if curves else "no update step was made"
        canvas.text(width / 2, height / 2, told(text), BODY, SOFT, "mm")
        return canvas.array()
    axes = Axes(curves, PAD + 56, PAD + 38, width - 2 * PAD - 136, height - 2 * PAD - 56)
    axes.draw(canvas)
    for i, curve in enumerate(curves):
        if i != b and curve:
            canvas.line([axes.at(*point) for point in curve], BEFORE, 2)
    own = curves[b]
    canvas.line([axes.at(*point) for point in own], AFTER, 3.5)
    first, last = axes.at(*own[0]), axes.at(*own[-1])
    canvas.dot(*last, 6, AFTER)
    canvas.text(last[0] + 13, last[1], f"{own[-1][1]:.3f}", SMALL, INK, "lm", halo=PANEL)
    if len(own) > 1:
        canvas.dot(*first, 6, AFTER)
        canvas.text(first[0] + 14, first[1] - 2, f"{own[0][1]:.3f}", SMALL, INK, "ls", halo=PANEL)
    return canvas.array()


def bars_height(subjects: int) -> int:
    """How high the bars of so many subjects are, in pixels."""
    return 2 * PAD + 30 + max(1, subjects) * (SUBJECT if subjects <= MANY else SUBJECT_OF_MANY)


def maxima_bars(
    recipe: RecipeReport,
    labels: Sequence[str],
    b: int = 0,
    width: int = 560,
    height: int | None = None,
    colours: Sequence[str] = (),
) -> np.ndarray:
    """Highest attention per subject of image b before (grey) and after (blue): float32 [height, width, 3].

    height: None = as much as the subjects need. colours: of the subjects' regions, "" = has none.
    """
    before = recipe.maxima_before[b] if recipe.maxima_before else ()
    after = recipe.maxima_after[b] if recipe.maxima_after else ()
    labels = labels[: len(before)]
    canvas = panel(width, height or bars_height(len(labels)))
    canvas.text(PAD, PAD + 15, told("Attention"), SMALL)
    _draw_legend(canvas, [("after", AFTER)] * bool(after) + [("before", BEFORE)])
    values = [v for v in (*before, *after) if math.isfinite(v)]
    if not values or not labels:
        canvas.text(width / 2, canvas.height / 2, told("not measured"), BODY, SOFT, "mm")
        return canvas.array()
    full = 1.0 if max(values) > 0.2 else ticks(0, max(*values, 1e-6))[-1]
    pitch = SUBJECT if len(labels) <= MANY else SUBJECT_OF_MANY
    for j, label in enumerate(labels):
        course = (before[j], after[j]) if after else (before[j],)
        colour = colours[j] if j < len(colours) else ""
        _draw_subject(canvas, label, course, PAD + 30 + pitch * j, pitch, full, colour)
    return canvas.array()


def _draw_subject(
    canvas: Canvas, label: str, course: Sequence[float], top: float, pitch: float, full: float, colour: str
) -> None:
    """A subject's name and numbers, and a bar of the width value / full for each number below."""
    room = canvas.width - 2 * PAD
    said = f" {told('to')} ".join(number(value, full) for value in course)
    left, right = PAD + 22 * bool(colour), canvas.width - PAD
    if colour:
        canvas.box(PAD, top + 13, 14, 14, colour, radius=3)
    canvas.text(right, top + 28, said, SMALL, INK, "rs")
    canvas.text(left, top + 28, shorten(label, SMALL, right - left - width_of(said, SMALL) - 10), SMALL)
    thick = max(6, (pitch - 48) / 2)
    for i, (value, ink) in enumerate(zip(course, (BEFORE, AFTER), strict=False)):
        y = top + 36 + i * (thick + 2)
        canvas.box(PAD, y, room, thick, GRID, radius=3)
        if math.isfinite(value) and value > 0:
            canvas.box(PAD, y, max(3, room * min(1, value / full)), thick, ink, radius=3)


def _draw_legend(canvas: Canvas, entries: Sequence[tuple[str, str]]) -> None:
    """(text, colour) from the right."""
    right = float(canvas.width - PAD)
    for text, colour in entries:
        text = told(text)
        right -= width_of(text, SMALL)
        canvas.text(right, PAD + 15, text, SMALL, SOFT)
        canvas.box(right - 17, PAD + 2, 13, 13, colour, radius=3)
        right -= 28


def number(value: float, largest: float = 0.0) -> str:
    """Two decimals, or as many as a small number needs where no other is larger than 0.1."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.2f}" if max(abs(value), largest) >= 0.095 else f"{value:.2g}"
