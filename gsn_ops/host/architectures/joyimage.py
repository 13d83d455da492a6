"""JoyImage: [image, references, text]."""

from __future__ import annotations

from .family import ModelFamily, register_family
from .transformer import joint

JOYIMAGE = ModelFamily("JoyImage", lambda inputs: joint(inputs, "IRT"), rope_kernels=True)

register_family(JOYIMAGE, "JoyImage")
