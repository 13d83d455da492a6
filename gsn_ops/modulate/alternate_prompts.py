"""R2F: a frequent stand-in for a rare concept and the real prompt take turns in the early steps.

Rare-to-Frequent, ICLR 2025, arXiv 2410.22376. Equation numbers not verified.
"""

from __future__ import annotations

from collections.abc import Sequence

LAST_STEPS = (0, 5, 10, 20, 30, 40)
"""Step of 50 from which on only the real prompt is used, by the level of visual detail 0 ... 5 (SD3)."""


def prompt_of_steps(
    steps: int, levels: Sequence[int], last_steps: Sequence[int] = LAST_STEPS, alternate: int = 2
) -> list[int]:
    """Which prompt each sampling step uses: k = stand-in prompt k, len(levels) = the real prompt.

    levels: the level of visual detail of each concept, in the order in which the prompts replace each other.
    last_steps: by level. Every `alternate`-th step, from the first on, uses the stand-in whose turn it is.
    """
    real = len(levels)
    ends = [last_steps[level] for level in levels]
    prompts = []
    for step in range(steps):
        turn = next((k for k, end in enumerate(ends) if step < end), real)
        prompts.append(turn if step % alternate == 0 else real)
    return prompts
