"""What a sampling run will do, decided and checked before the model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from comfy.model_base import ModelType
from torch import Tensor

from ...objectives.base import check
from ...optimise.methods import Recipe
from ...optimise.recipe import ActiveSteps
from ...prompt import SubjectColumns
from ...regions import Region
from ...report.book import ReportBook
from ...schedule import Schedule
from ...subjects.placement import place_subjects
from ...subjects.resolve import choose_subjects
from ..architectures.family import ModelFamily, columns_of
from ..attention.entry import Entry
from ..find_family import family_of
from ..prompts.conditioning import KEY, check_entry


@dataclass(frozen=True)
class AttachedRecipe:
    """One recipe on a model, the book its reports go to, and how its node is told what happened."""

    recipe: Recipe
    book: ReportBook
    on_status: Callable[[str], None] | None = None


@dataclass(frozen=True)
class MatchedConditioning:
    """A conditioning entry that has an act's subjects: their columns, and where the person wants them."""

    entry: Entry
    subjects: tuple[SubjectColumns, ...]
    regions: dict[str, Region]


@dataclass(frozen=True)
class PlannedRecipe:
    """An act in one run: when it happens (or why not), and the entries it may read with their subjects' columns."""

    act: AttachedRecipe
    when: ActiveSteps
    candidates: tuple[MatchedConditioning, ...] = ()
    notes: tuple[str, ...] = ()
    skip: str = ""

    @property
    def runs(self) -> bool:
        return bool(self.when.steps) and not self.skip

    @property
    def turns(self) -> bool:
        return getattr(self.act.recipe, "modifies_prediction", False)


@dataclass(frozen=True)
class Plan:
    family: ModelFamily
    schedule: Schedule
    acts: tuple[PlannedRecipe, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def steps(self) -> set[int]:
        """All steps at which something is due."""
        return {step for planned in self.acts if planned.runs for step in planned.when.steps}

    @property
    def turns(self) -> bool:
        """Does an act turn the model's predictions?"""
        return any(planned.runs and planned.turns for planned in self.acts)

    @property
    def shift_steps(self) -> set[int]:
        """The steps at which the state itself is shifted."""
        return {
            step for planned in self.acts if planned.runs and not planned.turns for step in planned.when.steps
        }


def network_scale(model_sampling, sigma: Tensor, ndim: int) -> float:
    """c of x = c z, z being what the network receives: derived from the host's own scaling, not from model names.

    Raises ValueError for a model whose input is not a multiple of the latent.
    """
    one = torch.ones([1] * ndim, device=sigma.device)
    scaled, doubled = (float(model_sampling.calculate_input(sigma[:1], k * one)) for k in (1, 2))
    if scaled <= 0 or abs(doubled - 2 * scaled) > 1e-5 * abs(doubled):
        raise ValueError(
            "This model's input is not a multiple of the sampler's latent, so attention cannot be traced back to it. "
            "Sample it without Semantic Nursing."
        )
    return 1 / scaled


def check_latent(latent: Tensor, noise: Tensor, parts: int) -> None:
    """Raises ValueError for latents that cannot be refined: several parts (which the host has packed into one), video, not finite."""
    if parts > 1:
        raise ValueError(
            "This latent has several parts (picture and sound, say). Semantic Nursing works on picture latents: "
            "bypass it for this model."
        )
    if latent.ndim == 5 and latent.shape[2] > 1:
        raise ValueError(
            f"This latent is a video of {latent.shape[2]} frames. Semantic Nursing works on picture latents (one frame): "
            "connect an empty latent image, or bypass it for this model."
        )
    for name, t in (("latent", latent), ("noise", noise)):
        if not torch.isfinite(t).all():
            raise ValueError(
                f"The {name} given to the sampler contains NaN or infinite values, so there is nothing to refine. "
                "The node before the sampler made them; a VAE in half precision is a common cause (try --fp32-vae)."
            )


def make_plan(
    guider, acts: tuple[AttachedRecipe, ...], sigmas: Tensor, latent: Tensor, noise: Tensor, parts: int = 1
) -> Plan:
    """Find steps, prompts and subjects for every act. Raises ValueError, before any model call, for input that cannot work.

    parts: of how many latents the host has made this one.
    """
    model = guider.model_patcher
    family, model_sampling = family_of(model), model.get_model_object("model_sampling")
    check_latent(latent, noise, parts)
    if model.model.model_type is ModelType.IMG_TO_IMG_FLOW:
        raise ValueError(
            "This model starts from the picture itself instead of noise; there is no noise level to refine at."
        )
    if guider.model_options.get("context_handler") is not None:
        raise ValueError(
            "Context windows split the picture over several passes, so its attention cannot be read in one. "
            "Remove the context window node or Semantic Nursing."
        )
    flow = network_scale(model_sampling, sigmas[:1].clamp(min=1e-3), latent.ndim) == 1.0
    schedule = Schedule(tuple(float(s) for s in sigmas), model_sampling.percent_to_sigma, flow)
    entries, warnings = positive_entries(guider)
    entries = tuple(
        replace(entry, tokens=columns_of(family, entry.tokens, guider.conds[entry.name][entry.index]))
        for entry in entries
    )
    from_picture = bool(latent.count_nonzero())
    return Plan(
        family,
        schedule,
        tuple(_plan_act(act, _when(act, schedule, from_picture), entries) for act in acts),
        warnings,
    )


def _when(act: AttachedRecipe, schedule: Schedule, from_picture: bool) -> ActiveSteps:
    """When an act happens. One that makes a latent of its own would throw away the picture that a run starts from."""
    if from_picture and getattr(act.recipe, "starts_from_new_noise", False):
        return ActiveSteps(
            (),
            {},
            "this run starts from a picture, which choosing another noise would throw away: use an empty latent",
        )
    return act.recipe.when(schedule)


def positive_entries(guider) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """The conditioning entries whose prompt is known, and warnings. Raises ValueError if there is none, or one is unusable.

    "positive" if the guider has it; guiders of other packs with names of their own: every list that carries our key.
    """
    names = ["positive"] if "positive" in guider.conds else list(guider.conds)
    entries, warnings = [], []
    for name in names:
        for index, cond in enumerate(guider.conds[name] or ()):
            if KEY in cond:
                warnings += check_entry(cond.get("cross_attn"), cond[KEY])
                entries.append(Entry(name, index, cond[KEY]))
    if not entries:
        check_entry(None, None)  # raises: no remembered prompt
    return tuple(entries), tuple(dict.fromkeys(warnings))


def _plan_act(act: AttachedRecipe, when: ActiveSteps, entries: tuple[Entry, ...]) -> PlannedRecipe:
    """Resolve the subjects in every entry that has them; a phrase typed on the node must be in one of them."""
    if not when.steps and act.recipe.strict:
        raise ValueError(when.reason)
    candidates, notes, errors = [], [], []
    for entry in entries:
        try:
            entry = replace(entry, tokens=entry.tokens.only(act.recipe.objective.needs.encoders))
            subjects, remarks = choose_subjects(act.recipe.subjects, entry.tokens)
            subjects, regions = place_subjects(subjects, entry.tokens)
            if subjects:
                check(act.recipe.objective, subjects, regions)
        except ValueError as error:
            errors.append(error)
            continue
        notes += remarks
        if subjects:
            candidates.append(MatchedConditioning(entry, subjects, regions))
    if not candidates and errors:
        raise errors[0]
    skip = (
        ""
        if candidates
        else "no subjects found in the prompt: type them into the subjects field, for example: cat, red car"
    )
    return PlannedRecipe(act, when, tuple(candidates), tuple(dict.fromkeys(notes)), skip)
