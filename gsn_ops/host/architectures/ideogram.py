"""Ideogram 4: [text, image]; its latent is already patched."""

from __future__ import annotations

from .family import ModelFamily, register_family
from .transformer import joint

IDEOGRAM = ModelFamily("Ideogram 4", lambda inputs: joint(inputs, "TI", patch=1), rope_kernels=True)

register_family(IDEOGRAM, "Ideogram4")
