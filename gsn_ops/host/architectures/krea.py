"""Krea 2: [text, image], and references after them where a reference method is set."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, TextStream, register_family
from .transformer import joint


def with_references(inputs: Inputs) -> AttentionLayout:
    """References are in the sequence only with a reference method."""
    method = inputs.conds.get("ref_latents_method", inputs.network.default_ref_method)
    return joint(inputs, "TI" if method is None else "TIR", patch="patch")


KREA2 = ModelFamily("Krea 2", with_references, text_stream=TextStream(single="blocks"), rope_kernels=True)

register_family(KREA2, "Krea2")
