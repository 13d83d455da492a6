"""One node for every objective; a chain of them is their weighted sum."""

from comfy_api.latest import io

from ..gsn_ops.host.extensions import collect
from ..gsn_ops.objectives.base import REGISTRY
from ..gsn_ops.objectives.from_text import at_levels, build, option_names, weighed
from ..gsn_ops.optimise.overrides import pairs, parse_levels
from .inputs import Objective


class GSNObjective(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        collect()
        return io.Schema(
            node_id="GSNObjective",
            display_name="GSN Objective",
            category="GSN/advanced",
            description="What the shifts of Latent Refine at Step or Attention Guidance aim at: a loss on the attention maps, "
            "by its id in the literature. Chain several through add_to: their weighted sum.",
            search_aliases=["gsn", "loss", "syngen", "attend and excite", "divide and bind", "objective"],
            inputs=[
                io.Combo.Input(
                    "objective",
                    options=sorted(REGISTRY.keys() - {"weighted_sum"}),
                    optional=True,
                    default="cn_iou",
                    tooltip="The loss. The help page of this node says what each does.",
                ),
                io.Float.Input(
                    "weight",
                    optional=True,
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.01,
                    round=0.0001,
                    tooltip="Its share in the sum with add_to.",
                ),
                io.String.Input(
                    "levels",
                    optional=True,
                    default="auto",
                    tooltip="Which attention maps it looks at, by their size: 2 = half the latent's height, 2,4 = both. "
                    "auto = what suits the model.",
                ),
                io.String.Input(
                    "options",
                    optional=True,
                    default="",
                    multiline=True,
                    tooltip="Other options than published, for example: variant=group_mean, kernel_size=5. "
                    "A key that the objective does not have is refused with the list of those it has.",
                ),
                Objective.Input(
                    "add_to", optional=True, tooltip="Another objective that this one is added to."
                ),
            ],
            outputs=[
                Objective.Output(
                    display_name="objective", tooltip="For Latent Refine at Step and Attention Guidance."
                )
            ],
        )

    @classmethod
    def execute(cls, objective="cn_iou", weight=1.0, levels="auto", options="", add_to=None):
        known = list(option_names(objective))
        built = build(objective, pairs(options, "options", known, f"{known[0]}=..."))
        wanted = parse_levels(levels)
        return io.NodeOutput(weighed(built if wanted is None else at_levels(built, wanted), weight, add_to))


NODES = [GSNObjective]
