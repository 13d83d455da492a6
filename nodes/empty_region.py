"""Where an image has room for what it lacks."""

from comfy_api.latest import io

from ..gsn_ops.language import aliases
from ..gsn_ops.layout.empty_region import empty_regions
from .inputs import given, optional_float, status_reporter


class GSNEmptyRegion(io.ComfyNode):
    """A mask for inpainting what the judge has missed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNEmptyRegion",
            display_name="Empty Region",
            category="GSN/edit",
            description="Finds the emptiest square of an image in which a subject is missing, from the masks "
            "of Subject Judge: for Set Latent Noise Mask, to paint what is missing there. An image that "
            "lacks nothing gets an empty mask and stays as it is.",
            search_aliases=["gsn", "inpaint", "free space", "missing object", *aliases("GSNEmptyRegion")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Mask.Input("masks", tooltip="MASK of Subject Judge: one per subject, for each image."),
                io.Image.Input("images", tooltip="The images that were judged."),
                optional_float(
                    "size",
                    0.5,
                    (0.05, 1.0),
                    "Most of the square's side, as a share of the image's shorter side. Less where there is "
                    "less room.",
                    step=0.05,
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="MASK", tooltip="Where to paint: a square per image, or nothing."
                ),
                io.String.Output("text", tooltip="In how many images something is missing."),
            ],
        )

    @classmethod
    def execute(cls, masks, images, size=0.5) -> io.NodeOutput:
        pictures = given("IMAGE", images)
        found, lacking = empty_regions(given("MASK", masks).float().cpu(), len(pictures), size)
        text = f"something is missing in {sum(lacking)} of {len(lacking)} images"
        status_reporter(cls)(text)
        return io.NodeOutput(found, text)


NODES = [GSNEmptyRegion]
