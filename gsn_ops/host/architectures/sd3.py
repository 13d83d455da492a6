"""Stable Diffusion 3 and 3.5: one sequence [text, image] in every block; the text is CLIP's rows, then those of T5.

All joint blocks are read, as the published SD3 path of Latent Refine does. SD3.5 medium's second attention of the image
alone is told apart by its length.
"""

from __future__ import annotations

from .family import ModelFamily, register_family
from .transformer import joint

SD3 = ModelFamily(
    "Stable Diffusion 3 and 3.5",
    lambda inputs: joint(inputs, "TI"),
    source="published: the SD3 code of Latent Refine",
    moment="published: step 5 of 28 of SAGA (that of Latent Refine on SD3 is not known)",
)

register_family(SD3, "SD3")
