"""Success rates of paired images: the interval of a share, and whether a difference is more than chance."""

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import binomtest


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (1927) of a share. Raises ValueError unless 0 <= hits <= n > 0."""
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} hits of {n} is not a share: it takes 0 <= hits <= n and n > 0.")
    interval = binomtest(hits, n).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def mcnemar(fixed: int, broken: int) -> float:
    """p of the exact two-sided McNemar test: are both kinds of change equally likely?

    fixed: pairs that only the second way got right; broken: pairs that only the first got right. Pairs on
    which both agree do not enter; without any change p is 1.
    """
    changed = fixed + broken
    return float(binomtest(fixed, changed).pvalue) if changed else 1.0


@dataclass(frozen=True)
class Comparison:
    """Counts of n paired images: right when plain, right when refined, wrong -> right, right -> wrong."""

    n: int
    plain: int
    refined: int
    fixed: int
    broken: int

    @property
    def p(self) -> float:
        """McNemar's exact p."""
        return mcnemar(self.fixed, self.broken)

    @property
    def points(self) -> float:
        """Percentage points gained."""
        return 100 * (self.refined - self.plain) / self.n


def compare(pairs: Iterable[tuple[bool, bool]]) -> Comparison:
    """Counts (plain is right, refined is right) pairs."""
    pairs = list(pairs)
    return Comparison(
        n=len(pairs),
        plain=sum(a for a, _ in pairs),
        refined=sum(b for _, b in pairs),
        fixed=sum(b and not a for a, b in pairs),
        broken=sum(a and not b for a, b in pairs),
    )


def percent(hits: int, n: int) -> str:
    """A share with its interval: "64.5 % (57.7 to 70.8)"."""
    low, high = wilson(hits, n)
    return f"{100 * hits / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
