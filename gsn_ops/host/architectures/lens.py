"""Lens: [image, text]; its latent is already patched."""

from __future__ import annotations

from .family import ModelFamily, register_family
from .transformer import joint

LENS = ModelFamily(
    "Lens", lambda inputs: joint(inputs, "IT", patch=1), rope_kernels=True, encoders=("gpt_oss",)
)

register_family(LENS, "Lens")
