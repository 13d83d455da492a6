"""One recipe in one running sampler: probe, worker, and what is reported about them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import comfy.model_management
import torch
from torch import Tensor

from ...maps import AttentionMaps, MapOptions, StepContext
from ...objectives.per_encoder import ByEncoder
from ...optimise.gradient_agreement import AGREEMENT, GradientAgreementCheck
from ...optimise.recipe import StepResult, per_image
from ...optimise.velocity import steered
from ...prompt import SubjectColumns
from ...report.run_report import RecipeReport, StepReport, count
from ...report.text import counted
from ...schedule import Schedule
from ...subject_maps import subject_maps
from ...torch_ops.bfloat16 import should_try_bfloat16
from ..architectures.family import ModelFamily
from ..attention.entry import Entry, side_networks
from ..attention.memory_policy import LEVELS, CheckpointPolicy, is_out_of_memory, out_of_memory
from ..attention.probe import Probe
from ..autograd.differentiable import differentiable, without_inference_flag
from .plan import MatchedConditioning, PlannedRecipe

NOT_A_SETTING = {
    "method",
    "objective",
    "moment",
    "subjects",
    "report",
    "strict",
    "step_size",
    "checkpoints",
    "inner_loops",
}


class RecipeRun:
    """A planned act while its run lasts. Keeps numbers, small maps and predicted pictures; nothing that refers to the model."""

    def __init__(self, planned: PlannedRecipe, schedule: Schedule, family: ModelFamily, seed: int):
        self.planned, self.recipe, self.family, self.n_steps = (
            planned,
            planned.act.recipe,
            family,
            schedule.n_steps,
        )
        self.work = self.recipe.start(schedule, seed)
        self.checkpoint_policy = CheckpointPolicy()
        self.cosine: float | None = (
            None  # of the first gradient in bfloat16 with that in full precision, where that was looked at
        )
        self.layers: int | None = None  # wanted layers of one pass, learned by the first complete one
        self.subjects: tuple[SubjectColumns, ...] = ()
        self.entry: Entry | None = None
        self.steps: list[StepReport] = []
        self.c: float | None = None
        self.looks: dict[
            str, tuple[Tensor, Tensor, tuple[float, ...]]
        ] = {}  # "before", "after" -> maps, picture, loss
        self.forwards = self.backwards = 0
        self.left_alone = self.broken = 0
        self.cut_override = False
        self.missing = ""

    def __call__(
        self,
        guider,
        model_k,
        x: Tensor,
        sigma: Tensor,
        extra: dict,
        candidate: MatchedConditioning,
        context: StepContext,
        on_shift: Callable[[int, Tensor], None],
        **wanted: Tensor,
    ) -> Tensor:
        """The sampler's state x [B, ...] after this step's work; x itself is not changed.

        on_shift(j, picture) is called before each evaluation with the best known picture of the result; it may raise to cancel.
        wanted: what this recipe's worker asks for beside the usual (SAGA). Raises the host's out-of-memory exception.
        """
        return self._with_room(
            lambda: self._shifted(guider, model_k, x, sigma, extra, candidate, context, on_shift, wanted)
        )

    def _shifted(self, guider, model_k, x, sigma, extra, candidate, context, on_shift, wanted) -> Tensor:
        with self._probing(guider, model_k, x, sigma, extra, candidate, context) as (state, probe, picture):
            wanted = {name: without_inference_flag(t) for name, t in wanted.items()}
            z = state.float() / context.c
            probe.bfloat16, trial = (
                self.cosine is not None and self.cosine >= AGREEMENT,
                self._trial(probe, z, context),
            )
            worked = self.work(
                z,
                trial or probe.maps_of,
                candidate.subjects,
                context,
                lambda j: on_shift(j, picture),
                **wanted,
            )
            if trial is not None and context.index != self.planned.when.steps[-1]:
                trial.decide()
            if worked is None:
                return x
            # An image without an update keeps its very bits: x / c * c would not.
            shifted = torch.where(
                per_image(worked.shifts > 0, state), (worked.z * context.c).to(state.dtype), state
            )
            if self.recipe.report == "full" and context.index == self.planned.when.steps[-1]:
                self._look("after", guider, probe, shifted, context)
            self._note(worked, probe, context)
        return shifted

    def turn(
        self,
        guider,
        model_k,
        x: Tensor,
        sigma: Tensor,
        extra: dict,
        denoised: Tensor,
        candidate: MatchedConditioning,
        context: StepContext,
        on_shift: Callable[[int, Tensor], None],
    ) -> Tensor:
        """The model's prediction at x with this recipe's term in its velocity (FOCUS); neither x nor `denoised` is changed."""
        return self._with_room(
            lambda: self._turned(guider, model_k, x, sigma, extra, denoised, candidate, context, on_shift)
        )

    def _turned(self, guider, model_k, x, sigma, extra, denoised, candidate, context, on_shift) -> Tensor:
        with self._probing(guider, model_k, x, sigma, extra, candidate, context) as (state, probe, picture):
            worked, term = self.work(
                state.float(), probe.maps_of, candidate.subjects, context, lambda j: on_shift(j, picture)
            )
            if (
                self.recipe.report == "full"
                and context.index == self.planned.when.steps[-1]
                and "after" not in self.looks
            ):
                self._look("after", guider, probe, state, context)
            self._note(worked, probe, context)
            return steered(without_inference_flag(denoised), term, context.sigma)

    def _with_room(self, act: Callable[[], Tensor]) -> Tensor:
        """One step's work; when memory runs out, all of it again with passes that store less."""
        while True:
            before = {
                name: dict(value) if isinstance(value, dict) else value
                for name, value in vars(self.work).items()
            }
            try:
                return act()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not self.checkpoint_policy.store_less():
                    raise out_of_memory() from error
            vars(self.work).update(
                before
            )  # out here, where the error no longer holds the tensors of the failed pass
            comfy.model_management.soft_empty_cache()

    @contextlib.contextmanager
    def _probing(
        self,
        guider,
        model_k,
        x: Tensor,
        sigma: Tensor,
        extra: dict,
        candidate: MatchedConditioning,
        context: StepContext,
    ) -> Iterator[tuple[Tensor, Probe, Tensor]]:
        """Gradients on: the state as a plain tensor, a probe at it, and the best known picture (after a first look, if one is wanted)."""
        entry = candidate.entry
        self.entry, self.subjects, self.c = (
            self.entry or entry,
            self.subjects or candidate.subjects,
            context.c,
        )
        with differentiable(guider.inner_model, *side_networks(guider, entry)):
            state = without_inference_flag(x)
            probe = Probe(
                guider, model_k, extra, sigma, entry, self.family, self.recipe.objective.needs, context.c
            )
            probe.layers, probe.checkpoint_policy = self.layers, self.checkpoint_policy
            first = self.recipe.report == "full" and not self.looks
            try:
                yield state, probe, self._look("before", guider, probe, state, context) if first else state
            finally:
                self.forwards += probe.forwards
                self.layers = probe.layers

    def _trial(self, probe: Probe, z: Tensor, context: StepContext) -> GradientAgreementCheck | None:
        """The comparison that decides about bfloat16, where it pays to try and the run has not made it yet."""
        wanted = getattr(self.recipe, "precision", "full")
        updates, model = sum(self.planned.when.updates.values()), probe.guider.inner_model
        if (
            self.cosine is not None
            or wanted == "full"
            or not (
                wanted == "bfloat16"
                or should_try_bfloat16(probe.network, model.get_dtype_inference(), z.device, updates)
            )
        ):
            return None

        needs = self.recipe.objective.needs

        def in_half(z: Tensor, map_gradients: dict[int, Tensor]) -> Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            probe.bfloat16, leaf = True, z.requires_grad_(True)
            maps = probe.maps_of(leaf)
            if needs.heads or needs.self_rows:  # it asks for more than the maps
                loss = self.recipe.objective(maps, self.subjects, replace(context, memory={})).sum()
            else:
                loss = sum((maps.cross[level] * wanted).sum() for level, wanted in map_gradients.items())
            self.backwards += 1
            return torch.autograd.grad(loss, leaf)[0]

        def decided(cosine: float) -> None:
            self.cosine, probe.bfloat16 = cosine, cosine >= AGREEMENT

        return GradientAgreementCheck(probe.maps_of, in_half, decided)

    def _look(self, when: str, guider, probe: Probe, x: Tensor, context: StepContext) -> Tensor:
        """Keep maps, predicted picture and loss at x (one complete pass without gradients). Returns the prediction."""
        with torch.no_grad():
            maps, predicted = probe.evaluate(x)
            kept = self._subject_maps(maps).half().cpu()  # [B, k, h, w]
            loss = tuple(self.recipe.objective(maps, self.subjects, context).tolist())
            self.looks[when] = kept, guider.inner_model.process_latent_out(predicted).half().cpu(), loss
        return predicted

    def _subject_maps(self, maps: AttentionMaps) -> Tensor:
        return subject_maps(maps, self.subjects, getattr(self.recipe.objective, "maps", MapOptions()))

    def _note(self, worked: StepResult, probe: Probe, context: StepContext) -> None:
        def rows(t: Tensor | None) -> tuple:
            return () if t is None else tuple(tuple(r) if isinstance(r, list) else r for r in t.tolist())

        self.steps.append(
            StepReport(
                context.index,
                context.sigma,
                rows(worked.losses),
                rows(worked.maxima),
                rows(worked.shifts),
                rows(worked.guided),
                rows(worked.success),
                rows(worked.rounds) if worked.guided is not None else (),
                rows(worked.maxima_after),
            )
        )
        self.backwards += len(worked.losses) if worked.passes is None else worked.passes
        self.broken = max(self.broken, int(worked.non_finite.sum()))
        self.left_alone = 0 if worked.needed is None else int((~worked.needed).sum())
        self.cut_override |= probe.cut_override

    def report(self) -> RecipeReport:
        """Everything this act did, also if that was nothing."""
        if not self.steps:
            reason = (
                self.planned.skip or self.planned.when.reason or self.missing or "its step was not reached"
            )
            return RecipeReport(self.recipe.method, f"{self.recipe.method}: skipped, {reason}")
        before, after = (self.looks.get(when, (None, None, ())) for when in ("before", "after"))
        shifts = tuple(map(sum, zip(*(s.updates for s in self.steps), strict=True)))
        losses = tuple(row for s in self.steps for row in s.losses)
        return RecipeReport(
            method=self.recipe.method,
            status=self._status(losses, after[2], shifts),
            step=self.steps[0].step,
            sigma=self.steps[0].sigma,
            c=self.c,
            losses=losses,
            loss_after=after[2],
            updates=shifts,
            forwards=self.forwards,
            backwards=self.backwards,
            maxima_before=self.steps[0].maxima,
            maxima_after=() if after[0] is None else _maxima(after[0]),
            maps_before=before[0],
            maps_after=after[0],
            predicted_before=before[1],
            predicted_after=after[1],
            settings=self._settings(),
            subjects=tuple(s.label for s in self.subjects),
            steps=tuple(self.steps),
            counters=count(tuple(self.steps)),
            attention_read=self.family.describe_capture(self.recipe.objective.needs),
        )

    def _settings(self) -> dict[str, float | int | str | bool]:
        plain_values = {
            f.name: getattr(self.recipe, f.name) for f in fields(self.recipe) if f.name not in NOT_A_SETTING
        }
        objective = self.recipe.objective
        apart, needs = isinstance(objective, ByEncoder), objective.needs
        levels, blocks = (
            needs.levels or self.family.levels,
            self.family.blocks if needs.blocks == "auto" else needs.blocks,
        )
        return {
            **plain_values,
            "levels": ", ".join(map(str, levels)) or "all",
            "blocks": blocks.replace("_", " ") or "all",
            "objective": type(objective.objective if apart else objective).__name__,
            "encoders": "separate" if apart else "average" if needs.encoders == "all" else needs.encoders,
        }

    def _status(
        self, losses: tuple[tuple[float, ...], ...], loss_after: tuple[float, ...], shifts: tuple[int, ...]
    ) -> str:
        """One line for the person: where, how much, how it went, what it cost."""
        first, last = self.steps[0], self.steps[-1]
        where = f"step {first.step}" if first is last else f"steps {first.step} to {last.step}"
        sigma = f"{first.sigma:.3g}" if first is last else f"{first.sigma:.3g} to {last.sigma:.3g}"
        made = (
            counted(shifts[0], "shift") if len(set(shifts)) == 1 else f"{min(shifts)} to {max(shifts)} shifts"
        )
        words = [
            f"{self.recipe.method}: {where} of {self.n_steps} (sigma {sigma})",
            made,
            f"loss {_mean(losses[0])} -> {_mean(loss_after or losses[-1])}",
            f"{self.forwards} forward and {self.backwards} backward passes",
        ]
        if self.left_alone:
            words.append(
                f"{self.left_alone} of {counted(len(shifts), 'image')} left alone, all subjects are present"
            )
        if self.broken:
            words.append(
                f"{counted(self.broken, 'image')} stopped early: the loss or its gradient was not finite, the last good latent was kept"
            )
        if self.cosine is not None:
            words.append(
                f"{'products in bfloat16' if self.cosine >= AGREEMENT else 'full precision'} "
                f"(the gradient in bfloat16 agrees to a cosine of {self.cosine:.5f})"
            )
        if self.checkpoint_policy.level:
            words.append(LEVELS[self.checkpoint_policy.level])
        if self.cut_override:
            words.append("another pack's attention kernel has no gradient and was replaced in these passes")
        return ", ".join(words)


def _mean(values: tuple[float, ...]) -> str:
    known = [v for v in values if math.isfinite(v)]
    return f"{sum(known) / len(known):.3f}" if known else "not finite"


def _maxima(maps: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, maps.float().flatten(2).amax(-1).tolist()))
