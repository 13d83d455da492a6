"""Seeing why: the report of a run, and the attention maps behind it."""

import json

from comfy_api.latest import io, ui

from ..gsn_ops.report.run_report import SCHEMA
from ..gsn_ops.report.text import report_text
from ..gsn_ops.report.views import NO_MAPS, attention_maps, cards, find_run, no_mask, note, stack
from .inputs import Report, status_reporter

WHEN = ("after", "before")
LATENT_HELP = "The sampler's output, directly from the sampler: the report is found by it."
REPORT_HELP = "From the node that patched the model, or from KSampler (Latent Refine at Step). Not connected: nursing is off."


def preview(node, images, text):
    """The pictures on the node, and the text for those who read the history."""
    return {**ui.PreviewImage(images, cls=node).as_dict(), "text": (text,)}


class GSNReport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GSNReport",
            display_name="Nursing Report",
            category="GSN/inspect",
            description="Shows what the refinement did to the run that made this latent: the loss over the shifts, each "
            "subject's attention before and after, and the predicted picture before and after.",
            search_aliases=["gsn", "report", "loss", "curve"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Latent.Input("latent", tooltip=LATENT_HELP),
                Report.Input("report", optional=True, tooltip=REPORT_HELP),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes the predicted pictures. Not connected: small preview colours.",
                ),
                io.String.Input(
                    "label", optional=True, default="", tooltip="A title, to tell several reports apart."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="One page per image of the batch."),
                io.String.Output("text", tooltip="The report in words."),
                io.String.Output("json", tooltip="The report as data, for scripts."),
            ],
        )

    @classmethod
    def execute(cls, latent, report=None, vae=None, label=""):
        run, remark = find_run(report, latent["samples"])
        if run is None:
            images, text, data = (
                note(label or "Nursing Report", remark),
                remark,
                json.dumps({"schema": SCHEMA, "status": remark}),
            )
        else:
            images, text, data = cards(run, vae, label), report_text(run), run.to_json()
        if label:
            text = f"{label}\n{text}"
        status_reporter(cls)(remark or run.status())
        return io.NodeOutput(images, text, data, ui=preview(cls, images, text))


class GSNAttentionMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GSNAttentionMaps",
            display_name="Attention Maps",
            category="GSN/inspect",
            description="Shows where the model looked for each subject at the refined step: heat maps over the picture, and "
            "the same as masks for inpainting and detailers.",
            search_aliases=["gsn", "heat map", "attention", "daam", "mask"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Latent.Input("latent", tooltip=LATENT_HELP),
                Report.Input("report", optional=True, tooltip=REPORT_HELP),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The decoded picture to draw on. Not connected: the picture predicted at that step.",
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
                    tooltip="The maps after or before the shifts.",
                ),
                io.Float.Input(
                    "opacity",
                    optional=True,
                    default=0.75,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How strongly the map covers the picture.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="One picture per subject, image after image."),
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="One mask per subject in the same order, 0 to 1, as large as the picture.",
                ),
            ],
        )

    @classmethod
    def execute(cls, latent, report=None, image=None, subject="", when=WHEN[0], opacity=0.75):
        if when not in WHEN:
            raise ValueError(f"when is '{when}': choose one of {', '.join(WHEN)}.")
        run, remark = find_run(report, latent["samples"])
        maps = None if run is None else attention_maps(run, image, subject, when == "after")
        if maps is None:
            remark = remark or NO_MAPS
            images = note("Attention Maps", remark) if image is None else image
            status_reporter(cls)(remark)
            return io.NodeOutput(
                images, no_mask(images), ui=preview(cls, note("Attention Maps", remark), remark)
            )
        heat = maps.heat(opacity)
        text = remark or ", ".join(maps.labels)
        status_reporter(cls)(text)
        images = stack([picture for row in heat for picture in row])
        return io.NodeOutput(images, maps.masks(), ui=preview(cls, maps.sheets(heat, when), text))


NODES = [GSNReport, GSNAttentionMaps]
