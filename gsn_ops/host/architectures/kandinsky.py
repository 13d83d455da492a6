"""Kandinsky 5 image, and video for images: cross-attention to Qwen."""

from __future__ import annotations

from dataclasses import replace

from .family import ModelFamily, register_family
from .transformer import cross

KANDINSKY = ModelFamily("Kandinsky 5 image", cross, cross=True, rope_kernels=True)
KANDINSKY_VIDEO = replace(KANDINSKY, name="Kandinsky 5 video")

register_family(KANDINSKY, "Kandinsky5Image")
register_family(KANDINSKY_VIDEO, "Kandinsky5")
