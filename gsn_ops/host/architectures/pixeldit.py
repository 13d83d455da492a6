"""PixelDiT: [text, image] in its patch blocks; blocks over pixels have another number of tokens."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, refuse, register_family
from .transformer import joint, text_rows


def at_most(inputs: Inputs) -> AttentionLayout:
    """Longer texts are cut."""
    return joint(inputs, "TI", min(text_rows(inputs), inputs.network.txt_max_length))


PIXELDIT = ModelFamily("PixelDiT", at_most, rope_kernels=True, encoders=("gemma2_2b",))

register_family(PIXELDIT, "PixelDiTT2I")
refuse("it is a decoder: it turns a finished latent into pixels.", "PiD")
