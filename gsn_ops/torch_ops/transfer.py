"""Small tensors from the CPU to the device, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def onto(t: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A small tensor made on the CPU, on the device of `like`, in its dtype (or in `dtype`).

    Uses a non-blocking copy on CUDA, so that the CPU does not wait for queued kernels.
    """
    return t.to(like.device, non_blocking=like.is_cuda).to(dtype or like.dtype)
