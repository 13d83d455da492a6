"""Null-text inversion: a given picture comes back although the sampler is guided; its result as a file."""

from comfy_api.latest import io

from ..gsn_ops.host.editing.null_text import NullTextSettings, optimise_null_text
from ..gsn_ops.host.editing.null_text_file import (
    LOADED,
    NO_LATENT,
    SAVED,
    load_null_text,
    modified,
    null_text_files,
    save_null_text,
)
from ..gsn_ops.host.node_status import Absent
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


class GSNSaveNullText(io.ComfyNode):
    """The embeddings as a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNSaveNullText",
            display_name="Save Null-Text",
            category="GSN/edit",
            description="Saves what Null-Text Inversion has made as a safetensors file in output/gsn, so "
            "that further edits of the picture need no new optimisation.",
            search_aliases=["gsn", "null text", "save conditioning", *aliases("GSNSaveNullText")],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Conditioning.Input("negative", tooltip="From Null-Text Inversion."),
                io.String.Input(
                    "filename_prefix",
                    default="null_text",
                    tooltip="Begins the file's name; a number follows. %date% and the like as in Save Image.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="The LATENT of Invert Image: with it, the file is all that an edit needs.",
                ),
            ],
            outputs=[io.String.Output("file", tooltip="The file's name, as Load Null-Text lists it.")],
        )

    @classmethod
    def execute(cls, negative, filename_prefix="null_text", latent=None) -> io.NodeOutput:
        name, n = save_null_text(given("CONDITIONING", negative), latent, filename_prefix)
        status_reporter(cls)(SAVED.format(n=n, name=name))
        return io.NodeOutput(name)


class GSNLoadNullText(io.ComfyNode):
    """The embeddings of a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNLoadNullText",
            display_name="Load Null-Text",
            category="GSN/edit",
            description="Loads a file of Save Null-Text, from output/gsn or models/gsn: the negative "
            "conditioning with which a guided sampler gives the picture back.",
            search_aliases=["gsn", "null text", "load conditioning", *aliases("GSNLoadNullText")],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=null_text_files(),
                    tooltip="A file of output/gsn or models/gsn. Reload the page (R) to see new ones.",
                )
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="negative",
                    tooltip="For a sampler's negative input, with the settings of its inversion.",
                ),
                io.Latent.Output(
                    display_name="LATENT", tooltip="The inverted picture's noise, if it was saved with it."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file) -> float:
        return modified(file)

    @classmethod
    def execute(cls, file) -> io.NodeOutput:
        conditioning, latent = load_null_text(file)
        status_reporter(cls)(LOADED.format(n=len(conditioning)))
        return io.NodeOutput(conditioning, Absent(NO_LATENT) if latent is None else latent)


NODES = [GSNNullText, GSNSaveNullText, GSNLoadNullText]
