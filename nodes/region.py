"""Where a subject shall be, for layout methods."""

from comfy_api.latest import io

from ..gsn_ops.host.prompts.conditioning import with_region
from ..gsn_ops.subjects.placement import region_of
from ..gsn_ops.subjects.syntax import parse_subjects


class GSNRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def share(name: str, default: float, words: str) -> io.Input:
            return io.Float.Input(
                name, optional=True, default=default, min=0.0, max=1.0, step=0.01, round=0.0001, tooltip=words
            )

        return io.Schema(
            node_id="GSNRegion",
            display_name="Subject Region",
            category="GSN/advanced",
            description="Says where a subject of the prompt shall be, for the layout methods of Semantic Nursing and the layout "
            "objectives: by a mask, by boxes, or by x, y, width and height. Chain one node per subject.",
            search_aliases=["gsn", "layout", "box", "boxdiff", "bounding box", "area"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="The prompt's conditioning; must remember its words."
                ),
                io.String.Input(
                    "subject", optional=True, default="", tooltip="Words of the prompt: red car, dog#2."
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="The region as a mask of any size, instead of the box."
                ),
                share("x", 0.0, "Left edge of the box, as a share of the picture's width."),
                share("y", 0.0, "Top edge of the box, as a share of the picture's height."),
                share("width", 0.5, "Width of the box."),
                share("height", 1.0, "Height of the box."),
                io.BoundingBox.Input(
                    "boxes",
                    optional=True,
                    force_input=True,
                    socketless=False,
                    tooltip="Boxes in pixels, instead of x, y, width and height.",
                ),
                io.Int.Input(
                    "canvas_width",
                    optional=True,
                    default=512,
                    min=1,
                    max=16384,
                    advanced=True,
                    tooltip="The picture's width that boxes are measured in.",
                ),
                io.Int.Input(
                    "canvas_height",
                    optional=True,
                    default=512,
                    min=1,
                    max=16384,
                    advanced=True,
                    tooltip="The picture's height that boxes are measured in.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="CONDITIONING", tooltip="For the sampler's positive input."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        conditioning,
        subject="",
        mask=None,
        x=0.0,
        y=0.0,
        width=0.5,
        height=1.0,
        boxes=None,
        canvas_width=512,
        canvas_height=512,
    ):
        region = region_of(mask, (x, y, width, height), boxes, (canvas_width, canvas_height))
        return io.NodeOutput(with_region(conditioning, parse_subjects(subject), region))


NODES = [GSNRegion]
