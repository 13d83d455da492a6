"""What a sampling run will do, decided and checked before the model is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.model_base import ModelType
from torch import Tensor

from ...joint_prompts import MAX_FOUND
from ...modulate.edits import WordBoost
from ...objectives.base import check_prompt, reason_to_skip
from ...optimise.auto import Auto
from ...optimise.recipe import ActiveSteps, Recipe
from ...remark import Remark
from ...report.book import ReportBook
from ...report.verdict import cure_first
from ...schedule import Schedule
from ..architectures.family import ModelFamily, columns_of
from ..attention.entry import Entry
from ..find_family import family_of
from ..prompts.conditioning import KEY
from ..prompts.entry_tokens import AllZeros, read_entry
from ..prompts.prompt_pair import OTHER_WORDS, PAIR_KEY
from .matched import MatchedConditioning, join_matched, match_entries
from .plain_passes import calls_of_steps, in_force, plain_passes
from .sampler_facts import renoises

NO_SUBJECTS = (
    "no subjects found in the prompt: type subjects into the subjects field, for example: cat, red car"
)
ONE_POSITION = "this latent has a single position, so its attention has no places: choose a larger image"
NONE_OF_THEM = (
    "none of the subjects that were typed is in the prompt: use words of the prompt, or leave the field empty"
)


@dataclass(frozen=True)
class AttachedRecipe:
    """A recipe on a model, the book for its reports, how its node is told what happened, and remarks on its
    settings.
    """

    recipe: Recipe
    book: ReportBook
    on_status: Callable[[str], None] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedRecipe:
    """A recipe in one run: its steps (or why it has none), and the entries it may read.

    skip: why it does nothing although it has steps; "" = it runs. boost: what looks at the run's own passes
    for it. prompts: so many are read together, one pass for each.
    """

    attached: AttachedRecipe
    active: ActiveSteps
    matched: tuple[MatchedConditioning, ...] = ()
    notes: tuple[str, ...] = ()
    skip: str = ""
    boost: WordBoost | None = None
    prompts: int = 1

    @property
    def recipe(self) -> Recipe:
        return self.attached.recipe

    @property
    def runs(self) -> bool:
        return bool(self.active.steps or self.boost) and not self.skip

    @property
    def most_passes(self) -> int:
        """Passes of the model that it makes at most in this run."""
        return self.prompts * self.recipe.most_passes(self.active) if self.runs else 0

    def announcement(self, n_steps: int) -> str:
        """What was found and when it will act, or why it will not: said before the run."""
        if not self.runs:
            return f"Skipped: {cure_first(self.skip or self.active.reason)}"
        names = ", ".join(dict.fromkeys(s.label for one in self.matched for s in one.subjects))
        if not self.active.steps:
            return f"{names}; Word boost alone, {self.active.reason}"
        where = self.active.where()
        return f"{names}; {'' if self.active.levels else 'at '}{where} of {n_steps}"


@dataclass(frozen=True)
class Plan:
    """All recipes of one sampler call."""

    family: ModelFamily
    schedule: Schedule
    recipes: tuple[PlannedRecipe, ...]
    warnings: tuple[str, ...] = ()

    @property
    def modifies_prediction(self) -> bool:
        """Whether any recipe modifies the model's predictions."""
        return any(planned.runs and planned.recipe.modifies_prediction for planned in self.recipes)

    @property
    def levels(self) -> tuple[float, ...]:
        """The noise levels at which recipes read between two calls of the model."""
        return tuple(s for planned in self.recipes if planned.runs for s in planned.active.levels.values())

    @property
    def active_steps(self) -> set[int]:
        """All steps at which a recipe acts."""
        return {step for planned in self.recipes if planned.runs for step in planned.active.steps}

    @property
    def update_steps(self) -> set[int]:
        """The steps at which the sampler's state is updated."""
        updating = [p for p in self.recipes if p.runs and not p.recipe.modifies_prediction]
        return {step for planned in updating for step in planned.active.steps}


def network_scale(model_sampling, sigma: Tensor, ndim: int) -> float:
    """c of x = c z, z being what the network receives: derived from ComfyUI's own scaling, not from model
    names.

    Raises ValueError for a model whose input is not a multiple of the latent.
    """
    one = torch.ones([1] * ndim, device=sigma.device)
    scaled, doubled = (float(model_sampling.calculate_input(sigma[:1], k * one)) for k in (1, 2))
    if scaled <= 0 or abs(doubled - 2 * scaled) > 1e-5 * abs(doubled):
        raise ValueError(
            "This model's input is not a multiple of the sampler's latent, so attention cannot be traced "
            "back to it. Sample it without Semantic Nursing."
        )
    return 1 / scaled


