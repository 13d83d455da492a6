"""TACA: in the first steps, image queries attend to the text at a lower temperature.

TACA, ICCV 2025, arXiv 2506.07986. Equation numbers not verified.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

GAMMA = 1.2
THRESHOLD = 0.97
"""Sigma of a flow model (t >= 970 of 1000) from which on the scores are multiplied."""


def gamma_at(sigma: float, gamma: float = GAMMA, threshold: float = THRESHOLD) -> float:
    """The factor of the scores at a noise level. sigma: of a flow model, 0 ... 1."""
    return gamma if sigma >= threshold else 1.0


def scaled_keys(k: Tensor, columns: Sequence[int], gamma: float) -> Tensor:
    """Keys [.., K, d] of the image's queries: those of the text times gamma.

    Their scores q k^T * scale, and nothing else, are then multiplied by gamma, without a mask.
    """
    k = k.clone()
    k[..., list(columns), :] *= gamma
    return k
