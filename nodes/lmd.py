"""LMD Sampler: an image from a layout, each object generated alone first."""

from comfy_api.latest import io

from ..gsn_ops.host.judge.detectors import detector_of
from ..gsn_ops.host.node_status import Absent
from ..gsn_ops.host.sampling.lmd_job import LayoutJob
from ..gsn_ops.host.sampling.lmd_sampler import sample_layout
from ..gsn_ops.optimise.lmd import AS_PUBLISHED, LMDSettings
from .inputs import Objective, given, optional_float, report_output, status_reporter, written
from .layout import Layout
from .refine import schedule_inputs

Round = io.Custom("GSN_LMD_ROUND")
OFF = "LMD Sampler has no {name}, for it was off: strength is 0, or the layout has no box."


def text_inputs() -> list[io.Input]:
    """The prompts, where they are not those of the layout."""
    return [
        io.String.Input(
            "prompt",
            optional=True,
            multiline=True,
            default="",
            placeholder="prompt of the whole image (empty: from the layout)",
            tooltip="The prompt of the whole image. Empty: background and objects of the layout. The name of "
            "a box that it lacks is appended.",
        ),
        io.String.Input(
            "negative",
            optional=True,
            multiline=True,
            default="",
            tooltip="The negative prompt; connect the negative output of Layout. Single boxes get words "
            "against several objects in addition. Empty: none.",
        ),
    ]


def energy_inputs() -> list[io.Input]:
    """How strongly and how long the layout acts."""
    return [
        optional_float(
            "strength",
            1.0,
            (0.0, 10.0),
            "Size of the updates: 1 = as published. 0 = off, a plain KSampler run of the prompt.",
            step=0.05,
        ),
        optional_float(
            "frozen",
            0.5,
            (0.0, 1.0),
            "The share of the steps in which the objects are held as they were generated alone. The rest of "
            "the steps is free.",
            step=0.01,
        ),
    ]


def stage_inputs() -> list[io.Input]:
    """Numbers of the single boxes, their masks and the transfer, as published."""
    return [
        optional_float(
            "noise_mix",
            AS_PUBLISHED,
            (-1.0, 1.0),
            "The share of a box's own noise in its box; the rest is the background's. -1 = as published: "
            "0.01, with gligen 0.1.",
            step=0.01,
            advanced=True,
        ),
        optional_float(
            "mask_threshold",
            0.25,
            (0.01, 1.0),
            "An object is where the attention to its word is above this share of its maximum.",
            step=0.01,
            advanced=True,
        ),
        optional_float(
            "transfer",
            2.0,
            (0.0, 100.0),
            "Weight of the attention transfer: how much the whole image must attend to a word as the box "
            "alone did.",
            step=0.1,
            advanced=True,
        ),
    ]


def model_inputs() -> list[io.Input]:
    """Other models and masks, and what earlier nodes have made."""
    return [
        io.Gligen.Input(
            "gligen",
            optional=True,
            tooltip="A GLIGEN text box model, for SD1 models (LMD+): it puts the objects into their boxes, "
            "and single boxes need no energy.",
        ),
        optional_float(
            "gligen_end", 0.4, (0.0, 1.0), "End of GLIGEN, as a share of the noise schedule.", step=0.01
        ),
        io.Mask.Input(
            "masks",
            optional=True,
            tooltip="Where each object is in the output objects, one mask per box. With previous connected "
            "nothing is generated twice.",
        ),
        io.Model.Input(
            "segmenter",
            optional=True,
            tooltip="SAM 3: finds the objects instead of a threshold. Needs segmenter_clip and vae.",
        ),
        io.Clip.Input("segmenter_clip", optional=True, tooltip="The CLIP of SAM 3."),
        io.Vae.Input("vae", optional=True, tooltip="Decodes the objects for the segmenter."),
        Objective.Input(
            "objective",
            optional=True,
            tooltip="Another loss for the run of the whole image. lmd_transfer gets its references here.",
        ),
        Round.Input(
            "previous",
            optional=True,
            tooltip="The round of another LMD Sampler: boxes that the layout leaves as they were are taken "
            "from there, bit for bit.",
        ),
    ]


class GSNLMDSampler(io.ComfyNode):
    """A KSampler for layouts: one run per box, and one of the whole image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNLMDSampler",
            display_name="LMD Sampler",
            category="GSN/layout",
            description="Makes an image of a layout as LLM-grounded diffusion does (Lian et al., TMLR 2024): "
            "every object alone in its box, then all of them composed, then the whole image, which holds the "
            "objects for half of its steps. Costs a sampling run per box and one more.",
            search_aliases=["gsn", "lmd", "layout", "llm", "boxes", "ksampler", "regional prompt"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising."),
                io.Clip.Input("clip", tooltip="Encodes the prompts of the boxes and of the whole image."),
                Layout.Input("layout", tooltip="Which object goes where, from Layout."),
                *schedule_inputs(),
                io.Latent.Input("latent_image", tooltip="An empty latent of one image."),
                *text_inputs(),
                *energy_inputs(),
                *stage_inputs(),
                *model_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The image."),
                report_output(),
                Round.Output("round", tooltip="For previous of the LMD Sampler of the next layout."),
                io.Latent.Output("objects", tooltip="Each object alone, in the order of the boxes."),
                io.Mask.Output("masks", tooltip="Where each object was put, one mask per box."),
                io.String.Output("text", tooltip="What was done, and what it cost."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        clip,
        layout,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        latent_image,
        prompt="",
        negative="",
        strength=1.0,
        frozen=0.5,
        noise_mix=AS_PUBLISHED,
        mask_threshold=0.25,
        transfer=2.0,
        gligen=None,
        gligen_end=0.4,
        masks=None,
        segmenter=None,
        segmenter_clip=None,
        vae=None,
        objective=None,
        previous=None,
    ) -> io.NodeOutput:
        gligen = gligen if gligen_end > 0 else None  # else single boxes would have neither it nor an energy
        settings = LMDSettings(strength, noise_mix, frozen, mask_threshold, transfer, gligen is not None)
        models, numbers = (given("MODEL", model), clip), (steps, cfg, sampler_name, scheduler)
        latent, texts = given("LATENT", latent_image), (written(prompt), written(negative))
        extra = (gligen, gligen_end, masks, segmenter_of(segmenter, segmenter_clip), vae, objective)
        job = LayoutJob(*models, layout, seed, numbers, latent, settings, *texts, *extra, previous)
        made = sample_layout(job, status_reporter(cls))
        status_reporter(cls)(made.text)
        return outputs_of(made)


def segmenter_of(model, clip):
    """The detector in a MODEL, None for none."""
    return None if model is None else detector_of(model, clip, "segmenter")


def outputs_of(made) -> io.NodeOutput:
    """The node's outputs; those that a plain run does not have say so where they are used."""
    parts = {"round": made.round, "objects": made.objects, "masks": made.masks}
    shown = [Absent(OFF.format(name=name)) if one is None else one for name, one in parts.items()]
    return io.NodeOutput(made.latent, made.book, *shown, made.text)


NODES = [GSNLMDSampler]
