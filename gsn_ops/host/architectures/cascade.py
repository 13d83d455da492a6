"""Stable Cascade, stage C: a UNet whose attention has keys [image, text, pooled text, image prompt]."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, refuse, register_family
from .transformer import plane_of

POOLED = 4 + 4
"""Tokens made from the pooled text and from an image prompt, after the text."""


def image_then_text(inputs: Inputs) -> AttentionLayout:
    """The keys begin with the image, at any level."""
    n_text = inputs.conds["clip_text"].shape[1] + POOLED
    return AttentionLayout("joint", plane_of(inputs), n_text, n_keys=n_text)


# Published stage C keeps one grid (24x24 at 1024 px) in all its blocks.
CASCADE = ModelFamily(
    "Stable Cascade",
    image_then_text,
    cross=True,
    image_keys=True,
    levels=(1,),
    source="ours: its only grid",
)

register_family(CASCADE, "Stable_Cascade_C")
refuse(
    "it is stage B of Stable Cascade, which sees no text. Connect this node to stage C.", "Stable_Cascade_B"
)
