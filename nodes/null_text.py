"""Null-text inversion: a given picture comes back although the sampler is guided."""

from comfy_api.latest import io

from ..gsn_ops.host.editing.null_text import NullTextSettings, optimise_null_text
from ..gsn_ops.language import aliases
from .edit import Trajectory
from .inputs import given, optional_float, status_reporter


class GSNNullText(io.ComfyNode):
    """A negative conditioning with an embedding for each step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNNullText",
            display_name="Null-Text Inversion",
            category="GSN/edit",
            description="Makes a negative conditioning with which a guided sampler gives an inverted image "
            "back (Mokady et al., CVPR 2023). With it, the prompt can be edited at a usual CFG, by "
            "Prompt-to-Prompt for example. Costs up to 10 gradients per step.",
            search_aliases=["gsn", "null text", "null-text", "inversion", *aliases("GSNNullText")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Model.Input("model", tooltip="The model that will sample. It must compute in float32."),
                io.Conditioning.Input("positive", tooltip="The prompt with which the image was inverted."),
                io.Conditioning.Input("negative", tooltip="Where the embeddings begin: an empty text."),
                Trajectory.Input("trajectory", tooltip="From Invert Image."),
                optional_float(
                    "cfg",
                    7.5,
                    (0.0, 100.0),
                    "The CFG of your sampler. Published: 7.5.",
                    step=0.1,
                    precision=0.01,
                ),
                io.Int.Input(
                    "iterations",
                    optional=True,
                    default=10,
                    min=0,
                    max=1000,
                    tooltip="Most updates per step; a step that is exact enough ends earlier. Published: 10.",
                ),
                optional_float(
                    "learning_rate",
                    0.01,
                    (0.0, 1.0),
                    "Size of an update at the first step. Raise it if the image comes back poorly. "
                    "Published: 0.01.",
                    step=0.001,
                    precision=0.0001,
                    advanced=True,
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="negative",
                    tooltip="For a sampler's negative input: euler, the same steps and scheduler, this CFG.",
                ),
                io.String.Output("text", tooltip="How exactly the image comes back, with and without it."),
            ],
        )

    @classmethod
    def execute(
        cls, model, positive, negative, trajectory, cfg=7.5, iterations=10, learning_rate=0.01
    ) -> io.NodeOutput:
        prompts = given("CONDITIONING", positive), given("CONDITIONING", negative)
        way = given("GSN_TRAJECTORY", trajectory)
        settings = NullTextSettings(cfg, iterations, learning_rate)
        made = optimise_null_text(given("MODEL", model), *prompts, way, settings)
        status_reporter(cls)(made.text)
        return io.NodeOutput(made.conditioning, made.text)


NODES = [GSNNullText]
