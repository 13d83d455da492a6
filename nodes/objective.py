"""One node for every objective. A chain of them is their weighted sum."""

from comfy_api.latest import io

from ..gsn_ops.host.extensions import collect
from ..gsn_ops.language import aliases
from ..gsn_ops.objectives.base import user_choices
from ..gsn_ops.objectives.from_text import at_levels, build, option_names, weighed
from ..gsn_ops.optimise.overrides import pairs, parse_levels
from .inputs import Objective, levels_input, optional_float, written

ALIASES = ["gsn", "loss", "syngen", "attend and excite", "divide and bind", "objective"]


def loss_inputs() -> list[io.Input]:
    """Which loss, and its share of a sum."""
    return [
        io.Combo.Input(
            "objective",
            options=user_choices(),
            optional=True,
            default="cn_iou",
            tooltip="The loss. This node's help page says what each one does.",
        ),
        optional_float(
            "weight", 1.0, (-100.0, 100.0), "Weight of this loss in the sum with add_to.", step=0.01
        ),
    ]


class GSNObjective(io.ComfyNode):
    """A registered objective with its options as text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        collect()
        return io.Schema(
            node_id="GSNObjective",
            display_name="GSN Objective",
            category="GSN/advanced",
            description="The loss that Latent Refine at Step or Attention Guidance minimises: a function of "
            "the attention maps, chosen by its id. Chain several through add_to for their weighted sum.",
            search_aliases=[*ALIASES, *aliases("GSNObjective")],
            inputs=[
                *loss_inputs(),
                levels_input(),
                io.String.Input(
                    "options",
                    optional=True,
                    default="",
                    multiline=True,
                    tooltip="Options other than the published ones, for example: variant=group_mean, "
                    "kernel_size=5. An unknown key is refused with the list of the objective's keys.",
                ),
                Objective.Input(
                    "add_to", optional=True, tooltip="Another objective, to which this one is added."
                ),
            ],
            outputs=[
                Objective.Output(
                    display_name="objective", tooltip="For Latent Refine at Step and Attention Guidance."
                )
            ],
        )

    @classmethod
    def execute(cls, objective="cn_iou", weight=1.0, levels="auto", options="", add_to=None) -> io.NodeOutput:
        known = list(option_names(objective))
        built = build(objective, pairs(written(options), "options", known, f"{known[0]}=..."))
        wanted = parse_levels(written(levels, "auto"))
        if wanted is not None:
            built = at_levels(built, wanted)
        return io.NodeOutput(weighed(built, weight, add_to))


NODES = [GSNObjective]
