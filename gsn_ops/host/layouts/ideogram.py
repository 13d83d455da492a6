"""Ideogram 4: [text, image]; its latent is already patched."""
from __future__ import annotations

from . import Family, register_family
from .transformer import joint

IDEOGRAM = Family("Ideogram 4", lambda inputs: joint(inputs, "TI", patch=1), rope_kernels=True)

register_family(IDEOGRAM, "Ideogram4")
