"""AuraFlow: learned registers, text and image in one sequence."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, TextStream, register_family
from .transformer import joint, text_rows


def after_registers(inputs: Inputs) -> AttentionLayout:
    """The text's part begins with the registers."""
    registers = inputs.network.register_tokens.shape[1]
    return joint(inputs, "TI", registers + text_rows(inputs), first_row=registers)


AURAFLOW = ModelFamily(
    "AuraFlow", after_registers, text_stream=TextStream("double_layers", 0, "single_layers")
)

register_family(AURAFLOW, "AuraFlow")
