"""Kandinsky 5 image: cross-attention to Qwen."""

from __future__ import annotations

from .family import ModelFamily, refuse, register_family
from .transformer import cross

KANDINSKY = ModelFamily("Kandinsky 5 image", cross, cross=True, rope_kernels=True)

register_family(KANDINSKY, "Kandinsky5Image")
refuse("it makes videos.", "Kandinsky5")
