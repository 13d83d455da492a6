"""What a node asks to be changed in the forward passes of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..maps import block_range
from ..prompt import SubjectPhrase
from .word_weights import KAPPA, factors


@dataclass(frozen=True)
class WordWeights:
    """Weights of single words of the prompt.

    weights: (phrase, weight) each. kappa: how strongly a weight acts (`word_weights.factors`). start, end:
    when, as shares of the noise schedule. blocks: which text-to-image layers, "auto" = all, or "5-12".
    text_rows: the text's own queries are changed too, in joint attention.
    """

    weights: tuple[tuple[SubjectPhrase, float], ...]
    kappa: float = KAPPA
    start: float = 0.0
    end: float = 1.0
    blocks: str = "auto"
    text_rows: bool = False
    method: str = "Word Weight"

    @property
    def disabled(self) -> bool:
        """Whether it changes nothing."""
        return all(factors(weight, self.kappa) == (1.0, 1.0) for _, weight in self.weights)

    def check(self) -> WordWeights:
        """Itself. Raises ValueError for settings that no run can have."""
        if not (math.isfinite(self.kappa) and self.kappa >= 0):
            raise ValueError(f"strength is {self.kappa:g}: choose 0 (weights above 0 do nothing) or more.")
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(
                f"The window is {self.start:g} to {self.end:g}: choose start_percent and end_percent between "
                "0 and 1, start first."
            )
        block_range(self.blocks)
        return self

    def describe(self) -> str:
        """The words and their weights, for example: red car 1.5, bench 0.7."""
        return ", ".join(f"{phrase.label} {weight:g}" for phrase, weight in self.weights)
