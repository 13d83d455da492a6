"""A third demo model: the SD3-like one distilled to 4 and 8 steps without guidance, as turbo models are.

Layout, text encoders, latent and schedule are those of `demo/sd3.py`; only the MM-DiT's weights are others.
With euler and simple, CFG 1, its 4 or 8 steps stand for 20 of that model at CFG 4.
"""

from __future__ import annotations

from pathlib import Path

import comfy.sd
from comfy.model_patcher import ModelPatcher

from . import sd, sd3

PATH = sd.PATH.with_name("tiny_sd3_turbo_shapes.safetensors")
FORMAT = "gsn-tiny-sd3-turbo-shapes-1"


class DemoTurbo(sd3.DemoSD3):
    """The same network, distilled."""

    demo_name = "demo model (turbo)"


def load_demo_turbo(
    path: str | Path | None = None,
) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Load the turbo demo model -> (MODEL, CLIP, VAE).

    path: another file of the same kind. Errors: see `sd.read`.
    """
    loaded = sd3.load_tensors(sd.read(Path(path or PATH), FORMAT, sd3.SHAPES_DIGEST), DemoTurbo)
    return sd.reloadable(loaded, load_demo_turbo, path)
