"""Cosmos-Predict2 text-to-image and Anima: cross-attention to 512 rows."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, refuse, register_family
from .transformer import cross


def one_frame(inputs: Inputs) -> AttentionLayout:
    """Its patch is named `patch_spatial`."""
    return cross(inputs, patch="patch_spatial")


COSMOS = ModelFamily("Cosmos-Predict2", one_frame, cross=True, rope_kernels=True)
# Anima's adapter makes the rows: one for each token of T5, with information from Qwen's rows.
ANIMA = ModelFamily("Anima", one_frame, cross=True, rope_kernels=True, text=("t5xxl_ids",))

register_family(COSMOS, "CosmosT2IPredict2")
register_family(ANIMA, "Anima")
refuse("it makes videos.", "CosmosI2VPredict2", "CosmosT2V")
