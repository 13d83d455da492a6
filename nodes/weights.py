"""Weights of single words, on every model: inside attention, not in the text."""

from comfy_api.latest import io

from ..gsn_ops.host.sampling.modulation import attach_edits
from ..gsn_ops.language import aliases
from ..gsn_ops.modulate.edits import WordWeights
from ..gsn_ops.subjects.weights import parse_weights
from .inputs import (
    given,
    model_input,
    model_output,
    optional_float,
    report_output,
    status_reporter,
    written,
)

BLOCKS_HELP = "Which text-to-image layers, counted from 0, such as 5-12. auto = all of them."
TEXT_ROWS_HELP = (
    "Change the text's own attention too, in models where text and image attend together. Off: only what the "
    "image takes from the words."
)


def window_inputs() -> list[io.Input]:
    """The part of the run in which the weights act."""
    return [
        optional_float(
            "start_percent", 0.0, (0.0, 1.0), "Start of the window, as a share of the noise schedule."
        ),
        optional_float(
            "end_percent",
            1.0,
            (0.0, 1.0),
            "End of the window, as a share of the noise schedule. 0.4 changes the composition and leaves the "
            "details alone.",
        ),
    ]


class GSNWordWeight(io.ComfyNode):
    """A MODEL patch: more or less attention for single words of the prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNWordWeight",
            display_name="Word Weight",
            category="GSN",
            description="Gives single words of the prompt more or less attention, on every supported model, "
            "also where (word:1.3) in the prompt does nothing. No gradients, no extra passes.",
            search_aliases=[
                "gsn",
                "prompt weight",
                "emphasis",
                "attention",
                "negpip",
                "(word:1.3)",
                *aliases("GSNWordWeight"),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                model_input(),
                io.String.Input(
                    "weights",
                    optional=True,
                    multiline=True,
                    default="",
                    placeholder="red car: 1.5, bench: 0.7",
                    tooltip="Words of the prompt and their weights: red car: 1.5, bench: 0.7, glasses: -1. "
                    "1 = unchanged, 0 = taken out, below 0 = subtracted; -2 to 3. dog#2 is the second dog. "
                    "Empty: a plain run, bit for bit.",
                ),
                *window_inputs(),
                optional_float(
                    "strength",
                    2.0,
                    (0.0, 10.0),
                    "How much a weight above 0 changes: at 2, weight 1.5 multiplies the word's attention by "
                    "2.7 and 0.5 by 0.25. 1 is gentler, 0 leaves these words alone.",
                    step=0.05,
                ),
                io.String.Input("blocks", optional=True, default="auto", advanced=True, tooltip=BLOCKS_HELP),
                io.Boolean.Input(
                    "text_rows", optional=True, default=False, advanced=True, tooltip=TEXT_ROWS_HELP
                ),
            ],
            outputs=[model_output(), report_output()],
        )

    @classmethod
    def execute(
        cls,
        model,
        weights="",
        start_percent=0.0,
        end_percent=1.0,
        strength=2.0,
        blocks="auto",
        text_rows=False,
    ) -> io.NodeOutput:
        edit = WordWeights(
            weights=parse_weights(written(weights)),
            kappa=strength,
            start=start_percent,
            end=end_percent,
            blocks=written(blocks).strip() or "auto",
            text_rows=text_rows,
        )
        return io.NodeOutput(
            *attach_edits(given("MODEL", model), edit.check(), on_status=status_reporter(cls))
        )


NODES = [GSNWordWeight]
