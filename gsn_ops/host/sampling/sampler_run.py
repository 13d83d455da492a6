"""State of one sampler call: executes the plan and keeps the one progress bar."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...cost import amount, at_most, in_images
from ...maps import StepContext
from ...optimise.between_calls import handed_on
from ...optimise.recipe import ExtraInputs
from ...remark import Remark, with_lines
from ...report.run_report import RunReport
from ..attention.entry import is_active
from ..attention.foreign_code import remembered
from ..attention.isolation import kept_random_state
from ..attention.sampler_state import SamplerState
from ..node_status import queued_prompt
from .auto_looks import AutoLooks
from .last_calls import LastCalls
from .matched import join_matched
from .plan import AttachedRecipe, Plan, PlannedRecipe, network_scale, reason_against
from .recipe_run import OnEvaluation, RecipeRun, RecipeStep
from .reference_trajectory import predict_x0
from .sampler_report import LEFT_ALONE, continued_by, report_of, returned_latents

log = logging.getLogger(__name__)

STOPPED = "stopped before the end of this run"


class SamplerRun:
    """One sampler call. Gone when the call returns."""

    def __init__(self, guider: Any, plan: Plan, callback: Callable | None, seed: int, noise: Tensor):
        self.guider, self.plan, self.callback = guider, plan, callback
        self.seed, self.noise = seed, noise
        self.recipes = [RecipeRun(planned, plan.schedule, plan.family, seed) for planned in plan.recipes]
        running = [recipe for recipe in self.recipes if recipe.planned.runs]
        self.in_order = sorted(running, key=lambda recipe: recipe.recipe.priority)
        self.most_updates = sum(sum(recipe.planned.active.updates.values()) for recipe in running)
        self.updates_done, self.steps_done = 0, 0
        self.denoised: Tensor | None = None  # the last step's prediction: SamplerCustom's second output
        self.calls = LastCalls(plan.levels)
        self.warnings = list(plan.warnings)
        for one in running:
            if one.planned.boost is not None:
                one.looks = AutoLooks(guider, one.planned.boost, plan.schedule.sigmas, noise)

    @property
    def total(self) -> int:
        """Length of the progress bar: steps and updates."""
        return self.plan.schedule.n_steps + self.most_updates

    def update(self, step: int, model: Callable[..., Tensor], x: Tensor, sigma: Tensor, arguments: dict):
        """The sampler's state x [B, ...] after all recipes that update it at this step, in order."""
        for run in self._due(step, modifies_prediction=False):
            level = run.planned.active.levels.get(step)
            state = self.calls.state_at(level, SamplerState(self.guider, model, x, sigma, arguments))
            found = self._recipe_step(run, step, state)
            if found is not None:
                updated = run.update(found)
                x = updated if state.x is x else handed_on(x, updated - state.x)
            self.updates_done += run.planned.active.updates[step]
        return x

    def on_prediction(
        self,
        step: int,
        model: Callable[..., Tensor],
        x: Tensor,
        sigma: Tensor,
        denoised: Tensor,
        arguments: dict,
    ) -> Tensor:
        """The model's prediction at x after all recipes that modify it; called after every call of the
        model.
        """
        self.calls.remember(x, sigma, denoised)
        for run in self._due(step, modifies_prediction=True):
            state = SamplerState(self.guider, model, x, sigma, arguments)
            found = self._recipe_step(run, step, state)
            if found is not None:
                denoised = run.modify_prediction(found, denoised)
            self.updates_done = min(self.updates_done + 1, self.most_updates)
        return denoised

    def _due(self, step: int, modifies_prediction: bool) -> list[RecipeRun]:
        return [
            run
            for run in self.in_order
            if step in run.planned.active.updates and run.recipe.modifies_prediction == modifies_prediction
        ]

    def _recipe_step(self, run: RecipeRun, step: int, state: SamplerState) -> RecipeStep | None:
        """What the recipe gets at this step, or None where no prompt with its subjects is active."""
        x, sigma = state.x, state.sigma
        if run.looks is not None and not run.looks.begin_step():
            return None
        active = [m for m in run.planned.matched if is_active(self.guider, m.entry, x, sigma)]
        if not active:
            run.record.missing = (
                f"no prompt with these subjects is active at step {step} (its timestep range is elsewhere)"
            )
            return None
        matched, _ = join_matched(active)
        if len(active) < len(run.planned.matched):
            run.record.missing = reason_against(run.recipe, run.planned.active, matched)
            if run.record.missing:
                return None
        if len(active) > 1:
            self.warnings.append(
                f"{len(active)} prompts are active at the same step and read together, one pass for each."
            )
        c = network_scale(self.guider.inner_model.model_sampling, sigma, x.ndim)
        schedule = self.plan.schedule
        context = StepContext(
            step,
            schedule.n_steps,
            float(sigma.max()),
            c,
            regions=matched.regions,
            in_whole=schedule.position(step),
        )
        extra = self._extra_inputs(run, step, state)
        return RecipeStep(state, matched, context, self._progress(run.planned, step, x), extra)

    def _extra_inputs(self, run: RecipeRun, step: int, state: SamplerState) -> ExtraInputs:
        """The extra inputs that this recipe needs."""
        noise = predicted = None
        recipe = run.recipe
        if "initial_noise" in recipe.extra_inputs:
            noise = self.noise.to(state.x)
        if "predicted_x0" in recipe.extra_inputs and step > 0:
            options, network = state.arguments["model_options"], self.guider.inner_model.diffusion_model
            with remembered(options, network), kept_random_state(state.x.device):
                predicted = predict_x0(state, self.plan.schedule, step, self.seed)
        return ExtraInputs(noise, predicted, None if run.looks is None else run.looks.lacking)

    def _progress(self, planned: PlannedRecipe, step: int, x: Tensor) -> OnEvaluation:
        """Called before each evaluation of a step: cancel, preview, progress bar, the count on the node."""
        most, tell = planned.active.updates[step], planned.attached.on_status

        def on_evaluation(j: int, prediction: Tensor, newer: Callable[[int], Tensor | None]) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if tell is not None and 1 <= j < most:
                tell(f"update step {j} of {most}")
            if self.callback is None:
                return
            done = min(j, most)  # the last evaluation after a refinement is not followed by an update
            moved = newer(j)
            preview = prediction if self.denoised is None else self.denoised
            preview = preview if moved is None else moved
            # As within a step of the sampler: previews run small networks.
            with torch.inference_mode(x.is_inference()), torch.no_grad():
                self.callback(self.steps_done + self.updates_done + done, preview, x, self.total)

        return on_evaluation

    def on_step(self, step: int, x0: Tensor, x: Tensor, total: int):
        """ComfyUI's own callback, on one bar that counts steps and updates."""
        self.denoised, self.steps_done = x0, step + 1
        if self.callback is not None:
            return self.callback(step + self.updates_done, x0, x, max(self.total, total))

    def on_end(self, missed: list[int]) -> None:
        """The sampler function has returned; `missed` are the steps whose state it never showed."""
        if missed:
            steps = ", ".join(map(str, missed))
            self.warnings.append(
                Remark(
                    f"The sampler never showed its state at step {steps} "
                    "(it adds noise before each call, or has its own steps), so nothing was done there. "
                    "Choose another sampler, or s_churn 0.",
                    line=f"nothing was done at step {steps}, choose another sampler or s_churn 0",
                )
            )

    def warn(self, text: str) -> None:
        """Put a remark into the report."""
        self.warnings.append(text)

    def announce(self) -> None:
        """Tell every recipe's node what was found, when it will act and what that may cost, or why it will
        not.
        """
        schedule = self.plan.schedule
        lines: dict[Callable[[str], None], list[str]] = {}
        passes: dict[Callable[[str], None], int] = {}
        for run in self.recipes:
            tell = run.planned.attached.on_status
            if tell is not None:
                lines.setdefault(tell, []).append(run.planned.announcement(schedule.n_steps))
                passes[tell] = passes.get(tell, 0) + run.planned.most_passes
        for tell, said in lines.items():
            cost = [at_most(in_images(passes[tell], schedule.plain_passes))] if passes[tell] else []
            tell("; ".join(["\n".join(dict.fromkeys(said)), *cost]))

    def stopped(self) -> None:
        """Tell every recipe's node that this run was cancelled or failed: what it said before is over."""
        for tell in dict.fromkeys(run.planned.attached.on_status for run in self.recipes):
            if tell is not None:
                tell(STOPPED)

    def finish(
        self, attached: tuple[AttachedRecipe, ...], sampler: str, start: Tensor, samples: Tensor
    ) -> None:
        """Write the report into every recipe's book and tell every recipe's node.

        start: the latent [B, ...] that the run was given. A run in which nothing was done, but which goes on
        with the picture of one in which something was, is reported as that one.
        """
        model = self.guider.model_patcher
        report = report_of(self.plan, self.recipes, self.warnings, sampler, model)
        outputs = returned_latents(samples)
        if self.denoised is not None:
            outputs += returned_latents(model.model.process_latent_out(self.denoised.cpu()))
        prompt, from_image = queued_prompt(), bool(start.count_nonzero())
        told = [report] * len(attached)
        for book in {id(one.book): one.book for one in attached}.values():
            earlier = book.continued(start) if from_image and not report.acted else None
            shown = report if earlier is None else continued_by(earlier, report)
            before = earlier or (None if report.acted else book.acted_in(prompt))
            if before is not None and len(before.recipes) == len(attached):
                told = [before if one.book is book else t for one, t in zip(attached, told, strict=True)]
            book.add(shown, *outputs, prompt=prompt, acted=report.acted)
        self._tell(attached, report, told)

    def _tell(self, attached: tuple[AttachedRecipe, ...], report: RunReport, told: list[RunReport]) -> None:
        """One line per recipe on its node: of the run in told[n], where that is another one than this."""
        lines: dict[Callable[[str], None], list[str]] = {}  # one node may have attached several recipes
        remarks: dict[Callable[[str], None], list[str]] = {}
        costs: dict[Callable[[str], None], float] = {}
        left_alone: set[Callable[[str], None]] = set()
        for n, (one, planned) in enumerate(zip(attached, self.plan.recipes, strict=True)):
            now, recipe = report.recipes[n], told[n].recipes[n]
            log.info(now.status)
            shown = recipe if recipe.step is not None else now
            if one.on_status is not None:
                lines.setdefault(one.on_status, []).append(shown.said)
                costs[one.on_status] = costs.get(one.on_status, 0.0) + (shown.cost or 0.0)
                if told[n] is not report and shown is recipe:
                    left_alone.add(one.on_status)
                remarks.setdefault(one.on_status, list(self.warnings)).extend(planned.notes)
        for on_status, said in lines.items():
            line = "\n".join(dict.fromkeys(said))
            if costs[on_status]:
                line += f"; cost +{amount(costs[on_status])} images"
            if on_status in left_alone:
                line += f"; {LEFT_ALONE}"
            on_status(with_lines(line, remarks[on_status]))
