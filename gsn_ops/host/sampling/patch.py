"""The hook into sampling: a MODEL patch that watches the sampler and runs recipes at their steps.

One keyed OUTER_SAMPLE wrapper exchanges the sampler for a watched copy. The sampler, its history, noise,
previews and other packs' patches stay as they are; a run in which no recipe acts gets its own sampler object
back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import comfy.model_management
import comfy.patcher_extension

from ...optimise.recipe import Recipe
from ...report.book import ReportBook
from ..attention.memory_policy import reported_batch_size
from ..autograd.differentiable import static_clone
from ..find_family import family_of
from ..language import with_errors_spoken
from .plan import AttachedRecipe, make_plan
from .sampler_facts import sampler_name
from .sampler_run import SamplerRun
from .sampler_watcher import Watch, watch

WRAPPER_KEY = "gsn"
OUTER_SAMPLE = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
PREPARE_SAMPLING = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING


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
    patch = SamplingPatch(tuple(attached))
    for kind, wrapper in ((OUTER_SAMPLE, patch), (PREPARE_SAMPLING, _reserve_memory)):
        patched.remove_wrappers_with_key(kind, WRAPPER_KEY)
        patched.add_wrapper_with_key(kind, WRAPPER_KEY, wrapper)
    return patched, book


def _reserve_memory(executor, model, noise_shape, *args, **kwargs):
    """Tell ComfyUI how much one pass with a graph needs, before it decides how much of the model to load."""
    room = comfy.model_management.get_total_memory(model.load_device) - model.model_size()
    batch = reported_batch_size(model.model, noise_shape, room)
    return executor(model, [batch, *noise_shape[1:]], *args, **kwargs)


class SamplingPatch:
    """The wrapper around one sampler call. Holds recipes and books, nothing of a run."""

    def __init__(self, attached: tuple[AttachedRecipe, ...]):
        self.attached = attached

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
        plan = make_plan(guider, self.attached, sigmas, latent_image, noise, parts)
        run = SamplerRun(guider, plan, callback, seed or 0, noise)
        run.announce()
        watched = sampler
        if plan.active_steps:
            modify = run.modify_prediction if plan.modifies_prediction else None
            watched = watch(sampler, Watch(plan.update_steps, run.update, run.on_end, modify, run.warn))
        samples = executor(
            noise, latent_image, watched, sigmas, denoise_mask, run.on_step, disable_pbar, seed, **kwargs
        )
        run.finish(self.attached, sampler_name(sampler), latent_image, samples)
        return samples
