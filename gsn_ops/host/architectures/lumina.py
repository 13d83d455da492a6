"""Lumina 2, NewBie, Z-Image: [text, image] in one stream. Their refiners of text or image alone are told apart by length."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, register_family
from .transformer import joint, text_rows


def padded(inputs: Inputs) -> AttentionLayout:
    """Z-Image fills both parts up to a multiple, at their ends. Raises ValueError for reference pictures."""
    if inputs.conds.get("ref_latents"):
        raise ValueError(
            "Where Z-Image puts the words beside reference pictures is not known to this pack. Remove the references, "
            "or use the stock sampler."
        )
    multiple = inputs.network.pad_tokens_multiple or 1
    n_text = text_rows(inputs)
    return joint(inputs, "TI", n_text + -n_text % multiple, pad=multiple)


LUMINA = ModelFamily(
    "Lumina 2", padded, rope_kernels=True, encoders=("gemma2_2b", "gemma and jina (NewBie)")
)  # NewBie is a Lumina2 to the host
Z_IMAGE = ModelFamily("Z-Image", padded, rope_kernels=True)

register_family(LUMINA, "Lumina2")
register_family(Z_IMAGE, "ZImage", "ZImagePixelSpace")
