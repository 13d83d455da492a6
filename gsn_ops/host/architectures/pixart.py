"""PixArt alpha and sigma: cross-attention to T5."""

from __future__ import annotations

from .family import ModelFamily, register_family
from .transformer import cross

PIXART = ModelFamily("PixArt", cross, cross=True, drops_options=("comfy.ldm.pixart.blocks",))

register_family(PIXART, "PixArtAlpha", "PixArtSigma")
