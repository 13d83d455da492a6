"""Success rates of paired pictures: how sure is a share, and is the difference more than chance? Standard library only.

(Not named statistics.py: scripts in this folder would import it instead of Python's own.)
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

Z_95 = 1.959963984540054  # 97.5 % point of the normal distribution


def wilson(hits: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share, by default the 95 % one. Raises ValueError unless 0 <= hits <= n > 0."""
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} hits of {n} is no share.")
    share, z2 = hits / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(mended: int, broken: int) -> float:
    """Exact two-sided McNemar test: the chance of a split at least this uneven if both ways were equally likely.

    mended: pairs that only the second way got right; broken: those that only the first got right. Pairs on which both
    agree say nothing about the difference and do not enter.
    """
    n, fewer = mended + broken, min(mended, broken)
    tail = sum(math.comb(n, i) for i in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)


@dataclass(frozen=True)
class Comparison:
    """Counts of paired pictures: n pairs, right when plain, right when refined, wrong -> right, right -> wrong."""

    n: int
    plain: int
    refined: int
    mended: int
    broken: int

    @property
    def p(self) -> float:
        """McNemar's exact p."""
        return mcnemar(self.mended, self.broken)

    @property
    def points(self) -> float:
        """Percentage points gained."""
        return 100 * (self.refined - self.plain) / self.n

    def to_dict(self) -> dict:
        return {
            "n": self.n,
            "plain": self.plain,
            "refined": self.refined,
            "mended": self.mended,
            "broken": self.broken,
            "plain_95": wilson(self.plain, self.n),
            "refined_95": wilson(self.refined, self.n),
            "points": self.points,
            "p": self.p,
        }


def compare(pairs: Iterable[tuple[bool, bool]]) -> Comparison:
    """Count (plain is right, refined is right) pairs."""
    pairs = list(pairs)
    return Comparison(
        len(pairs),
        sum(a for a, _ in pairs),
        sum(b for _, b in pairs),
        sum(b and not a for a, b in pairs),
        sum(a and not b for a, b in pairs),
    )


def percent(hits: int, n: int) -> str:
    """A share with its interval: "64.5 % (57.7 to 70.8)"."""
    low, high = wilson(hits, n)
    return f"{100 * hits / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
