"""Qwen-Image (and its editing variants) and MageFlow, which uses its blocks: [text, image, references]."""

from __future__ import annotations

from .family import ModelFamily, register_family
from .transformer import joint

QWEN_IMAGE = ModelFamily("Qwen-Image", joint, rope_kernels=True)
MAGE_FLOW = ModelFamily("MageFlow", joint, rope_kernels=True)

register_family(QWEN_IMAGE, "QwenImage")
register_family(MAGE_FLOW, "MageFlow")
