"""ERNIE-Image: [image, text]."""

from __future__ import annotations

from .family import ModelFamily, register_family
from .transformer import joint

ERNIE = ModelFamily(
    "ERNIE-Image",
    lambda inputs: joint(inputs, "IT"),
    rope_kernels=True,
    drops_options=("comfy.ldm.ernie.model",),
    encoders=("ministral3_3b",),
)

register_family(ERNIE, "ErnieImage")
