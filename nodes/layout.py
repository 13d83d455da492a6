"""Layouts: the text that asks an LLM for one, reading its answer or drawn boxes, and a layout on a prompt."""

from comfy_api.latest import io, ui

from ..gsn_ops.host.prompts.layout_regions import size_of_gligen, split_in_time, with_gligen, with_layout
from ..gsn_ops.language import aliases
from ..gsn_ops.layout.layout import as_text, editor_boxes
from ..gsn_ops.layout.order import AUTO, CHOICES
from ..gsn_ops.layout.prompts import negative_prompt, object_prompts, overall_prompt
from ..gsn_ops.layout.request import request
from ..gsn_ops.layout.sources import chosen_layout
from ..gsn_ops.report.drawing.boxes import draw_layout
from ..gsn_ops.report.views import stack
from .inputs import conditioning_output, given, optional_float, status_reporter, written

Layout = io.Custom("GSN_LAYOUT")
BOXES_HELP = (
    "Boxes with descriptions instead: elements (or bboxes) of Create Bounding Boxes, boxes of a detector, or "
    "JSON."
)
TEXT_HELP = (
    "The LLM's answer, or a layout typed in its form: Objects: [('a cat', [50, 200, 150, 150])], then "
    "Background prompt: and Negative prompt: on lines of their own. JSON and one object per line are read "
    "too."
)


def canvas_inputs(about: str) -> list[io.Input]:
    """The size in pixels in which boxes are measured."""
    return [
        io.Int.Input(
            side,
            optional=True,
            default=512,
            min=16,
            max=16384,
            step=8,
            tooltip=f"Canvas {side} in pixels: {about}",
        )
        for side in ("width", "height")
    ]


def boxes_input() -> io.Input:
    return io.MultiType.Input(
        "boxes", [io.BoundingBox, io.Array, io.String], optional=True, tooltip=BOXES_HELP
    )


class GSNLayoutRequest(io.ComfyNode):
    """The text that asks an LLM where the objects of a prompt go."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNLayoutRequest",
            display_name="Layout Request",
            category="GSN/layout",
            description="Writes the text that asks an LLM for the layout of an image: task, rules, examples "
            "and your prompt. Connect it to the prompt of Generate Text, or of any other LLM node, and the "
            "answer to Layout.",
            search_aliases=[
                "gsn",
                "llm",
                "lmd",
                "boxes",
                "layout",
                "chatgpt",
                "qwen",
                *aliases("GSNLayoutRequest"),
            ],
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    tooltip="What the image shall show, in any language. The answer is in English.",
                ),
                *canvas_inputs("the LLM answers in them. Use the image's size, and the same in Layout."),
                Layout.Input(
                    "previous",
                    optional=True,
                    tooltip="The layout of the last round, for an instruction that changes it.",
                ),
                io.String.Input(
                    "instruction",
                    optional=True,
                    multiline=True,
                    default="",
                    placeholder="move the cat left, add a bird",
                    tooltip="What to change in the previous layout: move the cat left, add a bird. Empty: a "
                    "first layout.",
                ),
            ],
            outputs=[
                io.String.Output("request", tooltip="The text for the LLM.", display_name="request"),
            ],
        )

    @classmethod
    def execute(cls, prompt, width=512, height=512, previous=None, instruction="") -> io.NodeOutput:
        return io.NodeOutput(request(written(prompt), (width, height), previous, written(instruction)))


class GSNLayout(io.ComfyNode):
    """An LLM's answer, typed text or drawn boxes as a layout, with its prompts and a preview."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNLayout",
            display_name="Layout",
            category="GSN/layout",
            description="Reads a layout from an LLM's answer or from drawn boxes: which object goes where. "
            "Gives the boxes for Apply Layout and for ComfyUI's box editor, and the prompts that belong to "
            "them.",
            search_aliases=[
                "gsn",
                "lmd",
                "boxes",
                "bounding box",
                "layout",
                "parse",
                "ideogram",
                *aliases("GSNLayout"),
            ],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.String.Input("text", optional=True, multiline=True, default="", tooltip=TEXT_HELP),
                *canvas_inputs("pixels of the text, and of the boxes that come out."),
                io.Combo.Input(
                    "coordinates",
                    options=list(CHOICES),
                    optional=True,
                    default=AUTO,
                    advanced=True,
                    tooltip="What four numbers in brackets are. auto = as the form has it: x, y, width, "
                    "height in text, top, left, bottom, right from 0 to 1000 in elements.",
                ),
                io.String.Input(
                    "names",
                    optional=True,
                    default="",
                    advanced=True,
                    tooltip="Names of boxes that have no description, separated by commas, in their order.",
                ),
                boxes_input(),
            ],
            outputs=[
                Layout.Output("layout", tooltip="For Apply Layout, and as previous of Layout Request."),
                io.BoundingBox.Output("boxes", tooltip="The boxes for Create Bounding Boxes, to edit them."),
                io.String.Output("prompt", tooltip="A prompt of the whole image, for the text encoder."),
                io.String.Output("object_prompts", tooltip="A prompt per box, one on each line."),
                io.String.Output("background", tooltip="What is behind the objects."),
                io.String.Output("negative", tooltip="What must not appear, and the usual faults."),
                io.Image.Output("preview", tooltip="The boxes on the canvas."),
                io.String.Output("text", tooltip="The layout as text, as the LLM writes it."),
            ],
        )

    @classmethod
    def execute(cls, text="", width=512, height=512, coordinates=AUTO, names="", boxes=None) -> io.NodeOutput:
        layout = chosen_layout(written(text), boxes, (width, height), coordinates, written(names))
        named = [(placed.name, placed.box) for placed in layout.objects]
        image = stack([draw_layout(named, layout.canvas, layout.background)])
        count = f"{len(named)} box{'es' if len(named) > 1 else ''}"
        status_reporter(cls)("; ".join([count, *layout.notes]))
        return io.NodeOutput(
            layout,
            [editor_boxes(layout)],
            overall_prompt(layout),
            "\n".join(object_prompts(layout)),
            layout.background,
            negative_prompt(layout),
            image,
            as_text(layout),
            ui=ui.PreviewImage(image, cls=cls),
        )


