"""A run's report in words."""

from __future__ import annotations

import math

from .run_report import ActionReport, RunReport, SubjectReport


def subject_line(subject: SubjectReport) -> str:
    """ "red car (typed): l 'red' 'car' at 2 3"."""
    encoders = "; ".join(
        f"{name} {' '.join(repr(p) for p in subject.pieces.get(name, ()))} at {' '.join(map(str, columns))}"
        for name, columns in subject.columns.items()
        if columns
    )
    return f"{subject.label} ({subject.source}): {encoders}"


def counted(n: int, thing: str) -> str:
    """ "1 image", "3 images"."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def _change(before: float | None, after: float | None) -> str:
    first = "-" if before is None else f"{before:.3f}"
    return first if after is None else f"{first} -> {after:.3f}"


def image_lines(action: ActionReport, labels: list[str], b: int) -> list[str]:
    """What happened to image `b`: its loss, and the highest attention of each subject before and after."""
    curve = [
        look[b] for look in action.losses if math.isfinite(look[b])
    ]  # an image that has stopped has no loss any more
    first, last = (curve[0], curve[-1]) if curve else (None, None)
    if action.loss_after:
        last = action.loss_after[b]
    made = f" in {counted(action.shifts[b], 'shift')}" if action.shifts else ""
    lines = [f"  image {b + 1}: loss {_change(first, last)}{made}"]
    if action.maxima_before:
        after = action.maxima_after[b] if action.maxima_after else [None] * len(labels)
        lines += [
            f"    attention maximum of {label}: {_change(old, new)}"
            for label, old, new in zip(labels, action.maxima_before[b], after, strict=False)
        ]
    return lines


def report_text(report: RunReport) -> str:
    """The whole report as lines for people."""
    lines = [
        f"Semantic Nursing {report.version}: {report.model}, {report.sampler}, {counted(report.n_steps, 'step')}"
    ]
    lines += [report.moment] if report.moment else []
    lines += ["subject " + subject_line(s) for s in report.subjects] or ["no subjects"]
    for action in report.actions:
        lines.append(action.status)
        lines += [f"  attention read: {action.reads}"] if action.reads else []
        for b in range(max(len(action.shifts), len(action.maxima_before))):
            lines += image_lines(action, list(action.subjects) or [s.label for s in report.subjects], b)
    return "\n".join(lines + [f"note: {w}" for w in report.warnings])
