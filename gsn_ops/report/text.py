"""A run's report as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..cost import amount
from .run_report import RecipeReport, RunReport, SubjectReport


def subject_line(subject: SubjectReport) -> str:
    """One subject, for example: red car (typed): l 'red' 'car' at 2 3."""
    encoders = []
    for name, columns in subject.columns.items():
        if columns:
            pieces = " ".join(repr(piece) for piece in subject.pieces.get(name, ()))
            encoders.append(f"{name} {pieces} at {' '.join(map(str, columns))}")
    return f"{subject.label} ({subject.source}): {'; '.join(encoders)}"


def counted(n: int, thing: str) -> str:
    """A number with its noun, for example: 1 image, 3 images."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def image_lines(recipe: RecipeReport, labels: Sequence[str], b: int) -> list[str]:
    """What happened to image `b`: its loss, and the highest attention of each subject before and after."""
    # An image that has stopped has no finite loss any more.
    curve = [row[b] for row in recipe.losses if math.isfinite(row[b])]
    first, last = (curve[0], curve[-1]) if curve else (None, None)
    if recipe.loss_after:
        last = recipe.loss_after[b]
    made = f" in {counted(recipe.updates[b], 'update step')}" if recipe.updates else ""
    lines = [f"  image {b + 1}:" + (f" loss {_change(first, last)}{made}" if recipe.losses else "")]
    if recipe.maxima_before:
        after = recipe.maxima_after[b] if recipe.maxima_after else [None] * len(labels)
        lines += [
            f"    attention maximum of {label}: {_change(old, new)}"
            for label, old, new in zip(labels, recipe.maxima_before[b], after, strict=False)
        ]
    return lines


def run_text(report: RunReport) -> str:
    """The whole report, line by line."""
    steps = counted(report.n_steps, "step")
    lines = [f"Semantic Nursing {report.version}: {report.model}, {report.sampler}, {steps}"]
    lines += [report.default_step] if report.default_step else []
    lines += ["subject " + subject_line(s) for s in report.subjects] or ["no subjects"]
    for recipe in report.recipes:
        lines.append(recipe.status)
        lines += [f"  {recipe.verdict}"] if recipe.verdict else []
        lines += [f"  cost +{amount(recipe.cost)} images"] if recipe.cost else []
        lines += [f"  attention read: {recipe.attention_read}"] if recipe.attention_read else []
        labels = recipe.subjects or [s.label for s in report.subjects]
        for b in range(max(len(recipe.updates), len(recipe.maxima_before))):
            lines += image_lines(recipe, labels, b)
    return "\n".join(lines + [f"note: {w}" for w in report.warnings])


def _change(before: float | None, after: float | None) -> str:
    first = "-" if before is None else _number(before)
    return first if after is None else f"{first} -> {_number(after)}"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not finite"
