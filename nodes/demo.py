"""The demo models that come with the pack, for first steps without a download."""

from comfy_api.latest import io

from ..gsn_ops.host.demo import sd, sd3, turbo
from ..gsn_ops.language import aliases

MODELS = {
    "SD layout (UNet)": sd.load_demo_model,
    "SD3 layout (MM-DiT)": sd3.load_demo_sd3,
    "SD3 layout, turbo (4 or 8 steps, CFG 1)": turbo.load_demo_turbo,
}
DEFAULT = "SD layout (UNet)"


class GSNDemoModel(io.ComfyNode):
    """A loader of the embedded models: MODEL, CLIP and VAE from the files in models/."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNDemoModel",
            display_name="GSN Demo Model",
            category="GSN/demo",
            description="A tiny text-to-image model that comes with this pack. It draws red, green, blue, "
            "yellow, purple and black circles, squares, triangles, stars, crosses and hearts, and often "
            "drops one, as large models do. For images of 256 x 256.",
            search_aliases=["gsn", "tiny", "shapes", *aliases("GSNDemoModel")],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(MODELS),
                    optional=True,
                    default=DEFAULT,
                    tooltip="The architecture: like SD 1.5 (cross-attention, noise prediction), or like SD 3 "
                    "(joint attention, CLIP and T5, rectified flow), or that one distilled to 4 or 8 steps "
                    "at CFG 1, with euler and simple.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The tiny diffusion model."),
                io.Clip.Output(
                    display_name="CLIP", tooltip="Its text encoder: knows colours, shapes, a photo of, and."
                ),
                io.Vae.Output(display_name="VAE", tooltip="Its decoder: 32 x 32 latents, 256 x 256 pixels."),
            ],
        )

    @classmethod
    def execute(cls, model=DEFAULT) -> io.NodeOutput:
        return io.NodeOutput(*MODELS[model]())


NODES = [GSNDemoModel]
