"""Two prompts in one run: a negative one inside the attention, and two that take turns."""

from comfy_api.latest import io

from ..gsn_ops.host.prompts.alternation import SCHEDULERS, alternate, levels_of
from ..gsn_ops.host.prompts.negative_rows import negative_rows
from ..gsn_ops.host.sampling.modulation import attach_edits
from ..gsn_ops.language import aliases
from ..gsn_ops.modulate.edits import FlippedNegative
from .inputs import (
    conditioning_output,
    given,
    model_input,
    model_output,
    optional_float,
    report_output,
    status_reporter,
    written,
)

WINDOW = "{} of the window in which the words are subtracted, as a share of the noise schedule."


class GSNFlippedNegative(io.ComfyNode):
    """A MODEL patch: VSF, a negative prompt in the pass of the positive one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNFlippedNegative",
            display_name="Negative Prompt in Attention (VSF)",
            category="GSN",
            description="Subtracts the words of a negative prompt inside cross-attention, in the pass of the "
            "positive prompt: it works at CFG 1, where the sampler's negative input does nothing. No extra "
            "passes. For UNets: Stable Diffusion 1 and 2, SDXL and their kin.",
            search_aliases=[
                "gsn",
                "vsf",
                "value sign flip",
                "negative prompt",
                "cfg 1",
                "nag",
                *aliases("GSNFlippedNegative"),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                model_input(),
                io.Conditioning.Input(
                    "negative",
                    tooltip="What must not appear, from CLIP Text Encode (GSN) or with the CLIP of Semantic "
                    "Nursing. An empty prompt: a plain run, bit for bit.",
                ),
                optional_float(
                    "alpha",
                    1.8,
                    (0.0, 10.0),
                    "How strongly the words are subtracted. 1.8 is published (for Wan); 0 = off.",
                    step=0.05,
                ),
                optional_float("start_percent", 0.0, (0.0, 1.0), WINDOW.format("Start")),
                optional_float("end_percent", 1.0, (0.0, 1.0), WINDOW.format("End")),
                optional_float(
                    "beta",
                    -0.1,
                    (-5.0, 5.0),
                    "Less attention for the negative words, as a number taken off their scores. -0.1 is in "
                    "the authors' code.",
                    step=0.05,
                    advanced=True,
                ),
            ],
            outputs=[model_output(), report_output()],
        )

    @classmethod
    def execute(
        cls, model, negative, alpha=1.8, start_percent=0.0, end_percent=1.0, beta=-0.1
    ) -> io.NodeOutput:
        rows, words = negative_rows(given("CONDITIONING", negative))
        edit = FlippedNegative(
            rows=rows, words=words, alpha=alpha, beta=beta, start=start_percent, end=end_percent
        )
        return io.NodeOutput(
            *attach_edits(given("MODEL", model), edit.check(), on_status=status_reporter(cls))
        )


class GSNAlternatePrompts(io.ComfyNode):
    """A conditioning whose two prompts take turns, step by step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNAlternatePrompts",
            display_name="Alternate Prompts",
            category="GSN",
            description="For rare combinations: a common stand-in (a horned animal) and the real prompt (a "
            "horned frog) take turns in the first steps, then the real one goes on alone (R2F, 2025). No "
            "extra passes, any model.",
            search_aliases=[
                "gsn",
                "r2f",
                "rare to frequent",
                "prompt switch",
                "prompt scheduling",
                *aliases("GSNAlternatePrompts"),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model that is sampled: it says which noise levels are "
                    "which steps. It is not changed.",
                ),
                io.Conditioning.Input("stand_in", tooltip="A prompt of the same kind that the model knows."),
                io.Conditioning.Input("real", tooltip="The prompt that you mean."),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="The sampler's number of steps."),
                io.Combo.Input(
                    "scheduler",
                    options=list(SCHEDULERS),
                    default="normal",
                    tooltip="The sampler's scheduler.",
                ),
                io.Int.Input(
                    "switch_step",
                    default=4,
                    min=0,
                    max=10000,
                    tooltip="From this step on only the real prompt, counted from 0. Published for 50 steps, "
                    "by how visual the difference is: 5, 10, 20, 30 or 40. 0 = the real prompt alone.",
                ),
                io.Int.Input(
                    "every",
                    optional=True,
                    default=2,
                    min=2,
                    max=100,
                    advanced=True,
                    tooltip="Before that, every so many steps use the stand-in. Published: 2.",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="The noise levels of the run, where they are known (custom sampling): instead of "
                    "steps and scheduler.",
                ),
            ],
            outputs=[conditioning_output()],
        )

    @classmethod
    def execute(
        cls, model, stand_in, real, steps=20, scheduler="normal", switch_step=4, every=2, sigmas=None
    ) -> io.NodeOutput:
        levels = levels_of(given("MODEL", model), steps, written(scheduler), sigmas)
        made, line = alternate(
            given("CONDITIONING", stand_in), given("CONDITIONING", real), levels, switch_step, every
        )
        status_reporter(cls)(line)
        return io.NodeOutput(made)


NODES = [GSNFlippedNegative, GSNAlternatePrompts]
