"""When a recipe acts in one run."""
from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class When:
    """steps: where a recipe acts, () = nowhere, for this `reason`. updates: step -> at most so many updates of the latent."""

    steps: tuple[int, ...]
    updates: dict[int, int] = field(default_factory=dict)
    reason: str = ""
