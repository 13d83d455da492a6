"""What a run costs besides its plain image, in images: passes of a method against the image's own."""

from __future__ import annotations

UPDATE = 2
"""Passes of an update step, forward and backward: weights are frozen, so a backward pass costs as a forward
one. That passes end after the last layer needed is not counted in their favour.
"""
MANY = 3.0
"""Images from which on a method says that it costs much."""


def in_images(passes: float, plain: float) -> float:
    """Passes as a share of a plain image of `plain` passes."""
    return passes / max(plain, 1)


def amount(images: float) -> str:
    """A cost with two digits: 0.038, 0.9, 12, 125."""
    return f"{images:.0f}" if images >= 100 else f"{images:.2g}"


def at_most(images: float) -> str:
    """What a method may cost, said before the run."""
    if images > MANY:
        return f"up to +{amount(images)} images, more than {MANY:g}: fewer update steps or Auto cost less"
    return f"up to +{amount(images)} images"


def updates_within(budget: float, plain: float, reserved: float = 0) -> int:
    """So many update steps cost at most `budget` images of `plain` passes, `reserved` of which are spent."""
    return max(0, int((budget * plain - reserved) / UPDATE + 1e-9))
