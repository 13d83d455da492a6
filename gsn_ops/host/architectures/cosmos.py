"""Cosmos (text-to-video for images, Predict2 text-to-image) and Anima: cross-attention to 512 rows."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, refuse, register_family
from .transformer import cross


def one_frame(inputs: Inputs) -> AttentionLayout:
    """Its patch is named `patch_spatial`."""
    return cross(inputs, patch="patch_spatial")


COSMOS1 = ModelFamily("Cosmos", one_frame, cross=True, in_place=True)
COSMOS = ModelFamily("Cosmos-Predict2", one_frame, cross=True, rope_kernels=True)
# Anima's adapter makes the rows: one for each token of T5, with information from Qwen's rows.
ANIMA = ModelFamily("Anima", one_frame, cross=True, rope_kernels=True, text=("t5xxl_ids",))

register_family(COSMOS1, "CosmosT2V")
register_family(COSMOS, "CosmosT2IPredict2")
register_family(ANIMA, "Anima")
refuse(
    "it makes videos of a given image. Connect the text-to-image or text-to-video model of the same kind.",
    "CosmosI2V",
    "CosmosI2VPredict2",
)
