"""Where a subject goes in the image, for layout methods."""

from comfy_api.latest import io

from ..gsn_ops.host.prompts.conditioning import with_region
from ..gsn_ops.language import aliases
from ..gsn_ops.subjects.placement import region_of
from ..gsn_ops.subjects.syntax import parse_subjects
from .inputs import conditioning_output, given, optional_float, written


def share(name: str, default: float, tooltip: str) -> io.Input:
    """A number from 0 to 1: a part of the image's width or height."""
    return optional_float(name, default, (0.0, 1.0), tooltip, step=0.01)


def canvas_size(name: str, side: str) -> io.Input:
    """The image's width or height in pixels, which gives boxes in pixels their meaning."""
    return io.Int.Input(
        name,
        optional=True,
        default=512,
        min=1,
        max=16384,
        advanced=True,
        tooltip=f"Image {side} in pixels to which boxes refers.",
    )


class GSNRegion(io.ComfyNode):
    """A conditioning with a region for one of its subjects."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNRegion",
            display_name="Subject Region",
            category="GSN/advanced",
            description="Sets where a subject of the prompt goes, for the layout methods of Semantic "
            "Nursing and the layout objectives: by a mask, by boxes, or by x, y, width and height. Chain "
            "one node per subject.",
            search_aliases=["gsn", "layout", "box", "boxdiff", "bounding box", "area", *aliases("GSNRegion")],
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="The prompt's conditioning; must carry token data."
                ),
                io.String.Input(
                    "subject", optional=True, default="", tooltip="Words of the prompt: red car, dog#2."
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="The region as a mask of any size, instead of the box."
                ),
                share("x", 0.0, "Left edge of the box, as a share of the image width."),
                share("y", 0.0, "Top edge of the box, as a share of the image height."),
                share("width", 0.5, "Width of the box, as a share of the image width."),
                share("height", 1.0, "Height of the box, as a share of the image height."),
                io.BoundingBox.Input(
                    "boxes",
                    optional=True,
                    force_input=True,
                    socketless=False,
                    tooltip="Boxes in pixels, instead of x, y, width and height.",
                ),
                canvas_size("canvas_width", "width"),
                canvas_size("canvas_height", "height"),
            ],
            outputs=[conditioning_output()],
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
    ) -> io.NodeOutput:
        region = region_of(mask, (x, y, width, height), boxes, (canvas_width, canvas_height))
        return io.NodeOutput(
            with_region(given("CONDITIONING", conditioning), parse_subjects(written(subject)), region)
        )


NODES = [GSNRegion]
