"""What a run means for the person at the screen: a verdict on its subjects, and the cure of a run that did
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..remark import cut

MISSING, WEAK = 0.3, 0.4
"""Highest attention (0 to 1) below which a subject is called missing, or weak. Ours: words, not thresholds of
a method.
"""
LENGTH = 90
"""Letters that fit on a node as it is created."""


@dataclass(frozen=True)
class Course:
    """One subject's highest attention before, and after where that was evaluated."""

    label: str
    before: float
    after: float | None

    @property
    def lacked(self) -> bool:
        return self.before < WEAK

    @property
    def is_weak(self) -> bool:
        return self.after is not None and self.after < WEAK


def courses(
    labels: Sequence[str], before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]
) -> list[Course]:
    """Per subject: the image in which it had the least attention. before, after: [image][subject]."""
    found = []
    for n, label in enumerate(labels):
        worst = min(range(len(before)), key=lambda b: before[b][n])
        found.append(Course(label, before[worst][n], after[worst][n] if after else None))
    return found


def verdict(found: Sequence[Course], one_step: bool) -> str:
    """The verdict on the wanted subjects, at most LENGTH letters; "" = nothing is known.

    one_step: the attention before is that of the image as it would have been. Else it is that of the first
    of several steps, where noise has little attention, and only the end is judged.
    """
    if not found:
        return ""
    least = min(found, key=lambda course: course.before)
    if least.after is None:
        if not one_step:
            return ""
        return f"before: {least.label} {_state(least.before)} ({least.before:.2f})"
    weak = [course for course in found if course.is_weak]
    parts = [_restored(c) for c in found if one_step and c.lacked and not c.is_weak]
    parts += [f"{c.label} ({c.before:.2f}, now {c.after:.2f})" for c in weak]
    if weak:
        parts[-len(weak)] = f"still weak: {parts[-len(weak)]}"
    if parts:
        return _shortened(parts)
    if not one_step:
        return "all subjects have attention"
    least_now = f"{least.label} {least.before:.2f}, now {least.after:.2f}"
    return _shortened([f"nothing was missing (least: {least_now})"])


def cure_first(reason: str) -> str:
    """ "cause: cure" as "cure (cause)"; a reason without a cure as it is."""
    cause, cure = cut(reason.rstrip("."), ": ")
    if cause.startswith(("The ", "This ")):
        cause = cause[0].lower() + cause[1:]
    return f"{cure} ({cause})" if cure else cause


def _state(attention: float) -> str:
    if attention < MISSING:
        return "missing"
    return "weak" if attention < WEAK else "there"


def _restored(course: Course) -> str:
    return f"{course.label} was {_state(course.before)} ({course.before:.2f}), now {course.after:.2f}"


def _shortened(parts: Sequence[str]) -> str:
    """As many parts as fit, and how many more there are; one that is too long alone loses its middle."""
    for kept in range(len(parts), 0, -1):
        more = len(parts) - kept
        text = "; ".join([*parts[:kept], *([f"{more} more in the report"] if more else [])])
        if len(text) <= LENGTH:
            return text
    return text[: LENGTH // 2 - 2] + "..." + text[-(LENGTH // 2 - 1) :]
