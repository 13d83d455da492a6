"""Word weights: more or less attention for single words, exactly.

Ours; the slope 2 is that of KJNodes' word weights for Krea 2 above 1.
"""

from __future__ import annotations

import math

from torch import Tensor

KAPPA = 2.0
LARGEST_FACTOR = 64.0
SMALLEST_DENOMINATOR = 1e-3


def factors(weight: float, kappa: float = KAPPA, largest: float = LARGEST_FACTOR) -> tuple[float, float]:
    """A typed weight as (a, g): factor of the word's probability before the softmax is renormalised, and of
    its value.

    weight 1 changes nothing, 0 takes the word out, below 0 its value is subtracted. kappa: slope on both
    sides of 1; 0 = no effect of weights above 0. No equation: this pack's own.
    """
    if weight < 0:
        return 1.0, weight
    if weight < 1:
        return weight**kappa, 1.0
    if kappa * (weight - 1) >= math.log(largest):
        return largest, 1.0
    return math.exp(kappa * (weight - 1)), 1.0


def weighted_output(out: Tensor, values: Tensor, p: Tensor, a: Tensor, g: Tensor) -> Tensor:
    """Attention output as if the probability of some keys had been multiplied by a and their values by g.

    out [.., Q, d] and p [.., Q, J]: output and probabilities of the unweighted call, for the J weighted keys
    alone. values [.., J, d]: their values. a >= 0, g: [J], or broadcast to p. Returns [.., Q, d]. Exact: with
    s_j + ln a_j before the softmax, o' = (o + sum_J (a g - 1) p v) / (1 + sum_J (a - 1) p). No equation of a
    paper.
    """
    return (out + ((a * g - 1) * p) @ values) / _denominator(p, a)


def weighted_probabilities(p: Tensor, a: Tensor) -> Tensor:
    """The probabilities of the weighted keys in that output, [.., Q, J]: a p / (1 + sum_J (a - 1) p)."""
    return a * p / _denominator(p, a)


def _denominator(p: Tensor, a: Tensor) -> Tensor:
    """[.., Q, 1]. Bounded, since all of a row's attention may be on words that are taken out."""
    return (1 + ((a - 1) * p).sum(-1, keepdim=True)).clamp(min=SMALLEST_DENOMINATOR)
