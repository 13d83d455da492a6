"""Flux and similar networks: [text, image, references] in double-stream, then single-stream blocks.

The double blocks are read, as FOCUS does on Flux; for the other networks this is our choice by analogy.
"""

from __future__ import annotations

from dataclasses import replace

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, TextStream, register_family
from .transformer import joint


def padded_on_the_left(inputs: Inputs) -> AttentionLayout:
    """Flux 2: ComfyUI pads shorter texts at the front."""
    return joint(inputs, first_row=inputs.conds["c_crossattn"].shape[1] - inputs.rows)


AS_FLUX = "ours: as on Flux"

FLUX = ModelFamily(
    "Flux",
    joint,
    blocks="double_blocks",
    text_stream=TextStream("double_blocks", "txt", "single_blocks"),
    source="published: FOCUS; ours for other methods",
    rope_kernels=True,
    in_place=True,
)
FLUX2 = replace(
    FLUX,
    name="Flux 2",
    layout=padded_on_the_left,
    source=AS_FLUX,
    encoders=("mistral3_24b (dev)", "qwen3_4b or qwen3_8b (Klein)"),
)
LONGCAT = replace(FLUX, name="LongCat-Image", source=AS_FLUX)
CHROMA = replace(FLUX, name="Chroma", layout=lambda inputs: joint(inputs, "TI"), source=AS_FLUX)
RADIANCE = replace(CHROMA, name="Chroma Radiance")

register_family(FLUX, "Flux", "FluxInpaint", "FluxSchnell")  # Ovis-Image is a FluxSchnell in ComfyUI
register_family(FLUX2, "Flux2")
register_family(LONGCAT, "LongCatImage")
register_family(CHROMA, "Chroma")
register_family(RADIANCE, "ChromaRadiance")
