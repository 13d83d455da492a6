"""The node most people need: a method by its name, on the model and the text encoder at once."""

from dataclasses import replace

from comfy_api.latest import io

from ..gsn_ops.host.extensions import collect
from ..gsn_ops.host.node_status import Absent
from ..gsn_ops.host.prompts.conditioning import with_token_metadata
from ..gsn_ops.host.sampling.patch import attach
from ..gsn_ops.optimise.methods import METHODS, methods, preset
from ..gsn_ops.optimise.overrides import check, moved, only_needed, override
from ..gsn_ops.subjects.syntax import parse_subjects
from .inputs import (
    DEFAULT_LEVEL,
    moment,
    moment_inputs,
    report_kind,
    report_output,
    status_reporter,
    subjects_input,
    watching_inputs,
)

NO_CLIP = (
    "Semantic Nursing's CLIP output is used, but nothing is connected to its clip input. "
    "Connect the checkpoint's CLIP to it, then this CLIP to your text nodes."
)


class GSNNursing(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        collect()
        return io.Schema(
            node_id="GSNNursing",
            display_name="Semantic Nursing",
            category="GSN",
            description="Brings back what the prompt asks for and the picture would lose. Place it where a LoRA loader "
            "sits: model and clip in, model and clip out, then your own text nodes and any sampler.",
            search_aliases=[
                "gsn",
                "latent refine",
                "attend and excite",
                "attention",
                "missing object",
                "prompt following",
            ],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to be patched (a copy; the original stays as it is)."
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text encoder. The one that leaves this node encodes the same bits and remembers "
                    "the words, so that the sampler can find your subjects.",
                ),
                io.Combo.Input(
                    "method",
                    options=methods(),
                    optional=True,
                    default=METHODS[0],
                    tooltip="A published method with its published numbers, or Latent Refine (fast), this pack's own.",
                ),
                subjects_input(),
                io.Float.Input(
                    "strength",
                    optional=True,
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=0.001,
                    tooltip="1 = as published, 0 = off (a plain run, bit for bit). Scales the size of the shifts.",
                ),
                *moment_inputs(),
                *watching_inputs(),
                io.String.Input(
                    "overrides",
                    optional=True,
                    default="",
                    advanced=True,
                    tooltip="Other numbers than the method's, for example: shifts=30, learning_rate=0.02. "
                    "A key that the method does not have is refused with the list of those it has.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="For the sampler."),
                io.Clip.Output(display_name="CLIP", tooltip="For your text nodes."),
                report_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        clip=None,
        method=METHODS[0],
        subjects="",
        strength=1.0,
        at_percent=0.18,
        at_sigma=0.0,
        at_step=-1,
        only_if_needed=False,
        report_level=DEFAULT_LEVEL,
        overrides="",
    ):
        if not strength >= 0:
            raise ValueError(
                f"strength is {strength:g}: choose 0 (off, a plain run) or more; 1 is as published."
            )
        recipes = moved(override(preset(method), overrides), moment(at_percent, at_sigma, at_step))
        common = {"report": report_kind(report_level), "subjects": parse_subjects(subjects)}
        recipes = tuple(
            check(replace(recipe, **common)).scaled(strength)
            for recipe in only_needed(recipes, only_if_needed)
        )
        model, book = attach(model, *recipes, on_status=status_reporter(cls))
        return io.NodeOutput(model, Absent(NO_CLIP) if clip is None else with_token_metadata(clip), book)


NODES = [GSNNursing]
