"""Comp-Attn's conditioning part: rows of subjects that the prompt drowns move towards what they are alone.

Comp-Attn, arXiv 2503.14428. Equation numbers not verified; omega is not published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TAU = 0.2


def inject_subjects(
    tokens: Tensor, groups: Sequence[Sequence[int]], anchors: Tensor, omega: float, tau: float = TAU
) -> tuple[Tensor, Tensor]:
    """The rows of a prompt with each subject's rows moved, and each subject's saliency.

    tokens [n, D]: rows of the prompt. groups: the rows of each of N subjects. anchors [N, D]: the mean row of
    each subject's phrase encoded alone. Returns [n, D] and [N]; a low saliency is a subject that is hard to
    tell from the others.
    """
    means = torch.stack([tokens[list(rows)].mean(0) for rows in groups])  # [N, D]
    alike = F.cosine_similarity(means[:, None], anchors[None], dim=-1)  # [N, N]
    saliency = (alike / tau).softmax(-1).diagonal()
    directions = len(anchors) * anchors - anchors.sum(0)
    moved = tokens.clone()
    for n, rows in enumerate(groups):
        moved[list(rows)] += omega * (1 - saliency[n]) * directions[n]
    return moved, saliency