def check_latent(latent: Tensor, noise: Tensor, parts: int) -> None:
    """Raises ValueError for latents that cannot be updated: several parts, video, not finite.

    parts: how many latents ComfyUI has packed into this one.
    """
    if parts > 1:
        raise ValueError(
            "This latent has several parts (image and sound, say). Semantic Nursing works on image latents: "
            "bypass it for this model."
        )
    if latent.ndim == 5 and latent.shape[2] > 1:
        raise ValueError(
            f"This latent is a video of {latent.shape[2]} frames. Semantic Nursing works on images: set "
            "the length of the empty latent to 1 for an image, or bypass this node for a video."
        )
    for name, t in (("latent", latent), ("noise", noise)):
        if not torch.isfinite(t).all():
            raise ValueError(
                f"The {name} given to the sampler contains NaN or infinite values, so there is nothing to "
                "refine. The node before the sampler made them; a VAE in half precision is a common cause "
                "(try --fp32-vae)."
            )


def check_run(guider) -> None:
    """Raises ValueError for a run whose attention cannot be read, or whose model has no noise levels."""
    if guider.model_patcher.model.model_type is ModelType.IMG_TO_IMG_FLOW:
        raise ValueError(
            "This model starts from the image itself instead of noise; there is no noise level to refine at. "
            "Bypass Semantic Nursing for it."
        )
    if guider.model_options.get("context_handler") is not None:
        raise ValueError(
            "Context windows split the image over several passes, so its attention cannot be read in one. "
            "Remove the context window node or Semantic Nursing."
        )


def make_plan(
    guider,
    attached: tuple[AttachedRecipe, ...],
    sigmas: Tensor,
    latent: Tensor,
    noise: Tensor,
    parts: int = 1,
    sampler: Any = None,
) -> Plan:
    """Find steps, prompts and subjects for every recipe.

    parts: how many latents ComfyUI has packed into this one. sampler: ComfyUI's. Raises ValueError, before
    any model call, for input that cannot work.
    """
    model = guider.model_patcher
    family, model_sampling = family_of(model), model.get_model_object("model_sampling")
    check_latent(latent, noise, parts)
    check_run(guider)
    flow = network_scale(model_sampling, sigmas[:1].clamp(min=1e-3), latent.ndim) == 1.0
    from_image = bool(latent.count_nonzero())
    levels = tuple(float(s) for s in sigmas)
    percent_to_sigma = model_sampling.percent_to_sigma
    passes = plain_passes(guider, sampler, levels, percent_to_sigma)
    schedule = Schedule(levels, percent_to_sigma, flow, not from_image, passes, renoises(sampler))
    found, warnings = positive_entries(guider)
    entries = []
    for entry in found:
        tokens = columns_of(family, entry.tokens, guider.conds[entry.name][entry.index])
        entries.append(replace(entry, tokens=tokens))
    for_run = [replace(one, recipe=one.recipe.for_run(schedule)) for one in attached]
    calls = calls_of_steps(sampler, levels)
    steps = [_active_steps(one.recipe, schedule, from_image, calls) for one in for_run]
    planned = [_plan_recipe(one, active, entries) for one, active in zip(for_run, steps, strict=True)]
    planned = [_for_its_prompts(one, schedule, guider) for one in planned]
    planned = [_with_boost(one, schedule, family) for one in planned]
    if math.prod(latent.shape[2:]) == 1:
        planned = [replace(one, skip=ONE_POSITION) for one in planned]
    return Plan(family, schedule, tuple(planned), warnings)