class GSNApplyLayout(io.ComfyNode):
    """A conditioning on which every box of a layout is a region of its subject."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNApplyLayout",
            display_name="Apply Layout",
            category="GSN/layout",
            description="Puts every box of a layout on the prompt at once, for the layout methods of "
            "Semantic Nursing: BoxDiff, Layout Guidance, R&B, Bounded Attention, LMD energy, Point Layout. "
            "With a GLIGEN model the boxes also guide the first part of the run.",
            search_aliases=[
                "gsn",
                "layout",
                "boxdiff",
                "gligen",
                "regional prompt",
                "lmd",
                *aliases("GSNApplyLayout"),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="The prompt's conditioning; must carry token data."
                ),
                Layout.Input("layout", optional=True, tooltip="Which object goes where, from Layout."),
                boxes_input(),
                *canvas_inputs("the size in which boxes without a layout are measured."),
                io.Gligen.Input("gligen", optional=True, tooltip="A GLIGEN text box model, for SD1 models."),
                io.Clip.Input("clip", optional=True, tooltip="With gligen: encodes the descriptions."),
                optional_float(
                    "gligen_end",
                    0.4,
                    (0.0, 1.0),
                    "End of GLIGEN, as a share of the noise schedule. 0 = off.",
                    step=0.01,
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="With gligen: the negative prompt, so that GLIGEN ends in it too.",
                ),
            ],
            outputs=[
                conditioning_output(),
                io.Conditioning.Output("negative", tooltip="For the sampler's negative input."),
            ],
        )

    @classmethod
    def execute(
        cls,
        conditioning,
        layout=None,
        boxes=None,
        width=512,
        height=512,
        gligen=None,
        clip=None,
        gligen_end=0.4,
        negative=None,
    ) -> io.NodeOutput:
        if layout is None:
            layout = chosen_layout("", boxes, (width, height))
        positive, matched = with_layout(given("CONDITIONING", conditioning), layout)
        if gligen is not None and gligen_end > 0:
            positive = with_gligen(positive, layout, gligen, given_clip(clip), gligen_end)
            negative = None if negative is None else split_in_time(negative, gligen_end)
            matched += (size_of_gligen(layout),)
        status_reporter(cls)("; ".join(matched))
        return io.NodeOutput(positive, negative)


def given_clip(clip):
    """The text encoder for GLIGEN. Raises ValueError if there is none."""
    if clip is None:
        raise ValueError(
            "gligen is connected, but no clip: connect the CLIP that encodes the prompt, for the "
            "descriptions of the boxes."
        )
    return clip


NODES = [GSNLayoutRequest, GSNLayout, GSNApplyLayout]
