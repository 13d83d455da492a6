"""DiffEdit's mask: where an image must change to show another prompt."""

from comfy_api.latest import io

from ..gsn_ops.host.editing.diff_edit import MaskSettings, find_mask
from ..gsn_ops.host.editing.mask_pictures import mask_pictures
from ..gsn_ops.language import aliases
from .inputs import given, optional_float, status_reporter
from .two_prompt_edits import prompt_inputs


class GSNDiffEditMask(io.ComfyNode):
    """Where an image must change, found by two prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNDiffEditMask",
            display_name="DiffEdit Mask",
            category="GSN/edit",
            description="Finds where an image must change to show another prompt, without painting "
            "(DiffEdit, Couairon et al., ICLR 2023). The mask is for Inversion Sampler, for inpainting, "
            "or for an edit model.",
            search_aliases=["gsn", "diffedit", "automatic mask", "edit image", *aliases("GSNDiffEditMask")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                *prompt_inputs(),
                io.Latent.Input("latent_image", tooltip="The image, from VAE Encode."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The random seed of the noises.",
                ),
                optional_float(
                    "strength",
                    0.5,
                    (0.01, 1.0),
                    "How much noise the image gets for the comparison, as a share of the schedule. "
                    "Published: 0.5.",
                    step=0.01,
                ),
                io.Int.Input(
                    "copies",
                    optional=True,
                    default=10,
                    min=1,
                    max=1000,
                    tooltip="Noises whose differences are averaged, two passes each. Published: 10.",
                ),
                optional_float(
                    "threshold",
                    0.5,
                    (0.0, 1.0),
                    "The difference that counts as a change, 1 = the clip. Lower = a larger mask. "
                    "Published: 0.5.",
                    step=0.01,
                ),
                optional_float(
                    "clip",
                    3.0,
                    (1.0, 100.0),
                    "Differences are cut at so many times their mean. Published: 3.",
                    step=0.1,
                    advanced=True,
                ),
                io.Image.Input(
                    "image", optional=True, tooltip="The picture to draw on. Not connected: a preview."
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="MASK", tooltip="Where the image must change."),
                io.Image.Output(
                    display_name="IMAGE", tooltip="How much the prompts differ, inside the mask."
                ),
                io.String.Output("text", tooltip="How much of the image the mask covers."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        source,
        target,
        latent_image,
        seed,
        strength=0.5,
        copies=10,
        threshold=0.5,
        clip=3.0,
        image=None,
    ) -> io.NodeOutput:
        model, latent = given("MODEL", model), given("LATENT", latent_image)
        prompts = given("CONDITIONING", source), given("CONDITIONING", target)
        found = find_mask(model, *prompts, latent, MaskSettings(seed, strength, copies, threshold, clip))
        status_reporter(cls)(found.text)
        return io.NodeOutput(*mask_pictures(model, latent, found, image), found.text)


NODES = [GSNDiffEditMask]
