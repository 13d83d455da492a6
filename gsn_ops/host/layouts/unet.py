"""UNets with cross-attention. Levels: Latent Refine, Attend-and-Excite and SynGen all read the 16x16 grid of SD1 at 512 px."""
from __future__ import annotations

from ..capture import Layout
from . import Family, Inputs, refuse, register_family
from .transformer import text_rows


def cross_attention(inputs: Inputs) -> Layout:
    """Keys are the conditioning's rows, queries the image tokens of any level. Raises ValueError for latents that are not pictures."""
    if len(inputs.latent) != 4:
        raise ValueError(f"The latent has {len(inputs.latent)} dimensions; a picture latent has 4 (batch, channels, height, width).")
    return Layout("cross", inputs.latent[-2:], text_rows(inputs), text_rows(inputs))


SD1 = Family("Stable Diffusion 1.x", cross_attention, levels=(4,), span="legacy_sd1")
# The embedded model's latent is 32x32; its 8x8 maps serve better than its 16x16 ones (docs/results.md).
DEMO = Family("GSN demo model", cross_attention, levels=(4,), span="legacy_sd1")
# SD2 and CLIP-G pad with zeros, so the padding says nothing: the authors' switch for SD2, taken over for all that follow.
SD2 = Family("Stable Diffusion 2.x", cross_attention, levels=(4,))
SDXL = Family("Stable Diffusion XL", cross_attention, levels=(4,))
KOALA = Family("KOALA", cross_attention, levels=(4,))
SSD1B = Family("SSD-1B", cross_attention, levels=(4,))
SEGMIND = Family("Segmind Vega", cross_attention, levels=(4,))

register_family(SD1, "SD15", "SD15_instructpix2pix")
register_family(DEMO, "DemoSD")
register_family(SD2, "SD20", "SD21UnclipL", "SD21UnclipH")
register_family(SDXL, "SDXL", "SDXL_instructpix2pix")
register_family(KOALA, "KOALA_700M", "KOALA_1B")
register_family(SSD1B, "SSD1B")
register_family(SEGMIND, "Segmind_Vega")

refuse("it is the SDXL refiner, which only finishes a picture: subjects are decided long before, in the base model. Connect this node "
       "to the base model.", "SDXLRefiner")
refuse("it is an upscaler, whose picture is given by the small one.", "SD_X4Upscaler")
refuse("it measures depth or surfaces of a given picture.", "LotusD")
