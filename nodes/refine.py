"""Latent Refine at Step: as a patch for any sampler, and as a KSampler."""

from dataclasses import replace

from comfy_api.latest import io

from ..gsn_ops.host.sampling import ksampler
from ..gsn_ops.host.sampling.patch import attach
from ..gsn_ops.language import aliases
from ..gsn_ops.optimise.overrides import check, with_levels
from ..gsn_ops.optimise.published_methods import latent_refine
from ..gsn_ops.optimise.refine import Refine
from ..gsn_ops.schedule import Moment
from ..gsn_ops.subjects.syntax import parse_subjects
from .inputs import (
    DEFAULT_LEVEL,
    chosen_moment,
    given,
    model_input,
    model_output,
    moment_inputs,
    report_kind,
    report_output,
    shifts_input,
    status_reporter,
    subjects_input,
    tuning_inputs,
    watching_inputs,
    written,
)


def refine_recipe(
    updates: tuple[int, float, float, bool], moment: Moment, objective, levels: str, report_level: str
) -> Refine:
    """Latent Refine with the values of the widgets.

    updates: shifts, learning_rate, stop_at_loss, only_if_needed. objective: None for the published one.
    Raises ValueError that names the setting, its value and the cure.
    """
    shifts, learning_rate, stop_at_loss, only_if_needed = updates
    published = latent_refine()
    recipe = replace(
        published,
        moment=moment,
        shifts=shifts,
        learning_rate=learning_rate,
        objective=objective or published.objective,
        stop_at_loss=stop_at_loss,
        only_if_needed=only_if_needed,
        report=report_kind(report_level),
    )
    return check(with_levels(recipe, written(levels, "auto")))


class GSNRefineModel(io.ComfyNode):
    """A MODEL patch with one `Refine` recipe whose settings are widgets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNRefineModel",
            display_name="Latent Refine at Step",
            category="GSN",
            description="Patches a model so that any sampler updates the latent at one step until every "
            "subject of the prompt has enough attention (Grimal et al., IJCAI 2025). The prompt must come "
            "from a text node whose CLIP went through Semantic Nursing, from CLIP Text Encode (GSN) or from "
            "Set Subjects.",
            search_aliases=["gsn", "latent refine", "ours", "step selection", *aliases("GSNRefineModel")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                model_input(),
                shifts_input(),
                *moment_inputs(),
                *tuning_inputs(),
                *watching_inputs(),
            ],
            outputs=[model_output(), report_output()],
        )

    @classmethod
    def execute(
        cls,
        model,
        shifts=50,
        at_percent=0.18,
        at_sigma=0.0,
        at_step=-1,
        learning_rate=0.01,
        objective=None,
        levels="auto",
        stop_at_loss=0.0,
        only_if_needed=False,
        report_level=DEFAULT_LEVEL,
    ) -> io.NodeOutput:
        updates = (shifts, learning_rate, stop_at_loss, only_if_needed)
        moment = chosen_moment(at_percent, at_sigma, at_step)
        recipe = refine_recipe(updates, moment, objective, levels, report_level)
        return io.NodeOutput(*attach(given("MODEL", model), recipe, on_status=status_reporter(cls)))


def schedule_inputs() -> list[io.Input]:
    """KSampler's inputs before the conditionings, with the same defaults and bounds."""
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="The random seed of the noise.",
        ),
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Number of sampling steps."),
        io.Float.Input(
            "cfg",
            default=8.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="Classifier-free guidance scale: how strongly the image follows the prompt.",
        ),
        io.Combo.Input("sampler_name", options=list(ksampler.SAMPLERS), tooltip="The sampling algorithm."),
        io.Combo.Input(
            "scheduler", options=list(ksampler.SCHEDULERS), tooltip="How the noise is removed over the steps."
        ),
    ]


def image_inputs() -> list[io.Input]:
    """KSampler's other inputs: conditionings, latent and denoise."""
    return [
        io.Conditioning.Input(
            "positive",
            tooltip="What you want to see. Must carry token data: from a text node whose CLIP went through "
            "Semantic Nursing, from CLIP Text Encode (GSN) or from Set Subjects.",
        ),
        io.Conditioning.Input("negative", tooltip="What you do not want to see."),
        io.Latent.Input("latent_image", tooltip="The latent to denoise."),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="How much is denoised; lower values keep the structure of the given latent.",
        ),
    ]


class GSNLatentRefine(io.ComfyNode):
    """A KSampler with one `Refine` recipe, in one node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNLatentRefine",
            display_name="KSampler (Latent Refine at Step)",
            category="GSN",
            description="A KSampler that updates the latent at one step until every subject of the prompt "
            "has enough attention (Grimal et al., IJCAI 2025). With 0 shifts it is the plain KSampler, bit "
            "for bit.",
            search_aliases=["gsn", "latent refine", "sampler", "ksampler", *aliases("GSNLatentRefine")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising."),
                *schedule_inputs(),
                *image_inputs(),
                shifts_input(),
                *moment_inputs(),
                *tuning_inputs(),
                *watching_inputs(),
                subjects_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The denoised latent."),
                report_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        positive,
        negative,
        latent_image,
        denoise=1.0,
        shifts=50,
        at_percent=0.18,
        at_sigma=0.0,
        at_step=-1,
        learning_rate=0.01,
        objective=None,
        levels="auto",
        stop_at_loss=0.0,
        only_if_needed=False,
        report_level=DEFAULT_LEVEL,
        subjects="",
    ) -> io.NodeOutput:
        updates = (shifts, learning_rate, stop_at_loss, only_if_needed)
        moment = chosen_moment(at_percent, at_sigma, at_step)
        recipe = refine_recipe(updates, moment, objective, levels, report_level)
        recipe = replace(recipe, subjects=parse_subjects(written(subjects)), strict=True)
        patched, book = attach(given("MODEL", model), recipe, on_status=status_reporter(cls))
        numbers = (seed, steps, cfg, sampler_name, scheduler)
        positive, negative = given("CONDITIONING", positive), given("CONDITIONING", negative)
        latent_image = given("LATENT", latent_image)
        latent = ksampler.sample(patched, *numbers, positive, negative, latent_image, denoise)
        return io.NodeOutput(latent, book)


NODES = [GSNRefineModel, GSNLatentRefine]
