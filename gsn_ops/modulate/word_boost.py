"""Word boost: subjects that lack attention get more of it in the passes that follow, by how much they lack.

Ours: no paper. The attention is raised as a word weight raises it (`word_weights`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def lacking(peaks: Tensor, threshold: float) -> Tensor:
    """How much each subject lacks, [B, k] in 0 ... 1: 0 from the threshold on, 1 = it has no attention.

    peaks [B, k]: the highest attention of each subject (`subject_maps.maxima`).
    """
    return ((threshold - peaks) / threshold).clamp(0, 1)


def boost_factors(lack: Tensor, gain: float) -> Tensor:
    """Factors of the probability of the subjects' words, [B, k]: exp(gain * lack), 1 where nothing lacks."""
    return torch.exp(gain * lack)
