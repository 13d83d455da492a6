"""What a recipe is: when it acts in one run, and what one step of it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from ..maps import AttentionMaps


@dataclass(frozen=True)
class ActiveSteps:
    """steps: where a recipe acts, () = nowhere, for this `reason`. updates: step -> at most so many updates of the latent."""

    steps: tuple[int, ...]
    updates: dict[int, int] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class StepResult:
    """What one sampling step's work made of a batch; everything stays on the device of z.

    z: [B, ...] float32. losses: [evaluations, B], each before its update; NaN where an image was not concerned any more.
    shifts: [B] updates that are in z. maxima: [B, k] highest attention per subject at the first look.
    non_finite: [B], True = a loss or gradient was not finite and z is the last good one.
    needed: [B], False = every subject was there at the first look (Refine with only_if_needed).
    guided, success: [B], at a checkpoint: was the entry loss too high, and did the refinement mend it? rounds: [B] its updates.
    maps: of the last evaluation, detached (guidance only: the next step's objective may ask for them).
    maxima_after: [B, k] as maxima, at each image's last look. passes: with gradients, if not one per row of losses.
    """

    z: Tensor
    losses: Tensor
    shifts: Tensor
    maxima: Tensor
    non_finite: Tensor
    needed: Tensor | None = None
    guided: Tensor | None = None
    success: Tensor | None = None
    rounds: Tensor | None = None
    maps: AttentionMaps | None = None
    maxima_after: Tensor | None = None
    passes: int | None = None


def per_image(flags: Tensor, like: Tensor) -> Tensor:
    """Flags [B] shaped to broadcast over `like` [B, ...]."""
    return flags.view(-1, *[1] * (like.ndim - 1))  # [B, 1, ...]


MapsOf = Callable[[Tensor], AttentionMaps]
OnShift = Callable[[int], None]
