"""VSF, value sign flip: a negative prompt at guidance 1, as further keys whose values are subtracted.

VSF, ICLR 2026, arXiv 2508.10931. Equation numbers not verified. The paper subtracts beta from the scores of
the negative keys; the authors' node adds 0.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA = 1.8
"""Of the authors' settings for Wan."""
BETA = -0.1
"""Of the authors' code."""


def flipped_attention(
    q: Tensor, k: Tensor, v: Tensor, k_neg: Tensor, v_neg: Tensor, alpha: float, beta: float
) -> Tensor:
    """softmax([q k^T, q k_neg^T - beta]) [v, -alpha v_neg] of cross-attention -> [.., Q, d].

    q [.., Q, d]; k, v [.., K, d] of the prompt; k_neg, v_neg [.., N, d] of the negative prompt, without its
    padding. Scores are divided by sqrt(d).
    """
    scale = q.shape[-1] ** -0.5
    positive, negative = (q @ keys.transpose(-1, -2) * scale for keys in (k, k_neg))  # [.., Q, K], [.., Q, N]
    p = torch.cat((positive, negative - beta), -1).softmax(-1)
    return p @ torch.cat((v, -alpha * v_neg), -2)
