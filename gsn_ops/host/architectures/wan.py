"""Wan 2.1 and 2.2 text-to-video, for images: cross-attention to umT5's 512 rows."""

from __future__ import annotations

from .family import ModelFamily, refuse, register_family
from .transformer import cross

WAN = ModelFamily("Wan", cross, cross=True, rope_kernels=True, encoders=("umt5xxl",))

register_family(WAN, "WAN21_T2V", "WAN22_T2V")
refuse("it makes videos, some frames after the others.", "WAN21_CausalAR_T2V")
refuse(
    "it makes videos of a given image, sound or motion. Connect the text-to-video model of the same kind, "
    "with a latent of 1 frame.",
    "WAN21_I2V",
    "WAN21_FunControl2V",
    "WAN21_FlowRVS",
    "WAN21_Camera",
    "WAN21_Vace",
    "WAN21_HuMo",
    "WAN21_SCAIL",
    "WAN21_SCAIL2",
    "WAN22_S2V",
    "WAN22_Animate",
    "WAN22_Camera",
    "WAN22_WanDancer",
)
