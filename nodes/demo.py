"""The embedded models for first steps: small enough to come with the pack."""

from comfy_api.latest import io

from ..gsn_ops.host.demo import sd, sd3

MODELS = {"SD layout (UNet)": sd.load_demo_model, "SD3 layout (MM-DiT)": sd3.load_demo_sd3}
DEFAULT = "SD layout (UNet)"


class GSNDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GSNDemoModel",
            display_name="GSN Demo Model",
            category="GSN/demo",
            description="A tiny text-to-image model that comes with this pack. It paints red, green, blue, yellow, "
            "purple and black circles, squares, triangles, stars, crosses and hearts, and forgets some of them, as large "
            "models do. For 256 x 256 pictures.",
            search_aliases=["gsn", "tiny", "shapes"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(MODELS),
                    optional=True,
                    default=DEFAULT,
                    tooltip="How the model is built: like SD 1.5 (cross-attention, noise prediction), or like SD 3 "
                    "(joint attention, CLIP and T5, rectified flow).",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The tiny diffusion model."),
                io.Clip.Output(
                    display_name="CLIP", tooltip="Its text encoder: knows colours, shapes, a photo of, and."
                ),
                io.Vae.Output(display_name="VAE", tooltip="Its pictures: 32 x 32 latents, 256 x 256 pixels."),
            ],
        )

    @classmethod
    def execute(cls, model=DEFAULT):
        return io.NodeOutput(*MODELS[model]())


NODES = [GSNDemoModel]
