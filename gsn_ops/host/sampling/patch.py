"""The hook into sampling: a MODEL patch that watches whatever sampler runs and acts when it shows its state at the chosen step.

One keyed OUTER_SAMPLE wrapper exchanges the sampler for a watched copy. The sampler, its history, noise, previews and other
packs' patches stay as they are; a run in which nothing is due gets its own sampler object back.
"""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management
import comfy.patcher_extension

from ...optimise.methods import Recipe
from ...report.book import ReportBook
from ..attention.memory_policy import reported_batch_size
from ..autograd.differentiable import static_clone
from ..find_family import family_of
from .plan import AttachedRecipe, make_plan
from .sampler_facts import sampler_name
from .sampler_run import SamplerRun
from .sampler_watcher import watch

WRAPPER_KEY = "gsn"
OUTER_SAMPLE = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
PREPARE_SAMPLING = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING


def attach(model, *recipes: Recipe, on_status: Callable[[str], None] | None = None):
    """A clone of MODEL that also carries out `recipes`, after those it already carries, and the book its reports go to.

    Recipes that are off install nothing. Raises ValueError for a model of a family that is not supported.
    """
    book = ReportBook()
    family_of(model)
    recipes = tuple(recipe for recipe in recipes if not recipe.disabled)
    if not recipes:
        if on_status is not None:
            on_status("Off: a plain run, as without this node.")
        return model.clone(), book
    patched = static_clone(model)
    before = tuple(act for nursing in model.get_wrappers(OUTER_SAMPLE, WRAPPER_KEY) for act in nursing.acts)
    nursing = SamplingPatch((*before, *(AttachedRecipe(recipe, book, on_status) for recipe in recipes)))
    for kind, wrapper in ((OUTER_SAMPLE, nursing), (PREPARE_SAMPLING, _ask_for_memory)):
        patched.remove_wrappers_with_key(kind, WRAPPER_KEY)
        patched.add_wrapper_with_key(kind, WRAPPER_KEY, wrapper)
    return patched, book


def _ask_for_memory(executor, model, noise_shape, *args, **kwargs):
    """Tell the host how much one pass with a graph needs, before it decides how much of the model to load."""
    room = comfy.model_management.get_total_memory(model.load_device) - model.model_size()
    return executor(
        model, [reported_batch_size(model.model, noise_shape, room), *noise_shape[1:]], *args, **kwargs
    )


class SamplingPatch:
    """The wrapper around one sampler call. Holds recipes and books, nothing of a run."""

    def __init__(self, acts: tuple[AttachedRecipe, ...]):
        self.acts = acts

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
        plan = make_plan(
            executor.class_obj,
            self.acts,
            sigmas,
            latent_image,
            noise,
            len(kwargs.get("latent_shapes") or [1]),
        )
        run = SamplerRun(executor.class_obj, plan, callback, seed or 0, noise)
        watched = (
            watch(sampler, plan.shift_steps, run.shift, run.on_end, run.steer if plan.turns else None)
            if plan.steps
            else sampler
        )
        samples = executor(
            noise, latent_image, watched, sigmas, denoise_mask, run.on_step, disable_pbar, seed, **kwargs
        )
        run.finish(self.acts, sampler_name(sampler), samples)
        return samples
