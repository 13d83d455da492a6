"""JoyImage: [image, references, text]."""
from __future__ import annotations

from . import Family, register_family
from .transformer import joint

JOYIMAGE = Family("JoyImage", lambda inputs: joint(inputs, "IRT"), rope_kernels=True)

register_family(JOYIMAGE, "JoyImage")
