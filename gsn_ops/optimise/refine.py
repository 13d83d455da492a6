"""Many shifts of one latent at one noise level: Latent Refine's loop (Grimal et al., IJCAI 2025, section 3)."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapOptions, StepContext, subject_maps
from ..objectives import Objective
from ..prompt import SubjectColumns
from .work import Worked

BETAS = (0.9, 0.999)


def refine(
    z: Tensor,
    maps_of: Callable[[Tensor], AttentionMaps],
    objective: Objective,
    subjects: Sequence[SubjectColumns],
    context: StepContext,
    *,
    shifts: int = 50,
    learning_rate: float = 0.01,
    eps: float = 1e-3,
    stop_at_loss: float = 0.0,
    only_if_needed: bool = False,
    present_at: float = 0.8,
    on_shift: Callable[[int], None] = lambda j: None,
) -> Worked:
    """Adam on the latent itself, in the network's space z [B, ...], never in place.

    maps_of(z) is called at most `shifts` times (one forward each), on_shift(j) once before each; the loss after the
    last update is never evaluated. Images are independent: one whose loss is at or below stop_at_loss (> 0), that needs
    nothing (only_if_needed: every maximum is at least present_at), or whose loss or gradient is not finite stops, and
    the others do not notice. Needs grad mode and no inference mode. Raises ValueError for a learning rate or eps that
    cannot work; what on_shift, maps_of and objective raise passes through.
    """
    if shifts < 1 or learning_rate <= 0 or eps <= 0:
        raise ValueError(f"A refinement needs shifts >= 1, learning_rate > 0 and eps > 0 "
                         f"(got {shifts}, {learning_rate:g} and {eps:g}); published are 50, 0.01 and 0.001.")
    leaf = z.detach().to(torch.float32, copy=True).requires_grad_(True)
    adam = torch.optim.Adam([leaf], lr=learning_rate, betas=BETAS, eps=eps, foreach=False)
    good = leaf.detach().clone()  # the last z of each image with a finite loss and gradient
    batch = z.shape[0]
    active = torch.ones(batch, dtype=torch.bool, device=z.device)
    non_finite, needed = ~active, active
    made = torch.zeros(batch, dtype=torch.int64, device=z.device)
    losses: list[Tensor] = []
    maxima = None

    for j in range(shifts):
        on_shift(j)
        maps = maps_of(leaf)
        loss = objective(maps, subjects, context)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        loss = loss.detach()
        losses.append(torch.where(active, loss, torch.nan))

        if maxima is None:
            with torch.no_grad():
                options = getattr(objective, "maps", MapOptions())
                maxima = subject_maps(maps, subjects, options).flatten(2).amax(-1)  # [B, k]
            if only_if_needed:
                wanted = [j for j, subject in enumerate(subjects) if subject.phrase.role == "wanted"]
                needed = ~(maxima[:, wanted] >= present_at).all(1)
        finite = loss.isfinite() & gradient.isfinite().flatten(1).all(1)
        failed = active & ~finite
        non_finite = non_finite | failed
        if j:
            made = made - failed.long()  # the update that led here is taken back
        active = active & finite & needed
        if stop_at_loss > 0:
            active = active & (loss > stop_at_loss)

        good = torch.where(per_image(failed, z), good, leaf.detach())
        del maps  # so that this pass is not held while the next one runs
        if (stop_at_loss > 0 or (only_if_needed and j == 0)) and not active.any():
            break
        leaf.grad = torch.where(per_image(active, z), gradient, 0.0)
        adam.step()
        with torch.no_grad():
            leaf.copy_(torch.where(per_image(active, z), leaf, good))
        made = made + active.long()
    else:
        good = leaf.detach()
    return Worked(good, torch.stack(losses), made, maxima, non_finite, needed)


def per_image(flags: Tensor, like: Tensor) -> Tensor:
    """Flags [B] shaped to broadcast over `like` [B, ...]."""
    return flags.view(-1, *[1] * (like.ndim - 1))  # [B, 1, ...]
