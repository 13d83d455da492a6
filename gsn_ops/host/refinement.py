"""Latent Refine at one step of a running sampler: probe, shifts, and what is reported about them."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapOptions, StepContext, subject_maps
from ..optimise.recipes import Refine
from ..optimise.refine import Refined, per_image, refine
from ..prompt import SubjectColumns
from ..report import ActionReport
from .gradients import differentiable, plain
from .probe import Entry, Probe, control_models


def refine_state(guider, model_k, x: Tensor, sigma: Tensor, extra: dict, entry: Entry, subjects: tuple[SubjectColumns, ...], family, recipe: Refine,
                 context: StepContext, on_shift: Callable[[int, Tensor], None]) -> tuple[Tensor, ActionReport]:
    """The sampler's state x [B, ...] after the recipe's shifts, and the report. x itself is not changed.

    on_shift(j, picture) is called before each shift with the best known picture of the result; it may raise to cancel.
    """
    c = context.c
    with differentiable(guider.inner_model, *control_models(guider, entry)):
        state = plain(x)
        probe = Probe(guider, model_k, extra, sigma, entry, family, recipe.objective.needs, c)
        before = probe.look(state) if recipe.report == "full" else (None, None)
        result = refine(
            state.float() / c, probe.maps_of, recipe.objective, subjects, context,
            shifts=recipe.shifts, learning_rate=recipe.learning_rate, eps=recipe.eps, stop_at_loss=recipe.stop_at_loss,
            only_if_needed=recipe.only_if_needed, present_at=recipe.present_at,
            on_shift=lambda j: on_shift(j, state if before[1] is None else before[1]),
        )
        # An image without an update keeps its very bits: x / c * c would not.
        shifted = torch.where(per_image(result.shifts > 0, state), (result.z * c).to(state.dtype), state)
        after = probe.look(shifted) if recipe.report == "full" else (None, None)
        with torch.no_grad():
            report = _report(recipe, context, subjects, probe, result, before, after)
    return shifted, report


def _report(recipe: Refine, context: StepContext, subjects, probe: Probe, result: Refined, before, after) -> ActionReport:
    options = getattr(recipe.objective, "maps", MapOptions())

    def stored(maps: AttentionMaps | None) -> Tensor | None:
        return None if maps is None else subject_maps(maps, subjects, options).half().cpu()  # [B, k, h, w]

    maps_after = stored(after[0])
    def picture(predicted: Tensor | None) -> Tensor | None:
        return None if predicted is None else probe.guider.inner_model.process_latent_out(predicted).half().cpu()  # [B, C, h, w]

    losses = result.losses.cpu()
    shifts = tuple(result.shifts.tolist())
    loss_after = () if after[0] is None else tuple(recipe.objective(after[0], subjects, context).tolist())
    return ActionReport(
        method=recipe.method, subjects=tuple(s.label for s in subjects), status=_status(recipe, context, losses, shifts, loss_after, probe, result),
        step=context.index, sigma=context.sigma, c=context.c,
        losses=tuple(map(tuple, losses.tolist())), loss_after=loss_after, shifts=shifts, forwards=probe.forwards, backwards=len(losses),
        maxima_before=tuple(map(tuple, result.maxima.tolist())),
        maxima_after=() if maps_after is None else tuple(map(tuple, maps_after.float().flatten(2).amax(-1).tolist())),
        maps_before=stored(before[0]), maps_after=maps_after,
        picture_before=picture(before[1]), picture_after=picture(after[1]),
        settings={"shifts": recipe.shifts, "learning_rate": recipe.learning_rate, "eps": recipe.eps, "stop_at_loss": recipe.stop_at_loss,
                  "only_if_needed": recipe.only_if_needed, "levels": ", ".join(map(str, probe.levels)),
                  "objective": type(recipe.objective).__name__},
    )


def _status(recipe: Refine, context: StepContext, losses: Tensor, shifts: tuple[int, ...], loss_after: tuple[float, ...], probe: Probe,
            result: Refined) -> str:
    """One line for the person: where, how much, how it went, what it cost."""
    first, last = float(losses[0].mean()), sum(loss_after) / len(loss_after) if loss_after else float(losses[-1].nanmean())
    made = str(shifts[0]) if len(set(shifts)) == 1 else f"{min(shifts)} to {max(shifts)}"
    words = [f"{recipe.method}: step {context.index} of {context.n_steps} (sigma {context.sigma:.3g})", f"{made} shifts",
             f"loss {first:.3f} -> {last:.3f}", f"{probe.forwards} forward and {len(losses)} backward passes"]
    present = int((~result.needed).sum())
    if present:
        words.append(f"{present} of {len(shifts)} images left alone, their subjects are present")
    if result.non_finite.any():
        words.append(f"{int(result.non_finite.sum())} images stopped early: the loss or its gradient was not finite, their last good latent was kept")
    if probe.cut_override:
        words.append("another pack's attention kernel has no gradient and was replaced in these passes")
    return ", ".join(words)
