"""Seeded noise from generators of the pack: the global random state is never touched."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(seed: int, image: int, purpose: str) -> torch.Generator:
    """A CPU generator for one image of a batch and one purpose.

    The seed is hashed: neighbouring seeds, the images of a batch and ComfyUI (which draws seed's own noise
    from a generator seeded with it) must not share numbers.
    """
    digest = hashlib.sha256(f"{purpose}:{seed}:{image}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def noise_like(z: Tensor, source: torch.Generator) -> Tensor:
    """Normal noise of the shape, dtype and device of z, drawn on the CPU so that every device gets the
    same.
    """
    return torch.randn(z.shape, generator=source).to(z)
