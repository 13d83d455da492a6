"""Whether an update of the latent has reached a sampler that is not ComfyUI's own.

Such a sampler may keep its own copy of its state and give the model another tensor, so that what is written
there is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

SAME_STATE = 1e-3  # of the largest value: one state shown twice, in two dtypes perhaps
MOST_PREDICTIONS = 4  # of the last steps, which a multistep sampler combines
SURE = 3.0  # standard errors


@dataclass
class Update:
    """An update of the state x [B, ...] at noise level sigma, until it has been looked for in a later call.

    predictions: the model's predictions, newest last: that of the updated state and those before it.
    """

    x: Tensor
    displacement: Tensor
    sigma: float
    predictions: list[Tensor] = field(default_factory=list)

    def share_at_same_level(self, x: Tensor) -> float:
        """How much of the displacement is in x [B, ...], another state at the same noise level: 0 ... 1."""
        found, wanted = x.double() - self.x.double(), self.displacement.double()
        norm = float((wanted * wanted).sum())
        return float((found.to(wanted) * wanted).sum()) / norm if norm else 1.0

    def was_lost(self, x: Tensor) -> bool:
        """Does the state x [B, ...] of a later call continue from the state without the displacement?

        Samplers are linear in their states and predictions, so x is fitted by the old state, the displacement
        and the last predictions: a sampler that has the displacement scales it as it scales its state. False
        where noise of its own hides the answer.
        """
        if x.shape != self.x.shape or not self.displacement.any():
            return False
        known = [self.x, self.displacement, *self.predictions[-MOST_PREDICTIONS:]]
        basis = torch.stack([t.double().flatten().cpu() for t in known], 1)  # [numbers, terms]
        scale = basis.norm(dim=0).clamp(min=1e-30)
        basis, target = basis / scale, x.double().flatten().cpu()
        gram = basis.T @ basis + 1e-9 * torch.eye(len(known), dtype=torch.float64)
        inverse = torch.linalg.inv(gram)
        found = inverse @ (basis.T @ target)
        variance = (target - basis @ found).square().mean()
        of_state, of_update = (found / scale)[:2].tolist()
        error = float((variance * inverse[1, 1]).sqrt() / scale[1])
        return of_update + SURE * error < of_state / 2


def is_one_of(x: Tensor, states: Sequence[Tensor]) -> bool:
    """Is x one of these states, up to rounding?"""
    return any(_same_state(x, state) for state in states)


def _same_state(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.detach().float(), b.detach().float().to(a.device)
    return bool((a - b).abs().max() <= SAME_STATE * b.abs().max().clamp(min=1e-6))
