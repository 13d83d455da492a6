"""Lumina 2, NewBie, Z-Image: [text, image] in one stream.

Their refiner blocks see only text or only image; the number of tokens tells them apart.
"""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, TextStream, register_family
from .transformer import joint, text_rows


def padded(inputs: Inputs) -> AttentionLayout:
    """Z-Image pads both parts to a multiple, at their ends. Raises ValueError for reference images."""
    if inputs.conds.get("ref_latents"):
        raise ValueError(
            "With reference images, the position of the text in Z-Image is not known to this pack. "
            "Remove the references, or use the stock sampler."
        )
    multiple = inputs.network.pad_tokens_multiple or 1
    n_text = text_rows(inputs)
    return joint(inputs, "TI", n_text + -n_text % multiple, pad=multiple)


LAYERS = TextStream(single="layers")
LUMINA = ModelFamily(
    "Lumina 2",
    padded,
    text_stream=LAYERS,
    rope_kernels=True,
    encoders=("gemma2_2b", "gemma and jina (NewBie)"),
)  # NewBie is a Lumina2 in ComfyUI
Z_IMAGE = ModelFamily("Z-Image", padded, text_stream=LAYERS, rope_kernels=True)

register_family(LUMINA, "Lumina2")
register_family(Z_IMAGE, "ZImage", "ZImagePixelSpace")
