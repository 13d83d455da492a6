"""HiDream I1: [image, T5, Llama's last layer, the Llama layer of this block]."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, register_family
from .transformer import joint, text_rows


def image_first(inputs: Inputs) -> AttentionLayout:
    """Raises ValueError for HiDream E1, whose latent is two images side by side."""
    if inputs.conds.get("image_cond") is not None:
        raise ValueError(
            "HiDream E1 (editing) works on two images side by side, which this pack does not read. "
            "Use the stock sampler."
        )
    return joint(inputs, "IT", text_rows(inputs) + 2 * inputs.conds["encoder_hidden_states_llama3"].shape[2])


HIDREAM = ModelFamily(
    "HiDream I1",
    image_first,
    text=("", "conditioning_llama3", "conditioning_llama3"),
    rope_kernels=True,
    encoders=("l", "g", "t5xxl", "llama"),
)

register_family(HIDREAM, "HiDream")
