"""The hook into sampling: a MODEL patch that watches whatever sampler runs and acts when it shows its state at the chosen step.

One keyed OUTER_SAMPLE wrapper exchanges the sampler for a watched copy. The sampler, its history, noise, previews and other
packs' patches stay as they are; a run in which nothing is due gets its own sampler object back.
"""
from __future__ import annotations

import logging
from collections.abc import Callable

import comfy.model_management
import comfy.patcher_extension
from torch import Tensor

from .. import __version__
from ..maps import StepContext
from ..optimise.recipes import Refine
from ..report import ActionReport, RunReport, SubjectReport
from .gradients import static_clone
from .layouts import family_of
from .plan import Act, Plan, PlannedAct, make_plan, network_scale
from .probe import Entry, is_active
from .refinement import refine_state
from .reports import ReportBook, preview_matrix
from .samplers import sampler_name, watch

log = logging.getLogger(__name__)
WRAPPER_KEY = "gsn"
OUTER_SAMPLE = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
PREPARE_SAMPLING = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING
GRAPH_MEMORY = 3  # the graph of one conditional pass, in units of the host's estimate for a forward pass of that batch


def attach(model, recipe: Refine, on_status: Callable[[str], None] | None = None):
    """A clone of MODEL that also carries out `recipe`, after those it already carries, and the book its reports go to.

    Zero shifts install nothing. Raises ValueError for a model of a family that is not supported.
    """
    book = ReportBook()
    family_of(model)
    if recipe.shifts == 0:
        return model.clone(), book
    patched = static_clone(model)
    acts = tuple(act for nursing in model.get_wrappers(OUTER_SAMPLE, WRAPPER_KEY) for act in nursing.acts)
    for kind, wrapper in ((OUTER_SAMPLE, Nursing((*acts, Act(recipe, book, on_status)))), (PREPARE_SAMPLING, _ask_for_memory)):
        patched.remove_wrappers_with_key(kind, WRAPPER_KEY)
        patched.add_wrapper_with_key(kind, WRAPPER_KEY, wrapper)
    return patched, book


def _ask_for_memory(executor, model, noise_shape, *args, **kwargs):
    """Tell the host how much one pass with a graph needs, before it decides how much of the model to load."""
    return executor(model, [noise_shape[0] * GRAPH_MEMORY, *noise_shape[1:]], *args, **kwargs)


class Nursing:
    """The wrapper around one sampler call. Holds recipes and books, nothing of a run."""

    def __init__(self, acts: tuple[Act, ...]):
        self.acts = acts

    def __call__(self, executor, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, disable_pbar=False, seed=None, **kwargs):
        plan = make_plan(executor.class_obj, self.acts, sigmas, latent_image, noise)
        run = Run(executor.class_obj, plan, sigmas, callback)
        if plan.steps:
            sampler, callback = watch(sampler, plan.steps, run.shift, run.on_end), run.on_step
        samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **kwargs)
        run.finish(self.acts, sampler_name(sampler), samples)
        return samples


