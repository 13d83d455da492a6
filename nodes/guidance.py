"""Per-step guidance with one's own numbers: SynGen, Attend-and-Excite and all methods of their kind."""

from dataclasses import replace

from comfy_api.latest import io

from ..gsn_ops.host.sampling.patch import attach
from ..gsn_ops.optimise.guidance import Guide, StepSize
from ..gsn_ops.optimise.overrides import check, parse_checkpoints, with_levels
from .inputs import DEFAULT_LEVEL, Objective, report_kind, report_level_input, report_output, status_reporter

SCALES = {"square root": "sqrt", "linear": "linear", "constant": "constant", "cosine": "cosine"}


class GSNGuidanceModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GSNGuidanceModel",
            display_name="Attention Guidance (per step)",
            category="GSN/advanced",
            description="Patches a model so that any sampler shifts the latent a little at every step of a window, down the "
            "gradient of an objective on the attention maps (Attend-and-Excite, SynGen, Divide & Bind ... with your own "
            "numbers). For the published numbers use Semantic Nursing.",
            search_aliases=["gsn", "attend and excite", "syngen", "attention guidance", "divide and bind"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to be patched (a copy; the original stays as it is)."
                ),
                Objective.Input(
                    "objective",
                    optional=True,
                    tooltip="What the shifts aim at. Not connected: every subject present (Attend-and-Excite).",
                ),
                io.Float.Input(
                    "scale_factor",
                    optional=True,
                    default=20.0,
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    round=0.001,
                    tooltip="Size of a gradient step. 20 is the published value for SD1; the embedded demo model wants 2 to 5. "
                    "0 = off: a plain run, bit for bit.",
                ),
                io.Float.Input(
                    "start_percent",
                    optional=True,
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    round=0.0001,
                    tooltip="Where the window starts, as a share of the noise schedule.",
                ),
                io.Float.Input(
                    "end_percent",
                    optional=True,
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    round=0.0001,
                    tooltip="Where the window ends. Later than 0.5 makes pictures flat.",
                ),
                io.String.Input(
                    "thresholds",
                    optional=True,
                    default="",
                    tooltip="Refinement at single moments until the weakest subject reaches an attention, for example "
                    "0:0.05, 0.218:0.5, 0.418:0.8 (Attend-and-Excite). Moments are shares of the noise schedule. Empty = none.",
                ),
                io.Int.Input(
                    "max_refine",
                    optional=True,
                    default=20,
                    min=0,
                    max=1000,
                    tooltip="At most so many updates at each of the thresholds.",
                ),
                io.Float.Input(
                    "scale_start",
                    optional=True,
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=0.001,
                    advanced=True,
                    tooltip="The scale function's argument at the first step.",
                ),
                io.Float.Input(
                    "scale_end",
                    optional=True,
                    default=0.5,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=0.001,
                    advanced=True,
                    tooltip="The scale function's argument at the last step.",
                ),
                io.Combo.Input(
                    "scale_function",
                    options=list(SCALES),
                    optional=True,
                    default="square root",
                    advanced=True,
                    tooltip="How the step size changes over the run.",
                ),
                io.String.Input(
                    "levels",
                    optional=True,
                    default="auto",
                    advanced=True,
                    tooltip="Which attention maps are looked at: 2 = half the latent's height, 2,4 = both. auto = what suits the model.",
                ),
                report_level_input(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="For the sampler."), report_output()],
        )

    @classmethod
    def execute(
        cls,
        model,
        objective=None,
        scale_factor=20.0,
        start_percent=0.0,
        end_percent=0.5,
        thresholds="",
        max_refine=20,
        scale_start=1.0,
        scale_end=0.5,
        scale_function="square root",
        levels="auto",
        report_level=DEFAULT_LEVEL,
    ):
        if scale_function not in SCALES:
            raise ValueError(f"scale_function is '{scale_function}': choose one of {', '.join(SCALES)}.")
        recipe = Guide(
            start_percent=start_percent,
            end_percent=end_percent,
            checkpoints=parse_checkpoints(thresholds),
            max_rounds=max_refine,
            step_size=StepSize(scale_factor, scale_start, scale_end, SCALES[scale_function]),
            report=report_kind(report_level),
        )
        recipe = check(with_levels(replace(recipe, objective=objective or recipe.objective), levels))
        return io.NodeOutput(*attach(model, recipe, on_status=status_reporter(cls)))


NODES = [GSNGuidanceModel]
