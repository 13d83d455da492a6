"""OmniGen 2 and Boogu: [text, references, image]."""

from __future__ import annotations

from .family import ModelFamily, register_family
from .transformer import joint

OMNIGEN = ModelFamily("OmniGen 2", lambda inputs: joint(inputs, "TRI"), rope_kernels=True)
BOOGU = ModelFamily("Boogu", OMNIGEN.layout, rope_kernels=True)

register_family(OMNIGEN, "Omnigen2")
register_family(BOOGU, "Boogu")
