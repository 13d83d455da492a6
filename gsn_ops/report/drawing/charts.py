"""Charts of one action's report: the loss over the shifts, and each subject's attention before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..run_report import ActionReport
from .canvas import AFTER, BEFORE, EDGE, FAINT, GRID, INK, PANEL, SOFT, Canvas, shorten, width_of

PAD, SMALL, BODY = 24, 14, 17


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) that enclose low ... high in at most `most` steps."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power * factor for factor in (1, 2, 5, 10, 20)):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first <= most:
            break
    return [n * step for n in range(first, last + 1)]


def curve_of(action: ActionReport, b: int) -> list[tuple[int, float]]:
    """(updates made, loss) of image b, as long as it was looked at and finite; the look after the last one included."""
    curve = [(j, look[b]) for j, look in enumerate(action.losses) if math.isfinite(look[b])]
    if action.loss_after and math.isfinite(action.loss_after[b]) and action.shifts:
        curve = [p for p in curve if p[0] < action.shifts[b]] + [(action.shifts[b], action.loss_after[b])]
    return curve


def panel(width: float, height: float, title: str) -> Canvas:
    """An empty white card with a title."""
    canvas = Canvas(width, height)
    canvas.box(0, 0, width, height, PANEL, EDGE, radius=8)
    canvas.text(PAD, PAD + 14, title, BODY)
    return canvas


class Axes:
    """From (shifts, loss) to pixels. The loss axis starts at 0, or below it where a loss is negative."""

    def __init__(
        self,
        curves: Sequence[Sequence[tuple[int, float]]],
        left: float,
        top: float,
        width: float,
        height: float,
    ):
        points = [p for curve in curves for p in curve]
        losses = [y for _, y in points]
        low, high = min(0.0, *losses), max(0.0, *losses)
        self.x_end = max(1, *(x for x, _ in points))
        self.x_ticks = [t for t in ticks(0, self.x_end, 6) if t == round(t) and t <= self.x_end]
        self.y_ticks = ticks(low, high if high > low else low + 1)
        self.left, self.top, self.width, self.height = left, top, width, height

    def at(self, x: float, y: float) -> tuple[float, float]:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.left + self.width * x / self.x_end, self.top + self.height * (high - y) / (high - low)


def loss_curve(action: ActionReport, b: int = 0, width: int = 560, height: int = 320) -> np.ndarray:
    """The loss of image b over the shifts, float32 [height, width, 3]; the batch's other images are faint lines."""
    canvas = panel(width, height, "Loss over the shifts")
    curves = [curve_of(action, i) for i in range(len(action.losses[0]) if action.losses else 0)]
    if not curves or not curves[b]:
        canvas.text(
            width / 2, height / 2, "no finite loss" if curves else "no shift was made", BODY, SOFT, "mm"
        )
        return canvas.array()
    axes = Axes(curves, PAD + 46, PAD + 46, width - 2 * PAD - 96, height - 2 * PAD - 90)
    decimals = max(0, -math.floor(math.log10(axes.y_ticks[1] - axes.y_ticks[0]) + 1e-9))
    for y in axes.y_ticks:
        (x0, py), (x1, _) = axes.at(0, y), axes.at(axes.x_end, y)
        canvas.line([(x0, py), (x1, py)], FAINT if y == axes.y_ticks[0] else GRID)
        canvas.text(x0 - 12, py, f"{y:.{decimals}f}", SMALL, SOFT, "rm")
    for x in axes.x_ticks:
        canvas.text(axes.at(x, 0)[0], axes.top + axes.height + 22, f"{x:g}", SMALL, SOFT, "ms")
    canvas.text(axes.left + axes.width / 2, height - PAD + 4, "shifts", SMALL, SOFT, "ms")
    for i, curve in enumerate(curves):
        if i != b and curve:
            canvas.line([axes.at(*p) for p in curve], BEFORE, 1.5)
    canvas.line([axes.at(*p) for p in curves[b]], AFTER, 2.5)
    first, last = axes.at(*curves[b][0]), axes.at(*curves[b][-1])
    canvas.dot(*last, 5, AFTER)
    canvas.text(last[0] + 11, last[1], f"{curves[b][-1][1]:.3f}", SMALL, INK, "lm", halo=PANEL)
    if len(curves[b]) > 1:
        canvas.dot(*first, 5, AFTER)
        canvas.text(first[0] + 10, first[1] - 8, f"{curves[b][0][1]:.3f}", SMALL, INK, "ls", halo=PANEL)
    return canvas.array()


def maxima_bars(
    action: ActionReport, labels: Sequence[str], b: int = 0, width: int = 560, height: int = 320
) -> np.ndarray:
    """Highest attention of each subject of image b before (grey) and after (blue), float32 [height, width, 3]."""
    canvas = panel(width, height, "Highest attention per subject")
    before = action.maxima_before[b] if action.maxima_before else ()
    after = action.maxima_after[b] if action.maxima_after else ()
    right = width - PAD
    for text, colour in [("after", AFTER)] * bool(after) + [("before", BEFORE)]:
        right -= width_of(text, SMALL)
        canvas.text(right, PAD + 14, text, SMALL, SOFT)
        canvas.box(right - 18, PAD + 3, 11, 11, colour, radius=2)
        right -= 36
    values = [v for v in (*before, *after) if math.isfinite(v)]
    if not values or not labels:
        canvas.text(width / 2, height / 2, "no attention was measured", BODY, SOFT, "mm")
        return canvas.array()
    full = 1.0 if max(values) > 0.2 else ticks(0, max(*values, 1e-6))[-1]
    names = min(0.32 * width, max(width_of(label, BODY) for label in labels[: len(before)]) + 4)
    left, room = PAD + names + 14, width - 2 * PAD - names - 72
    top, pitch = PAD + 40, min(64, (height - 2 * PAD - 36) / len(before))
    thick = max(3, min(15, pitch * 0.3))
    for j, label in enumerate(labels[: len(before)]):
        middle = top + pitch * (j + 0.5)
        canvas.text(PAD, middle, shorten(label, BODY, names), BODY, INK, "lm")
        pair = [(before[j], BEFORE, SOFT)] + ([(after[j], AFTER, INK)] if after else [])
        for i, (value, colour, ink) in enumerate(pair):
            y = middle + (i - len(pair) / 2) * (thick + 2) + 1
            known = math.isfinite(value)
            canvas.box(left, y, room, thick, GRID, radius=3)
            if known and value > 0:
                canvas.box(left, y, max(3, room * min(1, value / full)), thick, colour, radius=3)
            if thick >= 8 or i == len(pair) - 1:
                canvas.text(
                    left + room + 10,
                    y + thick / 2,
                    number(value) if known else "not finite",
                    SMALL,
                    ink,
                    "lm",
                )
    return canvas.array()


def number(value: float) -> str:
    """Two decimals, or as many as a small number needs."""
    return f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.2g}"
