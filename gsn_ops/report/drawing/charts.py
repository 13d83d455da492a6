"""Charts of one recipe run: the loss over the update steps, and each subject's attention before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..run_report import RecipeReport
from .canvas import AFTER, BEFORE, EDGE, FAINT, GRID, INK, PANEL, SOFT, Canvas, shorten, width_of

PAD, SMALL, BODY = 24, 14, 17
THIN_BAR = 8  # bars thinner than this leave room for one number per pair only

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


def panel(width: float, height: float, title: str) -> Canvas:
    """An empty white card with a title."""
    canvas = Canvas(width, height)
    canvas.box(0, 0, width, height, PANEL, EDGE, radius=8)
    canvas.text(PAD, PAD + 14, title, BODY)
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
        self.y_ticks = ticks(low, high if high > low else low + 1)
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
            canvas.text(self.at(x, 0)[0], self.top + self.height + 22, f"{x:g}", SMALL, SOFT, "ms")


def loss_curve(recipe: RecipeReport, b: int = 0, width: int = 560, height: int = 320) -> np.ndarray:
    """The loss of image b over the update steps, float32 [height, width, 3].

    The curves of the batch's other images are faint.
    """
    canvas = panel(width, height, "Loss over the update steps")
    curves = [curve_of(recipe, i) for i in range(len(recipe.losses[0]) if recipe.losses else 0)]
    if not curves or not curves[b]:
        text = "no finite loss" if curves else "no update step was made"
        canvas.text(width / 2, height / 2, text, BODY, SOFT, "mm")
        return canvas.array()
    axes = Axes(curves, PAD + 46, PAD + 46, width - 2 * PAD - 96, height - 2 * PAD - 90)
    axes.draw(canvas)
    canvas.text(axes.left + axes.width / 2, height - PAD + 4, "update steps", SMALL, SOFT, "ms")
    for i, curve in enumerate(curves):
        if i != b and curve:
            canvas.line([axes.at(*point) for point in curve], BEFORE, 1.5)
    own = curves[b]
    canvas.line([axes.at(*point) for point in own], AFTER, 2.5)
    first, last = axes.at(*own[0]), axes.at(*own[-1])
    canvas.dot(*last, 5, AFTER)
    canvas.text(last[0] + 11, last[1], f"{own[-1][1]:.3f}", SMALL, INK, "lm", halo=PANEL)
    if len(own) > 1:
        canvas.dot(*first, 5, AFTER)
        canvas.text(first[0] + 10, first[1] - 8, f"{own[0][1]:.3f}", SMALL, INK, "ls", halo=PANEL)
    return canvas.array()


def maxima_bars(
    recipe: RecipeReport, labels: Sequence[str], b: int = 0, width: int = 560, height: int = 320
) -> np.ndarray:
    """Highest attention per subject of image b before (grey) and after (blue): float32 [height, width, 3]."""
    canvas = panel(width, height, "Highest attention per subject")
    before = recipe.maxima_before[b] if recipe.maxima_before else ()
    after = recipe.maxima_after[b] if recipe.maxima_after else ()
    _draw_legend(canvas, [("after", AFTER)] * bool(after) + [("before", BEFORE)])
    values = [v for v in (*before, *after) if math.isfinite(v)]
    if not values or not labels:
        canvas.text(width / 2, height / 2, "no attention was measured", BODY, SOFT, "mm")
        return canvas.array()
    labels = labels[: len(before)]
    full = 1.0 if max(values) > 0.2 else ticks(0, max(*values, 1e-6))[-1]
    names = min(0.32 * width, max(width_of(label, BODY) for label in labels) + 4)
    left, room = PAD + names + 14, width - 2 * PAD - names - 72
    top, pitch = PAD + 40, min(64, (height - 2 * PAD - 36) / len(before))
    thick = max(3, min(15, pitch * 0.3))
    for j, label in enumerate(labels):
        middle = top + pitch * (j + 0.5)
        canvas.text(PAD, middle, shorten(label, BODY, names), BODY, INK, "lm")
        pair = [(before[j], BEFORE, SOFT)] + ([(after[j], AFTER, INK)] if after else [])
        for i, (value, colour, ink) in enumerate(pair):
            y = middle + (i - len(pair) / 2) * (thick + 2) + 1
            canvas.box(left, y, room, thick, GRID, radius=3)
            if math.isfinite(value) and value > 0:
                canvas.box(left, y, max(3, room * min(1, value / full)), thick, colour, radius=3)
            if thick >= THIN_BAR or i == len(pair) - 1:
                canvas.text(left + room + 10, y + thick / 2, number(value), SMALL, ink, "lm")
    return canvas.array()


def _draw_legend(canvas: Canvas, entries: Sequence[tuple[str, str]]) -> None:
    """(text, colour) from the right."""
    right = float(canvas.width - PAD)
    for text, colour in entries:
        right -= width_of(text, SMALL)
        canvas.text(right, PAD + 14, text, SMALL, SOFT)
        canvas.box(right - 18, PAD + 3, 11, 11, colour, radius=2)
        right -= 36


def number(value: float) -> str:
    """Two decimals, or as many as a small number needs."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.2g}"
