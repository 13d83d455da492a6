"""Qwen-Image (and its editing variants) and MageFlow, which uses its blocks: [text, image, references]."""
from __future__ import annotations

from . import Family, register_family
from .transformer import joint

QWEN_IMAGE = Family("Qwen-Image", joint, rope_kernels=True)
MAGE_FLOW = Family("MageFlow", joint, rope_kernels=True)

register_family(QWEN_IMAGE, "QwenImage")
register_family(MAGE_FLOW, "MageFlow")
