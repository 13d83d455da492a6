"""CO3's weights of concepts: the one whose prediction is nearest to that of the whole prompt counts most.

CO3, ICLR 2026, arXiv 2509.25940. Equation number not verified.
"""

from __future__ import annotations

from torch import Tensor


def concept_weights(distances: Tensor, beta: float) -> Tensor:
    """-exp(-beta d_k) / sum exp(-beta d): weights [K] of K concepts that sum to -1.

    distances [K]: norms of the difference of each concept's prediction from the whole prompt's. beta 0.9.
    """
    return -(-beta * distances).softmax(-1)
