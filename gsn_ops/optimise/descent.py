"""Evaluations and updates of a latent within one sampling step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, StepContext
from ..objectives.base import Objective, evaluate_loss, own_maxima, shortfall
from ..prompt import SubjectColumns
from .recipe import MapsOf, OnEvaluation, StepResult, per_image


class Descent:
    """z and its evaluations within one sampling step: one forward and one backward pass per evaluation, one
    update each.

    An image whose loss or gradient is not finite returns to its last good z and rests until the next sampling
    step.
    """

    def __init__(
        self,
        z: Tensor,
        maps_of: MapsOf,
        objective: Objective,
        subjects: Sequence[SubjectColumns],
        context: StepContext,
        on_evaluation: OnEvaluation,
    ):
        self.z = self.good = z.detach().float()
        self.maps_of, self.objective = maps_of, objective
        self.subjects, self.context = subjects, context
        self.on_evaluation = on_evaluation
        self.losses: list[Tensor] = []
        self.updates = self.good_updates = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        self.everyone = torch.ones(len(z), dtype=torch.bool, device=z.device)
        self.non_finite = ~self.everyone
        self.loss, self.gradient = torch.zeros(len(z), device=z.device), torch.zeros_like(self.z)
        self._maps: AttentionMaps | None = None
        self._maxima: Tensor | None = None
        self._maxima_now: Tensor | None = None

    @property
    def maps(self) -> AttentionMaps:
        """Of the last evaluation, without a graph."""
        assert self._maps is not None, "evaluate comes first"
        return self._maps

    def evaluate(self, concerned: Tensor) -> None:
        """Loss [B], gradient [B, ...] and maps at z. Images that are not concerned keep their loss and
        gradient.
        """
        self.on_evaluation(len(self.losses))
        self._maps = None  # its self-attention would hold the last pass while this one runs
        self.context.memory["active"] = concerned
        leaf = self.z.detach().requires_grad_(True)
        maps = self.maps_of(leaf)
        loss = evaluate_loss(self.objective, maps, self.subjects, self.context)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        loss, self._maps = loss.detach(), detached(maps)
        self.losses.append(torch.where(concerned, loss, torch.nan))
        self.loss = torch.where(concerned, loss, self.loss)
        self.gradient = torch.where(per_image(concerned, gradient), gradient, self.gradient)
        finite = loss.isfinite() & gradient.isfinite().flatten(1).all(1)
        self._keep(concerned & finite)
        self._go_back(concerned & ~finite)

    def update(self, step_size: float, concerned: Tensor) -> Tensor:
        """z <- z - a dL/dz for the images concerned whose loss and gradient are not 0 -> which images moved
        [B].

        Without normalisation or clipping, as published.
        """
        sloping = self.gradient.flatten(1).any(1)  # [B]
        moved = concerned & ~self.non_finite & (self.loss != 0) & sloping
        self.z = torch.where(per_image(moved, self.z), self.z - step_size * self.gradient, self.z)
        self.updates = self.updates + moved.long()
        return moved

    def lack(self, threshold: float | None) -> Tensor:
        """[B] bool: must refinement go on, by the objective's own test of the last evaluation?

        threshold None: always.
        """
        if threshold is None:
            return self.everyone
        with torch.no_grad():
            return shortfall(self.objective, self.maps, self.subjects, self.context, threshold, self.loss) > 0

    def result(
        self, rounds: Tensor, guided: Tensor | None = None, success: Tensor | None = None
    ) -> StepResult:
        """What this step has made of the batch. At least one evaluation must have been made."""
        assert self._maxima is not None, "evaluate comes first"
        return StepResult(
            self.z,
            torch.stack(self.losses),
            self.updates,
            self._maxima,
            self.non_finite,
            guided=guided,
            success=success,
            rounds=rounds,
            maps=self.maps,
            maxima_after=self._maxima_now,
        )

    def _keep(self, evaluated: Tensor) -> None:
        """z of these images is good. Note the highest attention of each subject."""
        self.good = torch.where(per_image(evaluated, self.z), self.z, self.good)
        self.good_updates = torch.where(evaluated, self.updates, self.good_updates)
        now = own_maxima(self.objective, self.maps, self.subjects)  # [B, k]
        if self._maxima is None or self._maxima_now is None:
            self._maxima = self._maxima_now = now
        else:
            self._maxima_now = torch.where(evaluated[:, None], now, self._maxima_now)

    def _go_back(self, failed: Tensor) -> None:
        """These images return to their last good z; the update that led away from it does not count."""
        self.non_finite = self.non_finite | failed
        self.z = torch.where(per_image(failed, self.z), self.good, self.z)
        self.updates = torch.where(failed, self.good_updates, self.updates)


def detached(maps: AttentionMaps) -> AttentionMaps:
    """The maps without their graph, for the next step's objective and for tests of the loss."""
    return replace(
        maps,
        cross={level: a.detach() for level, a in maps.cross.items()},
        heads={level: tuple(a.detach() for a in layers) for level, layers in maps.heads.items()},
    )
