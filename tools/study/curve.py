"""The paper's figure 8 of one's own model: right images over the candidate steps, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gsn_ops.report.drawing.canvas import FAINT, GRID, PANEL, SOFT, to_image
from gsn_ops.report.drawing.charts import SMALL, panel

from .paired_statistics import wilson

COLOURS = ("#2a78d6", "#e07b00", "#2b8a3e", "#a333c8", "#c92a2a", "#495057")
LEFT, TOP, WIDTH, HEIGHT = 76, 60, 560, 300
LEGEND = 24  # pixels per line below the axes


@dataclass(frozen=True)
class Series:
    """One prompt set: right images of n per candidate step, and how many the plain model got right."""

    name: str
    right: Mapping[int, int]
    plain: int
    n: int


def curve_picture(series: Sequence[Series], chosen: int | None, title: str):
    """A Pillow image: a line with 95 % intervals per set, the plain model dashed, the chosen step marked."""
    height = TOP + HEIGHT + 56 + LEGEND * len(series)
    canvas = panel(LEFT + WIDTH + 40, height, title)
    steps = sorted({step for one in series for step in one.right})
    first, last = min(steps), max(steps)

    def at(step: float, share: float) -> tuple[float, float]:
        return LEFT + WIDTH * (step - first) / max(1, last - first), TOP + HEIGHT * (1 - share)

    for percent in range(0, 101, 20):
        canvas.line([at(first, percent / 100), at(last, percent / 100)], GRID if percent else FAINT)
        canvas.text(LEFT - 12, at(first, percent / 100)[1], f"{percent} %", SMALL, SOFT, "rm")
    for step in steps:
        canvas.text(at(step, 0)[0], TOP + HEIGHT + 20, str(step), SMALL, SOFT, "ms")
    canvas.text(LEFT + WIDTH / 2, TOP + HEIGHT + 40, "sampling step of the updates", SMALL, SOFT, "ms")
    if chosen is not None:
        canvas.line([at(chosen, 0), at(chosen, 1)], FAINT, 2)
        canvas.text(at(chosen, 1)[0], TOP - 6, f"chosen: {chosen}", SMALL, SOFT, "ms", halo=PANEL)
    for number, one in enumerate(series):
        _draw(canvas, one, at, COLOURS[number % len(COLOURS)], TOP + HEIGHT + 64 + LEGEND * number)
    return to_image(canvas.array())


def _draw(canvas, one: Series, at, colour: str, legend_y: float) -> None:
    """One set: intervals, line, points, the plain model, and its line of the legend."""
    points = [(step, hits / one.n) for step, hits in sorted(one.right.items())]
    for step, share in points:
        low, high = wilson(round(share * one.n), one.n)
        canvas.line([at(step, low), at(step, high)], colour, 1)
    canvas.line([at(*point) for point in points], colour, 2.5)
    for point in points:
        canvas.dot(*at(*point), 4, colour)
    (x0, y), (x1, _) = at(points[0][0], one.plain / one.n), at(points[-1][0], one.plain / one.n)
    dashes = max(1, int((x1 - x0) // 14))
    for dash in range(dashes):
        start = x0 + (x1 - x0) * dash / dashes
        canvas.line([(start, y), (start + 7, y)], colour, 1.5)
    canvas.line([(LEFT, legend_y - 5), (LEFT + 26, legend_y - 5)], colour, 2.5)
    canvas.text(LEFT + 34, legend_y, f"{one.name} (dashed: plain)", SMALL, SOFT)


def save_curve(file: Path, series: Sequence[Series], chosen: int | None, title: str) -> None:
    """Writes the picture."""
    file.parent.mkdir(parents=True, exist_ok=True)
    curve_picture(series, chosen, title).save(file)
