"""One recipe in one running sampler: a probe and a worker at each of its steps."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...maps import StepContext
from ...objectives.base import evaluate_loss, own_subject_maps
from ...optimise.recipe import NO_EXTRA_INPUTS, ExtraInputs, StepResult, per_image
from ...optimise.velocity import with_velocity_term
from ...report.run_report import RecipeReport
from ...schedule import Schedule, to_x, to_z
from ...torch_ops.unreadable import is_unreadable, sentence
from ..architectures.family import ModelFamily
from ..attention.entry import side_networks
from ..attention.isolation import kept_random_state
from ..attention.joint_probe import AnyProbe, JointProbe
from ..attention.memory_policy import CheckpointPolicy
from ..attention.other_packs import own_network
from ..attention.probe import Probe
from ..attention.sampler_state import SamplerState
from ..autograd.differentiable import differentiable, without_inference_flag
from ..prompts.encoded_prompts import ENCODED
from .gradient_precision import GradientPrecision
from .matched import MatchedConditioning
from .memory_retry import retry_with_less_memory
from .moving_preview import MovingPreview
from .plan import PlannedRecipe
from .recipe_report import Evaluation, RecipeRecord

log = logging.getLogger(__name__)


OnEvaluation = Callable[[int, Tensor, Callable[[int], Tensor | None]], None]


@dataclass(frozen=True)
class RecipeStep:
    """One step of one recipe.

    state: the sampler's. matched: the conditioning entry that is read. context: where in the run.
    on_evaluation(j, x0, newer): called before evaluation j with the prediction at the begin of the step;
    newer(j) makes a newer one, or gives None. It may raise to cancel.
    """

    state: SamplerState
    matched: MatchedConditioning
    context: StepContext
    on_evaluation: OnEvaluation
    extra: ExtraInputs = NO_EXTRA_INPUTS


class Looks(Protocol):
    """What is seen, and changed without gradients, in the run's own passes for a recipe."""

    @property
    def lacking(self) -> Tensor | None:
        """bool [B], the images in which something is missing; None = nobody has looked yet."""

    def begin_step(self) -> bool:
        """The recipe's step begins. False = it has nothing to do."""
        ...

    def report(self, made: RecipeReport, reason: str, planned: bool) -> RecipeReport:
        """The recipe's report with what was seen and changed.

        reason: why there are no update steps, if there are none. planned: they were to be made.
        """
        ...


