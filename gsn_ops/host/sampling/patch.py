"""The hook into sampling: a MODEL patch that watches the sampler and runs recipes at their steps.

One keyed OUTER_SAMPLE wrapper exchanges the sampler for a watched copy. The sampler, its history, noise,
previews and other packs' patches stay as they are; a run in which no recipe acts gets its own sampler object
back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import comfy.model_management
import comfy.patcher_extension
from torch import Tensor

from ...optimise.recipe import Recipe
from ...report.book import ReportBook
from ..attention.memory_policy import reported_batch_size
from ..attention.sampler_state import SamplerState
from ..autograd.differentiable import static_clone
from ..find_family import family_of
from ..language import with_errors_spoken
from .plan import AttachedRecipe, Plan, make_plan
from .sampler_facts import sampler_name
from .sampler_run import SamplerRun
from .sampler_watcher import UpdateState, Watch, watch

WRAPPER_KEY = "gsn"
OUTER_SAMPLE = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
PREPARE_SAMPLING = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING


class StateObserver(Protocol):
    """Sees every state of a sampler, before and after what the recipes make of it."""

    def begin(self, guider: Any, plan: Plan) -> None:
        """The run begins; nothing has been computed."""

    def before(self, step: int, x: Tensor, sigma: Tensor) -> Tensor:
        """The state x [B, ...] with which a step begins -> the one to go on with."""
        ...

    def after(self, step: int, state: SamplerState) -> None:
        """The state that the sampler goes on with, before it calls its model."""

    def end(self) -> None:
        """The sampler has returned."""


def attach(
    model, *recipes: Recipe, on_status: Callable[[str], None] | None = None, notes: Sequence[str] = ()
):
    """A clone of MODEL that also runs `recipes`, after those it already has, and the book for their reports.

    notes: remarks on their settings. Disabled recipes install nothing. Raises ValueError for a model of a
    family that is not supported.
    """
    book = ReportBook()
    family_of(model)
    recipes = tuple(recipe for recipe in recipes if not recipe.disabled)
    if not recipes:
        if on_status is not None:
            on_status("Off: a plain run, as without this node.")
        return model.clone(), book
    patched = static_clone(model)
    attached: list[AttachedRecipe] = []
    for earlier in model.get_wrappers(OUTER_SAMPLE, WRAPPER_KEY):
        attached += earlier.attached
    attached += [AttachedRecipe(recipe, book, on_status, tuple(notes)) for recipe in recipes]
    install(patched, SamplingPatch(tuple(attached)))
    return patched, book


def install(patched, patch: SamplingPatch) -> None:
    """Put a patch on a clone of a MODEL, in the place of the one it has."""
    for kind, wrapper in ((OUTER_SAMPLE, patch), (PREPARE_SAMPLING, reserve_memory)):
        patched.remove_wrappers_with_key(kind, WRAPPER_KEY)
        patched.add_wrapper_with_key(kind, WRAPPER_KEY, wrapper)


def reserve_memory(executor, model, noise_shape, *args, **kwargs):
    """Tell ComfyUI how much one pass with a graph needs, before it decides how much of the model to load."""
    room = comfy.model_management.get_total_memory(model.load_device) - model.model_size()
    batch = reported_batch_size(model.model, noise_shape, room)
    return executor(model, [batch, *noise_shape[1:]], *args, **kwargs)


class SamplingPatch:
    """The wrapper around one sampler call. Holds recipes and books, nothing of a run.

    observer: of one sampler call, for nodes that make the call themselves.
    """

    def __init__(self, attached: tuple[AttachedRecipe, ...], observer: StateObserver | None = None):
        self.attached, self.observer = attached, observer

    @with_errors_spoken
    def __call__(
        self,
        executor,
        noise,
        latent_image,
        sampler,
        sigmas,
        denoise_mask=None,
        callback=None,
        disable_pbar=False,
        seed=None,
        **kwargs,
    ):
        guider, parts = executor.class_obj, len(kwargs.get("latent_shapes") or [1])
        plan = make_plan(guider, self.attached, sigmas, latent_image, noise, parts, sampler)
        run = SamplerRun(guider, plan, callback, seed or 0, noise)
        run.announce()
        watched, steps, update = sampler, plan.update_steps, run.update
        if self.observer is not None:
            self.observer.begin(guider, plan)
            steps, update = set(range(plan.schedule.n_steps)), _observed(self.observer, plan, run)
        if plan.active_steps or self.observer is not None:
            modify = run.on_prediction if plan.modifies_prediction or plan.levels else None
            watched = watch(sampler, Watch(steps, update, run.on_end, modify, run.warn))
        try:
            samples = executor(
                noise, latent_image, watched, sigmas, denoise_mask, run.on_step, disable_pbar, seed, **kwargs
            )
        except BaseException:
            run.stopped()
            raise
        if self.observer is not None:
            self.observer.end()
        run.finish(self.attached, sampler_name(sampler), latent_image, samples)
        return samples


def _observed(observer: StateObserver, plan: Plan, run: SamplerRun) -> UpdateState:
    """The update of every step: observer, recipes, observer."""
    due = plan.update_steps

    def update(step: int, model: Any, x: Tensor, sigma: Tensor, arguments: dict) -> Tensor:
        x = observer.before(step, x, sigma)
        if step in due:
            x = run.update(step, model, x, sigma, arguments)
        observer.after(step, SamplerState(run.guider, model, x, sigma, arguments))
        return x

    return update
