"""What a run did: its report, and the attention maps behind it."""

import json

from comfy_api.latest import io, ui

from ..gsn_ops.host.language import language, spoken
from ..gsn_ops.language import aliases
from ..gsn_ops.report.run_report import SCHEMA
from ..gsn_ops.report.text import run_text
from ..gsn_ops.report.views import NO_MAPS, attention_maps, cards, find_run, map_sheets, no_mask, note, stack
from ..gsn_ops.subjects.labels import labels_named
from .inputs import Report, given, optional_float, written

WHEN = ("after", "before")
REPORT_HELP = (
    "From the node that patched the model, or from KSampler (Latent Refine at Step). "
    "Not connected: the node says so."
)


def preview(node: type[io.ComfyNode], images, text: str) -> dict:
    """UI output: images to show on the node, and the text for clients that read the history."""
    return {**ui.PreviewImage(images, cls=node).as_dict(), "text": (text,)}


def run_inputs() -> list[io.Input]:
    """The latent that identifies a run, and the report that holds it."""
    return [
        io.Latent.Input(
            "latent",
            tooltip="The sampler's output, connected directly to the sampler: it identifies the run.",
        ),
        Report.Input("report", optional=True, tooltip=REPORT_HELP),
    ]


class GSNReport(io.ComfyNode):
    """The report of the run that made a latent, as image, text and JSON."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNReport",
            display_name="Nursing Report",
            category="GSN/inspect",
            description="Shows what nursing did in the run that made this latent: the loss over the update "
            "steps, each subject's attention before and after, and the predicted image before and after.",
            search_aliases=["gsn", "report", "loss", "curve", *aliases("GSNReport")],
            is_output_node=True,
            inputs=[
                *run_inputs(),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes the predicted images. Not connected: small previews in approximate "
                    "colours.",
                ),
                io.String.Input(
                    "label", optional=True, default="", tooltip="A title, to tell several reports apart."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="One page per method and image of the batch."),
                io.String.Output("text", tooltip="The report as text."),
                io.String.Output("json", tooltip="The report as data, for scripts."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_inputs) -> str:
        """Another language is another picture and text."""
        return language()

    @classmethod
    def execute(cls, latent, report=None, vae=None, label="") -> io.NodeOutput:
        label = written(label)
        run, remark = find_run(report, given("LATENT", latent)["samples"])
        if run is None:
            images, text = note(label or "Nursing Report", remark), spoken(remark)
            data = json.dumps({"schema": SCHEMA, "status": remark})
        else:
            images, text = cards(run, vae, label), spoken(run_text(run))
            data = run.to_json()
        if label:
            text = f"{label}\n{text}"
        return io.NodeOutput(images, text, data, ui=preview(cls, images, text))


def drawing_inputs() -> list[io.Input]:
    """What is drawn, and on which image."""
    return [
        io.Image.Input(
            "image",
            optional=True,
            tooltip="The decoded image to draw on. Not connected: the predicted image at that step.",
        ),
        io.String.Input(
            "subject",
            optional=True,
            default="",
            tooltip="Which subject, by its name in the report; several with commas. Empty: all of them.",
        ),
        io.Combo.Input(
            "when",
            options=list(WHEN),
            optional=True,
            default=WHEN[0],
            tooltip="Which maps the outputs have: after or before the update steps, with or without the "
            "change where a run has none. The node itself shows both.",
        ),
        optional_float(
            "opacity",
            0.75,
            (0.0, 1.0),
            "How strongly the map covers the image.",
            step=0.01,
            precision=None,
        ),
    ]


class GSNAttentionMaps(io.ComfyNode):
    """The subjects' attention maps of a run, as heat maps and as masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNAttentionMaps",
            display_name="Attention Maps",
            category="GSN/inspect",
            description="Shows the attention map of each subject at the refined step: heat maps over the "
            "image, and the same maps as masks for inpainting and detailers.",
            search_aliases=["gsn", "heat map", "attention", "daam", "mask", *aliases("GSNAttentionMaps")],
            is_output_node=True,
            inputs=[*run_inputs(), *drawing_inputs()],
            outputs=[
                io.Image.Output(
                    display_name="IMAGE", tooltip="One heat map per subject, for each image in turn."
                ),
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="One mask per subject in the same order, 0 to 1, as large as the image.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_inputs) -> str:
        """Another language is another picture and text."""
        return language()

    @classmethod
    def execute(
        cls, latent, report=None, image=None, subject="", when=WHEN[0], opacity=0.75
    ) -> io.NodeOutput:
        if when not in WHEN:
            raise ValueError(f"when is '{when}': choose one of {', '.join(WHEN)}.")
        run, remark = find_run(report, given("LATENT", latent)["samples"])
        before = after = None
        if run is not None:
            labels = list(dict.fromkeys(label for recipe in run.recipes for label in recipe.subjects))
            wanted = labels_named(written(subject), labels) if labels else []
            before, after = (attention_maps(run, image, wanted, later) for later in (False, True))
        maps = after if when == "after" else before
        if maps is None:
            idle = run.status() if run is not None and not run.acted else NO_MAPS
            return cls.without_maps(image, remark or idle)
        heat = maps.heat(opacity)
        text = remark or ", ".join(maps.labels)
        images = stack([sheet for row in heat for sheet in row])
        sheets = map_sheets(before, after, opacity)
        return io.NodeOutput(images, maps.masks(), ui=preview(cls, sheets, text))

    @classmethod
    def without_maps(cls, image, reason: str) -> io.NodeOutput:
        """The outputs when there are no maps: the image as it is, empty masks, the reason as a picture."""
        explained = note("Attention Maps", reason)
        images = explained if image is None else image
        return io.NodeOutput(images, no_mask(images), ui=preview(cls, explained, spoken(reason)))


NODES = [GSNReport, GSNAttentionMaps]
