"""Qwen-Image (and its editing variants) and MageFlow, which uses its blocks: [text, image, references]."""

from __future__ import annotations

from .family import ModelFamily, TextStream, register_family
from .transformer import joint

BLOCKS = TextStream("transformer_blocks", "encoder_hidden_states")
QWEN_IMAGE = ModelFamily("Qwen-Image", joint, text_stream=BLOCKS, rope_kernels=True)
MAGE_FLOW = ModelFamily("MageFlow", joint, text_stream=BLOCKS, rope_kernels=True)

register_family(QWEN_IMAGE, "QwenImage")
register_family(MAGE_FLOW, "MageFlow")