def _for_its_prompts(planned: PlannedRecipe, schedule: Schedule, guider: Any) -> PlannedRecipe:
    """The recipe with the number of prompts that are in force at its steps: each makes every pass."""
    conds = [guider.conds[one.entry.name][one.entry.index] for one in planned.matched]
    levels = [schedule.sigmas[step] for step in planned.active.steps]
    n = [sum(in_force(cond, s, schedule.percent_to_sigma) for cond in conds) for s in levels]
    prompts = max(n, default=1)
    if prompts < 2 or planned.skip:
        return planned
    recipe = planned.recipe.for_run(replace(schedule, plain_passes=schedule.plain_passes // prompts))
    active = planned.active if recipe is planned.recipe else recipe.active_steps(schedule)
    return replace(planned, attached=replace(planned.attached, recipe=recipe), active=active, prompts=prompts)


def _with_boost(planned: PlannedRecipe, schedule: Schedule, family: ModelFamily) -> PlannedRecipe:
    """The recipe with its looks at the run's own passes, if it is one that looks."""
    recipe = planned.recipe
    if not isinstance(recipe, Auto) or planned.skip:
        return planned
    return replace(planned, boost=recipe.boost(schedule, joint=not family.cross))


def _active_steps(recipe: Recipe, schedule: Schedule, from_image: bool, calls: Sequence[int]) -> ActiveSteps:
    """When a recipe acts. One that makes its own latent would discard the image that a run starts from.

    calls: of the model in each step; a recipe that modifies the prediction acts in every one.
    """
    if from_image and recipe.starts_from_new_noise:
        reason = (
            "this run starts from an image, which choosing another noise would discard: use an empty latent"
        )
        return ActiveSteps((), {}, reason)
    active = recipe.active_steps(schedule)
    if not recipe.modifies_prediction:
        return active
    return replace(active, updates={step: n * calls[step] for step, n in active.updates.items()})


def positive_entries(guider) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """The conditioning entries whose tokens are known, and warnings.

    "positive" if the guider has it, then "middle", the second prompt of dual guidance; of guiders of other
    packs with other names: every list that carries our key. Raises ValueError if there is none, or one is
    unusable.
    """
    ours = [name for name, conds in guider.conds.items() if any(KEY in cond for cond in conds or ())]
    names = ours
    if "positive" in guider.conds:
        names = ["positive", *(name for name in ours if name == "middle")]
    conds = [(name, n, cond) for name in names for n, cond in enumerate(guider.conds[name] or ())]
    entries: list[Entry] = []
    warnings: list[str] = []
    errors: list[ValueError] = []
    zeros: list[ValueError] = []  # prompts that were switched off for some steps
    for name, index, cond in conds:
        if PAIR_KEY in cond:
            raise ValueError(OTHER_WORDS)
        try:
            tokens, notes = read_entry(cond.get("cross_attn"), cond.get(KEY))
        except AllZeros as error:
            zeros.append(error)
            continue
        except ValueError as error:
            if KEY in cond:
                raise
            errors.append(error)
            continue
        warnings += notes
        entries.append(Entry(name, index, tokens))
    if not entries and errors + zeros:
        raise (errors + zeros)[0]
    if not entries:
        read_entry(None, None)  # raises: no token data
    if errors:
        n = f"{len(errors)} of {len(conds)} combined prompts cannot be read"
        warnings.append(Remark(f"{n}: {errors[0]}", line=n))
    return tuple(entries), tuple(dict.fromkeys(warnings))


def reason_against(recipe: Recipe, active: ActiveSteps, matched: MatchedConditioning) -> str:
    """Why the recipe's loss cannot act on these subjects, in words; "" = it can."""
    compares = recipe.compares and len(active.steps) > 1
    return reason_to_skip(recipe.objective, matched.subjects, matched.regions, compares)


def _plan_recipe(attached: AttachedRecipe, active: ActiveSteps, entries: list[Entry]) -> PlannedRecipe:
    """Resolve the subjects in every entry that has them. A phrase typed on the node must be in one of
    them.
    """
    recipe = attached.recipe
    if not active.steps and recipe.strict:
        raise ValueError(active.reason)
    read = [replace(e, tokens=e.tokens.only(recipe.objective.needs.encoders)) for e in entries]
    matched, notes = match_entries(recipe.subjects, read)
    skip = NONE_OF_THEM if any(p.optional for p in recipe.subjects) else NO_SUBJECTS
    if matched:
        together, left_out = join_matched(matched)
        skip = reason_against(recipe, active, together)
        if not skip:
            check_prompt(recipe.objective, together.subjects, together.regions)
        if left_out:
            names = ", ".join(left_out)
            told = f"left out of the combined prompts (at most {MAX_FOUND}): {names}"
            notes.append(Remark(told, line=f"left out: {names}"))
    return PlannedRecipe(
        attached, active, tuple(matched), tuple(dict.fromkeys([*attached.notes, *notes])), skip
    )