class RecipeRun:
    """A planned recipe while its run lasts. Refers to the model within a step only."""

    def __init__(self, planned: PlannedRecipe, schedule: Schedule, family: ModelFamily, seed: int):
        self.planned, self.recipe, self.family = planned, planned.recipe, family
        self.worker = self.recipe.start(schedule, seed)
        self.policy = CheckpointPolicy()
        self.precision = GradientPrecision(self.recipe, sum(planned.active.updates.values()))
        self.layers: int | None = None  # wanted layers of one pass, learned by the first complete one
        self.record = RecipeRecord(planned, family, schedule.n_steps)
        self.foreign = self.record.foreign
        self.looks: Looks | None = None  # at the run's own passes
        self.in_the_way: tuple[str, ...] = ()  # names of nodes and packs, known after a pass has failed
        self.engine = ""  # another pack's network, known then too

    def update(self, step: RecipeStep) -> Tensor:
        """The sampler's state x [B, ...] after this step's updates; the given x is not changed.

        Raises ComfyUI's out-of-memory exception.
        """
        return self._attempt(step, lambda: self._updated(step), step.state.x)

    def modify_prediction(self, step: RecipeStep, denoised: Tensor) -> Tensor:
        """The model's prediction at x with this recipe's term in its velocity; neither x nor `denoised` is
        changed.

        Raises ComfyUI's out-of-memory exception.
        """
        return self._attempt(step, lambda: self._modified(step, denoised), denoised)

    def _attempt(self, step: RecipeStep, work: Callable[[], Tensor], unchanged: Tensor) -> Tensor:
        """The result of work(), or `unchanged` from the first pass on that cannot be read or differentiated.

        Random numbers that such passes draw are not missed by the run.
        """
        if self.record.given_up:
            return unchanged
        try:
            with kept_random_state(unchanged.device):
                return retry_with_less_memory(self.policy, self.worker, work)
        except Exception as error:
            if not is_unreadable(error):
                raise
            self.record.given_up = sentence(error, self.in_the_way, self.engine)
            # As text: a log that keeps the error itself would keep the tensors of its pass.
            log.warning("%s: %s\n%s", self.recipe.method, self.record.given_up, traceback.format_exc())
            return unchanged

    def report(self) -> RecipeReport:
        """Everything this recipe did, also if that was nothing."""
        made = self.record.report(self.precision, self.policy)
        if self.looks is None:
            return made
        return self.looks.report(made, self.record.reason, bool(self.planned.active.steps))

    def _updated(self, step: RecipeStep) -> Tensor:
        context = step.context
        with self._probing(step) as (x, probe, prediction):
            z = to_z(x.float(), context.c)
            probe.bfloat16 = self.precision.bfloat16
            check = self.precision.check(probe, z.device, self.record.subjects, context)
            preview = MovingPreview(probe, check or probe.maps_of, x, context.c)
            result = self.worker(
                z,
                preview.maps_of,
                step.matched.subjects,
                context,
                lambda j: step.on_evaluation(j, prediction, preview.at),
                ExtraInputs(
                    without_inference_flag(step.extra.initial_noise),
                    without_inference_flag(step.extra.predicted_x0),
                    without_inference_flag(step.extra.lacking),
                ),
            )
            self.record.forwards -= preview.passes
            if check is not None and not self._is_last(context):
                check.decide()
            if result is None:
                return step.state.x
            # Images without an update stay bit-identical: x / c * c would not.
            updated = to_x(result.z, context.c).to(x.dtype)
            updated = torch.where(per_image(result.updates > 0, x), updated, x)
            if self.recipe.report == "full" and self._is_last(context):
                self.record.after = self._evaluate(step, probe, updated)[0]
            self._collect(result, probe, context)
        return updated

    def _modified(self, step: RecipeStep, denoised: Tensor) -> Tensor:
        context = step.context
        with self._probing(step) as (x, probe, prediction):
            result = self.worker(
                x.float(),
                probe.maps_of,
                step.matched.subjects,
                context,
                lambda j: step.on_evaluation(j, prediction, lambda _: None),
            )
            if result is None or result.velocity_term is None:
                return denoised
            if self.recipe.report == "full" and self._is_last(context) and self.record.after is None:
                self.record.after = self._evaluate(step, probe, x)[0]
            self._collect(result, probe, context)
            return with_velocity_term(without_inference_flag(denoised), result.velocity_term, context.sigma)

    def _is_last(self, context: StepContext) -> bool:
        return context.index == self.planned.active.steps[-1]

    @contextlib.contextmanager
    def _probing(self, step: RecipeStep) -> Generator[tuple[Tensor, AnyProbe, Tensor]]:
        """Gradients on: x as a plain tensor, a probe, and the best known prediction.

        That is the x0 of a first evaluation if the report wants one, else x.
        """
        state = step.state
        entries = [part.entry for part in step.matched.parts or (step.matched,)]
        self.record.begin_step(step.matched, step.context.c)
        networks = [network for entry in entries for network in side_networks(state.guider, entry)]
        with differentiable(state.guider.inner_model, *networks):
            x = without_inference_flag(state.x)
            needs, c = self.recipe.objective.needs, step.context.c
            probes = [Probe(state, entry, self.family, needs, c) for entry in entries]
            probe = probes[0] if len(probes) == 1 else JointProbe(probes)
            probe.layers, probe.checkpoint_policy, probe.foreign = self.layers, self.policy, self.foreign
            probe.foreign.begin(probe.arguments["model_options"], probe.network)
            try:
                prediction = x
                if self.recipe.report == "full" and self.record.before is None:
                    self.record.before, prediction = self._evaluate(step, probe, x)
                yield x, probe, prediction
            except Exception:
                self.in_the_way = probe.names_in_the_way()
                self.engine = own_network(state.guider.inner_model.diffusion_model)
                raise
            finally:
                self.record.forwards += probe.forwards
                self.layers = probe.layers

    def _evaluate(self, step: RecipeStep, probe: AnyProbe, x: Tensor) -> tuple[Evaluation, Tensor]:
        """Maps, predicted x0 and loss at x, by one complete pass without gradients; and the x0 itself [B,
        ...].
        """
        objective, subjects = self.recipe.objective, self.record.subjects
        with torch.no_grad():
            maps, predicted = probe.evaluate(x)
            kept = own_subject_maps(objective, maps, subjects).half().cpu()  # [B, k, h, w]
            loss = tuple(evaluate_loss(objective, maps, subjects, step.context).tolist())
            latent = step.state.guider.inner_model.process_latent_out(predicted).half().cpu()
        return Evaluation(kept, latent, loss), predicted

    def _collect(self, result: StepResult, probe: AnyProbe, context: StepContext) -> None:
        prompts = len(probe.probes) if isinstance(probe, JointProbe) else 1
        self.record.add_step(context.index, context.sigma, result, prompts)
        self.record.cut_override |= probe.cut_override
        for rows in () if probe.other_texts is None else probe.other_texts.split(1):
            self.record.other_texts += ENCODED.texts_in(rows) or ["another text"]
