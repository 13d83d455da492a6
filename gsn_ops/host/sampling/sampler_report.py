"""The report of one sampler call: what all its recipes did, their subjects, and the colours of previews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import comfy.model_management
import torch
from torch import Tensor

from ... import __version__
from ...cost import in_images
from ...report.run_report import RecipeReport, RunReport, SubjectReport
from ...report.text import counted
from ...schedule import Moment
from ..find_family import name_of
from ..own_moment import weights_key
from .plan import Plan
from .recipe_run import RecipeRun

LEFT_ALONE = "a later pass was left alone"
"""Said of a run that did nothing, after one that did."""


def report_of(
    plan: Plan, recipes: Sequence[RecipeRun], warnings: Sequence[str], sampler: str, model
) -> RunReport:
    """The report of a sampler call. model: ComfyUI's ModelPatcher."""
    notes = [note for planned in plan.recipes for note in planned.notes]
    return RunReport(
        version=__version__,
        model=name_of(model, plan.family),
        sampler=sampler,
        n_steps=plan.schedule.n_steps,
        subjects=_subjects(recipes),
        recipes=tuple(_placed(run.report(), plan) for run in recipes),
        warnings=tuple(dict.fromkeys([*warnings, *notes])),
        latent_rgb=preview_matrix(model.get_model_object("latent_format")),
        default_step=_default_step(plan),
        weights=weights_key(model),
    )


def _placed(report: RecipeReport, plan: Plan) -> RecipeReport:
    """The report with its first step as a share of the noise schedule, and its cost in images."""
    if report.step is None or report.sigma is None:
        return report
    cost = round(in_images(report.forwards + report.backwards, plan.schedule.plain_passes), 4)
    return replace(report, percent=round(plan.schedule.percent_of(report.sigma), 4), cost=cost)


def continued_by(earlier: RunReport, later: RunReport) -> RunReport:
    """The report of a run for the picture that a later one went on with, which did nothing."""
    why = "; ".join(dict.fromkeys(recipe.status for recipe in later.recipes))
    note = f"{LEFT_ALONE}: {later.sampler}, {counted(later.n_steps, 'step')} ({why})"
    return replace(earlier, warnings=tuple(dict.fromkeys([*earlier.warnings, note])))


def _default_step(plan: Plan) -> str:
    """Which sigma the default moment is on this model, and who chose it."""
    percent = Moment().percent
    sigma = plan.schedule.percent_to_sigma(percent)
    return f"{100 * percent:g} % of the noise schedule is sigma {sigma:.3g} here ({plan.family.moment})"


def _subjects(recipes: Sequence[RecipeRun]) -> tuple[SubjectReport, ...]:
    """The subjects of every recipe, each label once, with the token pieces they were found in."""
    reports: dict[str, SubjectReport] = {}
    for run in recipes:
        entry, subjects = run.record.entry, run.record.subjects
        if entry is None and run.planned.matched:
            first = run.planned.matched[0]
            entry, subjects = first.entry, first.subjects
        if entry is None:
            continue
        text = {e.name: {p.column: p.text for p in e.pieces} for e in entry.tokens.encoders}
        for s in subjects:
            columns = s.columns("phrase")
            pieces = {name: tuple(text[name][c] for c in found) for name, found in columns.items()}
            reports.setdefault(s.label, SubjectReport(s.label, s.phrase.source, pieces, columns))
    return tuple(reports.values())


def returned_latents(samples: Tensor) -> list[Tensor]:
    """A run's latent as sampler nodes return it, which is what reports are looked up by.

    SamplerCustomAdvanced keeps the dtype, others cast to ComfyUI's.
    """
    samples = samples.to(comfy.model_management.intermediate_device())
    cast = samples.to(comfy.model_management.intermediate_dtype())
    return [samples] if cast.dtype == samples.dtype else [samples, cast]


def preview_matrix(latent_format) -> tuple[tuple[float, ...], ...] | None:
    """The preview colours of a ComfyUI latent format as plain numbers: one RGB row per channel, then the bias
    row.

    For latents as the sampler node returns them (the format's scale and shift are folded in); colours -1 ...
    1. None where ComfyUI has no such factors, or they need the latent rearranged.
    """
    factors = latent_format.latent_rgb_factors
    if factors is None or latent_format.latent_rgb_factors_reshape is not None:
        return None
    factors = torch.tensor(factors, dtype=torch.float32)  # [C, 3]
    channels = factors.shape[0]
    shape = (channels + 1, channels, *[1] * latent_format.latent_dimensions)
    units = torch.cat([torch.eye(channels), torch.zeros(1, channels)]).reshape(shape)  # [C + 1, C, 1, ...]
    rgb = latent_format.process_in(units).reshape(channels + 1, channels) @ factors  # [C + 1, 3]
    if latent_format.latent_rgb_factors_bias is not None:
        rgb = rgb + torch.tensor(latent_format.latent_rgb_factors_bias)
    rgb[:-1] -= rgb[-1].clone()
    return tuple(tuple(row) for row in rgb.tolist())
