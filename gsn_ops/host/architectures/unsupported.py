"""ComfyUI's models that are not text-to-image, by what they are."""

from __future__ import annotations

from .family import refuse

refuse(
    "it makes videos.",
    "SVD_img2vid",
    "GenmoMochi",
    "LTXV",
    "MiniMaxH3",
    "CogVideoX_T2V",
)
refuse("it makes sound.", "StableAudio", "ACEStep", "ACEStep15")
refuse("it makes 3D shapes or views.", "Stable_Zero123", "SV3D_u", "Hunyuan3Dv2", "TripoSplat")
refuse("it restores or enlarges a given image.", "SeedVR2")
refuse("it is a vision model and does not generate images.", "RT_DETR_v4", "DepthAnything3", "SAM3")
