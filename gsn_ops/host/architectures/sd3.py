"""Stable Diffusion 3 and 3.5: one sequence [text, image] in every block.

The text is the rows of CLIP, then those of T5. All joint blocks are read, as in the published SD3 code of
Latent Refine. SD3.5 medium has a second attention of the image alone, which has fewer keys.
"""

from __future__ import annotations

from .family import ModelFamily, TextStream, register_family
from .transformer import joint

SD3 = ModelFamily(
    "Stable Diffusion 3 and 3.5",
    lambda inputs: joint(inputs, "TI"),
    text_stream=TextStream("joint_blocks"),
    source="published: the SD3 code of Latent Refine",
    moment="published: step 5 of 28 of SAGA (that of Latent Refine on SD3 is not known)",
)

register_family(SD3, "SD3")
