"""Small tensors from the CPU to the device, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def onto(t: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A small tensor that the processor made, on the device of `like` and in its dtype (or in `dtype`).

    On CUDA the processor goes on at once: a plain copy waits until the device has done all that it was told before.
    """
    return t.to(like.device, non_blocking=like.is_cuda).to(dtype or like.dtype)
