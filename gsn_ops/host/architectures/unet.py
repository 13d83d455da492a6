"""UNets with cross-attention.

Latent Refine, Attend-and-Excite and SynGen all read the 16x16 grid of SD1 at 512 px.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, refuse, register_family
from .transformer import text_rows


def cross_attention(inputs: Inputs) -> AttentionLayout:
    """Keys are the conditioning's rows, queries the image tokens of any level.

    Raises ValueError for latents that are not images.
    """
    if len(inputs.latent) != 4:
        raise ValueError(
            f"The latent has {len(inputs.latent)} dimensions; an image latent has 4 "
            "(batch, channels, height, width)."
        )
    rows, blocks = text_rows(inputs), block_levels(inputs.network)
    return AttentionLayout("cross", inputs.latent[-2:], rows, rows, blocks=blocks)


def block_levels(network: torch.nn.Module) -> dict[tuple[str, int], int]:
    """{ComfyUI's name of a UNet's block: its level, 1 at the latent's own size}."""
    level, levels = 1, {}
    for n, block in enumerate(getattr(network, "input_blocks", ())):
        if any(type(part).__name__ == "Downsample" for part in block.modules()):
            level *= 2
        levels["input", n] = level
    levels["middle", 0] = level
    for n, block in enumerate(getattr(network, "output_blocks", ())):
        levels["output", n] = level  # its attention comes before its step up
        if any(type(part).__name__ == "Upsample" for part in block.modules()):
            level //= 2
    return levels


AS_SD1 = "ours: as on Stable Diffusion 1.x"

SD1 = ModelFamily(
    "Stable Diffusion 1.x",
    cross_attention,
    levels=(4,),
    cross=True,
    longer_text=True,
    span="legacy_sd1",
    source="published: Latent Refine, Attend-and-Excite, SynGen (16x16 maps at 512 px)",
    moment="published: step 8 of 50 of Latent Refine",
)
# The demo model's latent is 32x32; its 8x8 maps are better than its 16x16 ones (docs/settings.md).
DEMO = replace(SD1, name="GSN demo model", source="ours: by validation", moment=AS_SD1)
# SD2 and CLIP-G pad with zeros, which carry no information: the authors' switch for SD2, also used for all
# that follow.
SD2 = replace(
    SD1,
    name="Stable Diffusion 2.x",
    span="prompt_only",
    source="published: the code of Attend-and-Excite",
    moment=AS_SD1,
)
SDXL = replace(SD2, name="Stable Diffusion XL", source=AS_SD1)
KOALA = replace(SDXL, name="KOALA")
SSD1B = replace(SDXL, name="SSD-1B")
SEGMIND = replace(SDXL, name="Segmind Vega")

register_family(SD1, "SD15", "SD15_instructpix2pix")
register_family(DEMO, "DemoSD")
register_family(SD2, "SD20", "SD21UnclipL", "SD21UnclipH")
register_family(SDXL, "SDXL", "SDXL_instructpix2pix")
register_family(KOALA, "KOALA_700M", "KOALA_1B")
register_family(SSD1B, "SSD1B")
register_family(SEGMIND, "Segmind_Vega")

refuse(
    "it is the SDXL refiner, which only finishes an image: subjects are decided long before, in the base "
    "model. Connect this node to the base model.",
    "SDXLRefiner",
)
refuse("it is an upscaler, whose image is given by the small one.", "SD_X4Upscaler")
refuse("it measures depth or surfaces of a given image.", "LotusD")
