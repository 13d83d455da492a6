"""Null-text inversion (Mokady et al., CVPR 2023, arXiv 2211.09794): numbers of its optimisation.

Published for 50 steps; with other numbers of steps they follow the share of the steps that are done.
"""

from __future__ import annotations

from collections.abc import Sequence

LEARNING_RATE = 1e-2


def learning_rate(share: float, first: float = LEARNING_RATE) -> float:
    """Adam's at a share of the steps, 0 ... 1: 1e-2 (1 - i / 100) at step i of 50."""
    return first * (1 - share / 2)


def good_enough(share: float) -> float:
    """The loss (mean square of the network's latent) below which a step ends: 1e-5 + 2e-5 i, i of 50."""
    return 1e-5 + 2e-5 * 50 * share


def ranges(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    """Noise levels (from, down to) at which the embedding of each step acts: halfway to the next steps.

    sigmas: falling, one more than steps. The first begins above all levels, the last ends at 0.
    """
    steps = list(sigmas[:-1])
    borders = [float("inf"), *((a + b) / 2 for a, b in zip(steps, steps[1:], strict=False)), 0.0]
    return list(zip(borders, borders[1:], strict=False))
