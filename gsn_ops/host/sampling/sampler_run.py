"""One sampler call while it lasts: carries out the plan, keeps the one progress bar, gathers the report."""

from __future__ import annotations

import logging

import comfy.model_management
import torch
from torch import Tensor

from ... import __version__
from ...maps import StepContext
from ...optimise.saga import first_guess, signal_and_noise
from ...report.run_report import RunReport, SubjectReport
from ...schedule import Moment
from ..attention.entry import is_active
from .plan import AttachedRecipe, Plan, network_scale
from .recipe_run import RecipeRun
from .reference_trajectory import predict_clean

log = logging.getLogger(__name__)


class SamplerRun:
    """One sampler call. Gone when the call returns."""

    def __init__(self, guider, plan: Plan, callback, seed: int, noise: Tensor):
        self.guider, self.plan, self.callback, self.seed, self.noise = guider, plan, callback, seed, noise
        self.actings = [RecipeRun(planned, plan.schedule, plan.family, seed) for planned in plan.acts]
        # At one step a refinement comes before guidance, whatever the order of the nodes.
        self.in_order = sorted((a for a in self.actings if a.planned.runs), key=lambda a: a.recipe.priority)
        self.total = plan.schedule.n_steps + sum(sum(a.planned.when.updates.values()) for a in self.in_order)
        self.shifts_done, self.steps_done = 0, 0
        self.denoised: Tensor | None = (
            None  # the last step's prediction, as the host hands it to SamplerCustom's second output
        )
        self.warnings = list(plan.warnings)

    def shift(self, step: int, model_k, x: Tensor, sigma: Tensor, extra: dict) -> Tensor:
        """All acts due at this step, one after the other; called by the watcher with the sampler's state."""
        for acting in self.in_order:
            if step in acting.planned.when.updates and not acting.planned.turns:
                found = self._moment(acting, step, x, sigma)
                if found is not None:
                    x = acting(
                        self.guider,
                        model_k,
                        x,
                        sigma,
                        extra,
                        *found,
                        **self._wanted(acting, found[1], model_k, x, extra),
                    )
                self.shifts_done += acting.planned.when.updates[step]
        return x

    def steer(self, step: int, model_k, x: Tensor, sigma: Tensor, denoised: Tensor, extra: dict) -> Tensor:
        """The model's prediction at x, turned by the acts that do so; called by the watcher after every call of the model."""
        for acting in self.in_order:
            if step in acting.planned.when.updates and acting.planned.turns:
                found = self._moment(acting, step, x, sigma)
                if found is not None:
                    denoised = acting.turn(self.guider, model_k, x, sigma, extra, denoised, *found)
                self.shifts_done = min(self.shifts_done + 1, self.total - self.plan.schedule.n_steps)
        return denoised

    def _wanted(
        self, acting: RecipeRun, context: StepContext, model_k, x: Tensor, extra: dict
    ) -> dict[str, Tensor]:
        """What a recipe's worker asks for beside the usual: the noise of the run, and a prediction from noise of its own."""
        if not getattr(acting.recipe, "wants_trajectory", False):
            return {}
        schedule = self.plan.schedule
        if context.index == 0:  # nothing has been predicted yet
            x0_hat = first_guess(x / context.c, *signal_and_noise(context, schedule.flow), schedule.flow)
        else:
            x0_hat = predict_clean(self.guider, model_k, x, schedule, context.index, extra, self.seed)
        return {"x0_hat": x0_hat, "noise": self.noise.to(x)}

    def _moment(self, acting: RecipeRun, step: int, x: Tensor, sigma: Tensor):
        """(entry and subjects, where in the run, what to call before each evaluation) for one act, or None where no prompt is active."""
        active = [c for c in acting.planned.candidates if is_active(self.guider, c.entry, x, sigma)]
        if not active:
            acting.missing = (
                f"no prompt with these subjects is active at step {step} (its timestep range is elsewhere)"
            )
            return None
        if len(active) > 1:
            self.warnings.append(
                "Several prompts are active at this step; the attention of the first one with these subjects is read."
            )
        c = network_scale(self.guider.inner_model.model_sampling, sigma, x.ndim)
        context = StepContext(
            step, self.plan.schedule.n_steps, float(sigma.max()), c, regions=active[0].regions
        )

        def on_shift(j: int, picture: Tensor) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if self.callback is not None:
                done = min(
                    j, acting.planned.when.updates[step]
                )  # the last evaluation after a refinement makes no shift of its own
                with (
                    torch.inference_mode(x.is_inference()),
                    torch.no_grad(),
                ):  # as in a step: previews run small networks
                    self.callback(
                        self.steps_done + self.shifts_done + done,
                        picture if self.denoised is None else self.denoised,
                        x,
                        self.total,
                    )

        return active[0], context, on_shift

    def on_step(self, step: int, x0: Tensor, x: Tensor, total: int):
        """The host's own callback, on one bar that counts steps and shifts."""
        self.denoised, self.steps_done = x0, step + 1
        if self.callback is not None:
            return self.callback(step + self.shifts_done, x0, x, max(self.total, total))

    def on_end(self, missed: list[int]) -> None:
        """The sampler function has returned; `missed` are the steps whose state it never showed."""
        if missed:
            self.warnings.append(
                f"The sampler never showed its state at step {', '.join(map(str, missed))} (it adds noise before each call, "
                "or has steps of its own), so nothing was done there. Choose another sampler, or s_churn 0."
            )

    def finish(self, acts: tuple[AttachedRecipe, ...], sampler: str, samples: Tensor) -> None:
        """Write the report into every act's book and tell every act's node."""
        model = self.guider.model_patcher
        report = RunReport(
            version=__version__,
            model=self.plan.family.name,
            sampler=sampler,
            n_steps=self.plan.schedule.n_steps,
            subjects=self._subjects(),
            recipes=tuple(acting.report() for acting in self.actings),
            warnings=tuple(
                dict.fromkeys(
                    [*self.warnings, *(note for planned in self.plan.acts for note in planned.notes)]
                )
            ),
            latent_rgb=preview_matrix(model.get_model_object("latent_format")),
            default_step=self._default_moment(),
        )
        outputs = _as_handed_on(samples)
        if self.denoised is not None:
            outputs += _as_handed_on(model.model.process_latent_out(self.denoised.cpu()))
        for book in {id(act.book): act.book for act in acts}.values():
            book.add(report, *outputs)
        lines: dict[object, list[str]] = {}  # one node may have brought several recipes
        for act, action in zip(acts, report.recipes, strict=True):
            log.info(action.status)
            lines.setdefault(act.on_status, []).append(
                action.status + (f" [{', '.join(action.subjects)}]" if action.subjects else "")
            )
        for tell, said in lines.items():
            if tell is not None:
                tell("\n".join(said))

    def _default_moment(self) -> str:
        """What the default moment is on this model, and who chose it."""
        percent, family = Moment().percent, self.plan.family
        return f"{100 * percent:g} % of the noise schedule is sigma {self.plan.schedule.percent_to_sigma(percent):.3g} here ({family.moment})"

    def _subjects(self) -> tuple[SubjectReport, ...]:
        """The subjects of every act, each label once, with the pieces they were found in."""
        reports: dict[str, SubjectReport] = {}
        for acting in self.actings:
            entry, subjects = acting.entry, acting.subjects
            if entry is None and acting.planned.candidates:
                first = acting.planned.candidates[0]
                entry, subjects = first.entry, first.subjects
            for s in subjects:
                text = {e.name: {p.column: p.text for p in e.pieces} for e in entry.tokens.encoders}
                columns = s.columns("phrase")
                pieces = {e: tuple(text[e][c] for c in cs) for e, cs in columns.items()}
                reports.setdefault(s.label, SubjectReport(s.label, s.phrase.source, pieces, columns))
        return tuple(reports.values())


def _as_handed_on(samples: Tensor) -> list[Tensor]:
    """A run's output as sampler nodes hand it on, which is what reports are looked up by: SamplerCustomAdvanced keeps the dtype."""
    samples = samples.to(comfy.model_management.intermediate_device())
    cast = samples.to(comfy.model_management.intermediate_dtype())
    return [samples] if cast.dtype == samples.dtype else [samples, cast]


def preview_matrix(latent_format) -> tuple[tuple[float, ...], ...] | None:
    """A host latent format's preview colours as plain numbers: one RGB row per channel, then the bias row.

    For latents as the sampler node returns them (the format's scale and shift are folded in); colours -1..1.
    None where the host has no such factors, or they need the latent rearranged.
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
