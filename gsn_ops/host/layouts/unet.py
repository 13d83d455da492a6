"""UNets with cross-attention. Levels: METHODS of Latent Refine, Attend-and-Excite and SynGen all read the 16x16 grid of SD1 at 512 px."""
from __future__ import annotations

from ..capture import Layout
from . import Family, register_family


def cross_attention(latent_shape: tuple[int, ...], model_conds: dict) -> Layout:
    """Keys are the conditioning's rows, queries the image tokens of any level. Raises ValueError for latents that are not pictures."""
    if len(latent_shape) != 4:
        raise ValueError(f"The latent has {len(latent_shape)} dimensions; a picture latent has 4 (batch, channels, height, width).")
    n_text = model_conds["c_crossattn"].cond.shape[1]
    return Layout("cross", tuple(latent_shape[-2:]), n_text, n_text)


SD1 = Family("Stable Diffusion 1.x", levels=(4,), span="legacy_sd1", layout=cross_attention)
# The embedded model's latent is 32x32: level 2 is the grid (16x16) that all papers read on SD1.
DEMO = Family("GSN demo model", levels=(2,), span="legacy_sd1", layout=cross_attention)

register_family(SD1, "SD15", "SD15_instructpix2pix")
register_family(DEMO, "DemoSD")