class Run:
    """One sampler call: carries out the plan and gathers the report. Gone when the call returns."""

    def __init__(self, guider, plan: Plan, sigmas: Tensor, callback):
        self.guider, self.plan, self.callback = guider, plan, callback
        self.n_steps = len(sigmas) - 1
        self.total = self.n_steps + sum(planned.act.recipe.shifts for planned in plan.acts if planned.runs)
        self.shifts_done, self.steps_done = 0, 0
        self.denoised: Tensor | None = None  # the last step's prediction, as the host hands it to SamplerCustom's second output
        self.actions: dict[int, ActionReport] = {}  # position in plan.acts -> what happened
        self.used: dict[int, tuple[Entry, tuple]] = {}
        self.warnings = list(plan.warnings)

    def shift(self, step: int, model_k, x: Tensor, sigma: Tensor, extra: dict) -> Tensor:
        """All acts due at this step, one after the other; called by the watcher with the sampler's state."""
        for position, planned in enumerate(self.plan.acts):
            if planned.runs and planned.found.step == step:
                x = self._act(position, planned, model_k, x, sigma, extra)
                self.shifts_done += planned.act.recipe.shifts
        return x

    def _act(self, position: int, planned: PlannedAct, model_k, x: Tensor, sigma: Tensor, extra: dict) -> Tensor:
        recipe = planned.act.recipe
        active = [c for c in planned.candidates if is_active(self.guider, c[0], x, sigma)]
        if not active:
            self.actions[position] = ActionReport(recipe.method, f"{recipe.method}: skipped, no prompt with these subjects is active at step "
                                                                 f"{planned.found.step} (its timestep range is elsewhere)")
            return x
        if len(active) > 1:
            self.warnings.append("Several prompts are active at this step; the attention of the first one with these subjects is read.")
        entry, subjects = self.used[position] = active[0]
        c = network_scale(self.guider.inner_model.model_sampling, sigma, x.ndim)
        context = StepContext(planned.found.step, self.n_steps, float(sigma.max()), c)

        def on_shift(j: int, picture: Tensor) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if self.callback is not None:
                self.callback(self.steps_done + self.shifts_done + j, picture if self.denoised is None else self.denoised, x, self.total)
        shifted, self.actions[position] = refine_state(
            self.guider, model_k, x, sigma, extra, entry, subjects, self.plan.family, recipe, context, on_shift)
        return shifted

    def on_step(self, step: int, x0: Tensor, x: Tensor, total: int):
        """The host's own callback, on one bar that counts steps and shifts."""
        self.denoised, self.steps_done = x0, step + 1
        if self.callback is not None:
            return self.callback(step + self.shifts_done, x0, x, max(self.total, total))

    def on_end(self, missed: list[int]) -> None:
        """The sampler function has returned; `missed` are the steps whose state it never showed."""
        if missed:
            self.warnings.append(f"The sampler never showed its state at step {', '.join(map(str, missed))} (it adds noise before each call, "
                                 "or has steps of its own), so nothing was done there. Choose another sampler, or s_churn 0.")

    def finish(self, acts: tuple[Act, ...], name: str, samples: Tensor) -> None:
        """Write the report into every act's book and tell every act's node."""
        actions = tuple(self.actions.get(i) or _skipped(planned) for i, planned in enumerate(self.plan.acts))
        notes = [note for planned in self.plan.acts for note in planned.notes]
        model = self.guider.model_patcher
        report = RunReport(
            version=__version__, model=self.plan.family.name, sampler=name, n_steps=self.n_steps, subjects=self._subjects(), actions=actions,
            warnings=tuple(dict.fromkeys([*self.warnings, *notes])),
            latent_rgb=preview_matrix(model.get_model_object("latent_format")),
        )
        outputs = _as_handed_on(samples)
        if self.denoised is not None:
            outputs += _as_handed_on(model.model.process_latent_out(self.denoised.cpu()))
        for book in {id(act.book): act.book for act in acts}.values():
            book.add(report, *outputs)
        for act, action in zip(acts, actions, strict=True):
            log.info(action.status)
            if act.on_status is not None:
                act.on_status(action.status + (f" [{', '.join(s.label for s in report.subjects)}]" if report.subjects else ""))

    def _subjects(self) -> tuple[SubjectReport, ...]:
        """The subjects of every act, each label once, with the pieces they were found in."""
        reports: dict[str, SubjectReport] = {}
        for i, planned in enumerate(self.plan.acts):
            chosen = self.used.get(i) or (planned.candidates[0] if planned.candidates else None)
            if chosen is None:
                continue
            entry, subjects = chosen
            text = {e.name: {p.column: p.text for p in e.pieces} for e in entry.tokens.encoders}
            for s in subjects:
                columns = s.columns("phrase")
                pieces = {e: tuple(text[e][c] for c in cs) for e, cs in columns.items()}
                reports.setdefault(s.label, SubjectReport(s.label, s.phrase.source, pieces, columns))
        return tuple(reports.values())


def _skipped(planned: PlannedAct) -> ActionReport:
    """The report of an act that did not run."""
    method = planned.act.recipe.method
    reason = planned.skip or planned.found.reason or f"its step {planned.found.step} was not reached"
    return ActionReport(method, f"{method}: skipped, {reason}")


def _as_handed_on(samples: Tensor) -> list[Tensor]:
    """A run's output as sampler nodes hand it on, which is what reports are looked up by: SamplerCustomAdvanced keeps the dtype."""
    samples = samples.to(comfy.model_management.intermediate_device())
    cast = samples.to(comfy.model_management.intermediate_dtype())
    return [samples] if cast.dtype == samples.dtype else [samples, cast]
