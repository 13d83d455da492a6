"""Guidance at every step of a window, with open settings: SynGen, Attend-and-Excite and similar methods."""

from dataclasses import replace

from comfy_api.latest import io

from ..gsn_ops.host.sampling.patch import attach
from ..gsn_ops.language import aliases
from ..gsn_ops.optimise.guidance import Guide, StepSize
from ..gsn_ops.optimise.overrides import check, parse_checkpoints, with_levels
from .inputs import (
    DEFAULT_LEVEL,
    Objective,
    given,
    levels_input,
    model_input,
    model_output,
    optional_float,
    report_kind,
    report_level_input,
    report_output,
    status_reporter,
    written,
)

SCALES = {"square root": "sqrt", "linear": "linear", "constant": "constant", "cosine": "cosine"}


def window_inputs() -> list[io.Input]:
    """How large the gradient steps are, and at which sampling steps they are made."""
    return [
        optional_float(
            "scale_factor",
            20.0,
            (0.0, 1000.0),
            "Size of a gradient step. 20 is the published value for SD1; the demo model needs 2 to 5. "
            "0 = off: a plain run, bit for bit.",
            step=0.1,
            precision=0.001,
        ),
        optional_float(
            "start_percent", 0.0, (0.0, 1.0), "Start of the window, as a share of the noise schedule."
        ),
        optional_float(
            "end_percent",
            0.5,
            (0.0, 1.0),
            "End of the window, as a share of the noise schedule. Beyond 0.5 images lose detail.",
        ),
    ]


def refinement_inputs() -> list[io.Input]:
    """Repeated updates at single steps until every subject reaches a threshold."""
    return [
        io.String.Input(
            "thresholds",
            optional=True,
            default="",
            tooltip="Repeated updates at single steps until the weakest subject reaches an attention, as "
            "step:attention, for example 0:0.05, 0.218:0.5, 0.418:0.8 (Attend-and-Excite). Steps are shares "
            "of the noise schedule. Empty = none.",
        ),
        io.Int.Input(
            "max_refine",
            optional=True,
            default=20,
            min=0,
            max=1000,
            tooltip="Maximum number of updates at each of the thresholds.",
        ),
    ]


def scale_inputs() -> list[io.Input]:
    """How the step size changes over the run."""
    bounds = (0.0, 10.0)
    first = "Argument of the scale function at the first step."
    last = "Argument of the scale function at the last step."
    return [
        optional_float("scale_start", 1.0, bounds, first, step=0.01, precision=0.001, advanced=True),
        optional_float("scale_end", 0.5, bounds, last, step=0.01, precision=0.001, advanced=True),
        io.Combo.Input(
            "scale_function",
            options=list(SCALES),
            optional=True,
            default="square root",
            advanced=True,
            tooltip="How the step size changes over the run.",
        ),
    ]


class GSNGuidanceModel(io.ComfyNode):
    """A MODEL patch with one `Guide` recipe whose settings are widgets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNGuidanceModel",
            display_name="Attention Guidance (per step)",
            category="GSN/advanced",
            description="Patches a model so that any sampler updates the latent at every step of a window, "
            "down the gradient of a loss on the attention maps: Attend-and-Excite, SynGen, Divide & Bind "
            "and similar methods with your own settings. For the published settings use Semantic Nursing.",
            search_aliases=[
                "gsn",
                "attend and excite",
                "syngen",
                "attention guidance",
                "divide and bind",
                *aliases("GSNGuidanceModel"),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                model_input(),
                Objective.Input(
                    "objective",
                    optional=True,
                    tooltip="The loss to minimise. Not connected: all subjects present (Attend-and-Excite).",
                ),
                *window_inputs(),
                *refinement_inputs(),
                *scale_inputs(),
                levels_input(advanced=True),
                report_level_input(),
            ],
            outputs=[model_output(), report_output()],
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
    ) -> io.NodeOutput:
        if scale_function not in SCALES:
            raise ValueError(f"scale_function is '{scale_function}': choose one of {', '.join(SCALES)}.")
        recipe = Guide(
            start_percent=start_percent,
            end_percent=end_percent,
            checkpoints=parse_checkpoints(written(thresholds)),
            max_rounds=max_refine,
            step_size=StepSize(scale_factor, scale_start, scale_end, SCALES[scale_function]),
            report=report_kind(report_level),
        )
        recipe = check(
            with_levels(replace(recipe, objective=objective or recipe.objective), written(levels, "auto"))
        )
        return io.NodeOutput(*attach(given("MODEL", model), recipe, on_status=status_reporter(cls)))


NODES = [GSNGuidanceModel]
