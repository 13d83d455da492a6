"""Gradient steps on the latent while sampling: the loops of Attend-and-Excite and its descendants, one sampling step at a time."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapOptions, StepContext, subject_maps
from ..objectives import Objective, shortfall
from ..prompt import SubjectColumns
from .refine import per_image
from .work import Worked


class Descent:
    """z and its evaluations within one sampling step: one forward and one backward per evaluation, one update per gradient.

    An image whose loss or gradient is not finite goes back to its last good z and rests until the next sampling step.
    """

    def __init__(self, z: Tensor, maps_of: Callable[[Tensor], AttentionMaps], objective: Objective, subjects: Sequence[SubjectColumns],
                 context: StepContext, on_shift: Callable[[int], None]):
        self.z = self.good = z.detach().float()
        self.maps_of, self.objective, self.subjects, self.context, self.on_shift = maps_of, objective, subjects, context, on_shift
        self.losses: list[Tensor] = []
        self.shifts = self.good_shifts = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        self.everyone = torch.ones(len(z), dtype=torch.bool, device=z.device)
        self.non_finite = ~self.everyone
        self.loss, self.gradient = torch.zeros(len(z), device=z.device), torch.zeros_like(self.z)
        self.maps: AttentionMaps | None = None
        self.maxima: Tensor | None = None  # [B, k] at the first evaluation
        self.maxima_now: Tensor | None = None  # [B, k] at each image's last one

    def evaluate(self, concerned: Tensor) -> None:
        """Loss [B], gradient [B, ...] and maps at z. Images that are not concerned keep the loss and gradient they had."""
        self.on_shift(len(self.losses))
        self.maps = None  # its self-attention would hold the last pass while this one runs
        self.context.memory["active"] = concerned
        leaf = self.z.detach().requires_grad_(True)
        maps = self.maps_of(leaf)
        loss = self.objective(maps, self.subjects, self.context)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        loss, self.maps = loss.detach(), detached(maps)
        self.losses.append(torch.where(concerned, loss, torch.nan))
        self.loss = torch.where(concerned, loss, self.loss)
        self.gradient = torch.where(per_image(concerned, gradient), gradient, self.gradient)
        finite = loss.isfinite() & gradient.isfinite().flatten(1).all(1)
        self._keep(concerned & finite)
        self._go_back(concerned & ~finite)

    def update(self, step_size: float, concerned: Tensor) -> Tensor:
        """z <- z - a dL/dz for the images concerned whose loss is not 0 (METHODS 3.1: no normalisation, no clipping). [B]: who moved."""
        moved = concerned & ~self.non_finite & (self.loss != 0)
        self.z = torch.where(per_image(moved, self.z), self.z - step_size * self.gradient, self.z)
        self.shifts = self.shifts + moved.long()
        return moved

    def lack(self, threshold: float) -> Tensor:
        """[B] bool: must refinement go on, by the objective's own test of the last evaluation?"""
        with torch.no_grad():
            return shortfall(self.objective, self.maps, self.subjects, self.context, threshold, self.loss) > 0

    def result(self, rounds: Tensor, guided: Tensor | None = None, success: Tensor | None = None) -> Worked:
        return Worked(self.z, torch.stack(self.losses), self.shifts, self.maxima, self.non_finite, None, guided, success, rounds, self.maps,
                      self.maxima_now)

    def _keep(self, seen: Tensor) -> None:
        """Where these images are is good. Note the highest attention of each subject."""
        self.good = torch.where(per_image(seen, self.z), self.z, self.good)
        self.good_shifts = torch.where(seen, self.shifts, self.good_shifts)
        now = subject_maps(self.maps, self.subjects, getattr(self.objective, "maps", MapOptions())).flatten(2).amax(-1)  # [B, k]
        self.maxima = now if self.maxima is None else self.maxima
        self.maxima_now = now if self.maxima_now is None else torch.where(seen[:, None], now, self.maxima_now)

    def _go_back(self, failed: Tensor) -> None:
        """These images return to their last good z; the update that led away from it does not count."""
        self.non_finite = self.non_finite | failed
        self.z = torch.where(per_image(failed, self.z), self.good, self.z)
        self.shifts = torch.where(failed, self.good_shifts, self.shifts)


def guide(descent: Descent, step_size: float, *, in_window: bool, threshold: float | None = None, exact: bool = False, max_rounds: int = 0) -> Worked:
    """One sampling step of the Attend-and-Excite family (SIGGRAPH 2023, algorithm 1, in the exact order of the authors' code).

    At a threshold step, images that lack something are refined: each iteration updates and then tests the loss from before
    that update, so the one that satisfies the threshold still moves; at most max_rounds. exact: max_rounds iterations without
    a test (CONFORM). The per-step update follows, in the window only. The entry's evaluation serves as the first iteration's,
    which the published code repeats at the same z: same numbers, one forward less. An image without an update (loss 0,
    nothing finite) is where it was, so its iterations end.
    """
    descent.evaluate(descent.everyone)
    rounds = torch.zeros_like(descent.shifts)
    guided = success = None
    if max_rounds and (exact or threshold is not None):
        guided = active = descent.everyone if exact else descent.lack(threshold)
        for n in range(max_rounds):
            if not active.any():
                break
            if n:
                descent.evaluate(active)
            moved = descent.update(step_size, active)
            rounds = rounds + active.long()
            active = moved if exact else moved & descent.lack(threshold)
        unseen = (descent.shifts > 0) & ~descent.non_finite
        if unseen.any() and (in_window or not exact):
            descent.evaluate(unseen)
        guided, success = (None, None) if exact else (guided, guided & ~descent.non_finite & ~descent.lack(threshold))
    if in_window:
        descent.update(step_size, descent.everyone)
    return descent.result(rounds, guided, success)


def descend(descent: Descent, step_size: float, *, max_rounds: int, threshold: float, before: Tensor | None = None) -> tuple[Worked | None, Tensor]:
    """One sampling step of the layout methods: up to max_rounds updates while the loss of the last one was too high.

    before: [B] bool, did the last evaluation (of an earlier step) still lack something? None = the first update is always
    made (layout guidance, R&B); LMD carries it from step to step. Also returns the new state, in which an image that broke is
    tried again. No image active: no forward.
    """
    active = descent.everyone if before is None else before
    rounds = torch.zeros_like(descent.shifts)
    for _ in range(max_rounds):
        if not active.any():
            break
        descent.evaluate(active)
        moved = descent.update(step_size, active)
        rounds = rounds + active.long()
        active = moved & descent.lack(threshold)
    return (descent.result(rounds) if descent.losses else None), active | descent.non_finite


def detached(maps: AttentionMaps) -> AttentionMaps:
    """The maps without their graph, for the next step's objective and for tests of the loss."""
    return replace(maps, cross={level: a.detach() for level, a in maps.cross.items()},
                   heads={level: tuple(a.detach() for a in layers) for level, layers in maps.heads.items()})
