"""Gradient steps on the latent while sampling: the loops of Attend-and-Excite and its descendants, one sampling step at a time."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapOptions, StepContext, subject_maps
from ..objectives import Objective, shortfall
from ..prompt import SubjectColumns
from .refine import per_image
from .work import Worked


class Descent:
    """z and its evaluations within one sampling step: one forward and one backward per evaluation, one update per gradient."""

    def __init__(self, z: Tensor, maps_of: Callable[[Tensor], AttentionMaps], objective: Objective, subjects: Sequence[SubjectColumns],
                 context: StepContext, on_shift: Callable[[int], None]):
        self.z = z.detach().float()
        self.maps_of, self.objective, self.subjects, self.context, self.on_shift = maps_of, objective, subjects, context, on_shift
        self.losses: list[Tensor] = []
        self.shifts = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        self.non_finite = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        self.maxima: Tensor | None = None
        self.loss = self.gradient = self.maps = None

    def evaluate(self, concerned: Tensor | None = None) -> None:
        """Loss [B], gradient [B, ...] and maps at z. Images that are not concerned keep the loss and gradient they had."""
        self.on_shift(len(self.losses))
        leaf = self.z.detach().requires_grad_(True)
        maps = self.maps_of(leaf)
        loss = self.objective(maps, self.subjects, self.context)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        loss, self.maps = loss.detach(), detached(maps)
        if self.maxima is None:
            self.maxima = subject_maps(self.maps, self.subjects, getattr(self.objective, "maps", MapOptions())).flatten(2).amax(-1)  # [B, k]
        if concerned is None:
            self.losses.append(loss)
            self.loss, self.gradient = loss, gradient
        else:
            self.losses.append(torch.where(concerned, loss, torch.nan))
            self.loss = torch.where(concerned, loss, self.loss)
            self.gradient = torch.where(per_image(concerned, gradient), gradient, self.gradient)

    def update(self, step_size: float, concerned: Tensor) -> None:
        """z <- z - a dL/dz for the images concerned whose loss is not 0 (METHODS 3.1: no normalisation, no clipping)."""
        finite = self.loss.isfinite() & self.gradient.isfinite().flatten(1).all(1)
        moved = concerned & finite & (self.loss != 0)
        self.non_finite |= concerned & ~finite
        self.z = torch.where(per_image(moved, self.z), self.z - step_size * self.gradient, self.z)
        self.shifts = self.shifts + moved.long()

    def lack(self, threshold: float) -> Tensor:
        """[B] bool: must refinement go on, by the objective's own test?"""
        return shortfall(self.objective, self.maps, self.subjects, self.context, threshold, self.loss) > 0

    def result(self, rounds: Tensor, guided: Tensor | None = None, success: Tensor | None = None) -> Worked:
        return Worked(self.z, torch.stack(self.losses), self.shifts, self.maxima, self.non_finite, None, guided, success, rounds, self.maps)


def guide(descent: Descent, step_size: float, *, in_window: bool, threshold: float | None = None, exact: bool = False, max_rounds: int = 0) -> Worked:
    """One sampling step of the Attend-and-Excite family (SIGGRAPH 2023, algorithm 1, in the exact order of the authors' code).

    At a threshold step, images that lack something are refined: each iteration updates and then tests the loss from before
    that update, so the one that satisfies the threshold still moves; at most max_rounds. exact: max_rounds iterations without
    a test (CONFORM). The per-step update follows, in the window only. The entry's evaluation serves as the first iteration's,
    which the published code repeats at the same z: same numbers, one forward less.
    """
    descent.evaluate()
    everyone = torch.ones_like(descent.loss, dtype=torch.bool)
    rounds = torch.zeros_like(descent.shifts)
    guided = success = None
    if max_rounds and (exact or threshold is not None):
        guided = everyone if exact else descent.lack(threshold)
        active = guided
        for n in range(max_rounds):
            if not active.any():
                break
            if n:
                descent.evaluate(active)
            descent.update(step_size, active)
            rounds = rounds + active.long()
            if not exact:
                active = active & descent.lack(threshold)
        if guided.any():
            descent.evaluate(guided)
        success = None if exact else guided & ~descent.lack(threshold)
    if in_window:
        descent.update(step_size, everyone)
    return descent.result(rounds, guided, success)


def descend(descent: Descent, step_size: float, *, max_rounds: int, threshold: float, before: Tensor | None = None) -> tuple[Worked | None, Tensor]:
    """One sampling step of the layout methods: up to max_rounds updates while the loss of the last one was too high.

    before: [B] bool, did the last evaluation (of an earlier step) still lack something? None = the first update is always
    made (layout guidance, R&B); LMD carries it from step to step. Also returns the new state. No image active: no forward.
    """
    active = torch.ones(len(descent.z), dtype=torch.bool, device=descent.z.device) if before is None else before
    rounds = torch.zeros_like(descent.shifts)
    for n in range(max_rounds):
        if not active.any():
            break
        descent.evaluate(active if n else None)
        descent.update(step_size, active)
        rounds = rounds + active.long()
        active = active & descent.lack(threshold)
    return (descent.result(rounds) if descent.losses else None), active


def detached(maps: AttentionMaps) -> AttentionMaps:
    """The maps without their graph, for the next step's objective and for tests of the loss."""
    return AttentionMaps(
        {level: a.detach() for level, a in maps.cross.items()}, maps.columns, maps.spans,
        {level: tuple(a.detach() for a in layers) for level, layers in maps.heads.items()}, maps.self_rows,
    )
