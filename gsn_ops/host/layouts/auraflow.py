"""AuraFlow: learned registers, text and image in one sequence."""
from __future__ import annotations

from ..capture import Layout
from . import Family, Inputs, register_family
from .transformer import joint, text_rows


def after_registers(inputs: Inputs) -> Layout:
    registers = inputs.network.register_tokens.shape[1]
    return joint(inputs, "TI", registers + text_rows(inputs), first_row=registers)


AURAFLOW = Family("AuraFlow", after_registers)

register_family(AURAFLOW, "AuraFlow")
