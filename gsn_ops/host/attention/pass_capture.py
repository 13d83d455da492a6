"""Reads the attention of one prompt in an ordinary pass of several, whose result keeps its bits."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .capture import Capture, split_heads


class PassCapture(Capture):
    """A capture of some rows of the batch, beside the call's own kernel.

    share: the images of the prompt among those of the pass, as (number of the prompt, prompts).
    """

    share = (0, 1)

    def __call__(self, func, q, k, v, heads, mask=None, *args, **kwargs):
        """ComfyUI's attention call: the result of `func`, or of another pack's override, as without us."""
        if self.previous is None:
            out = func(q, k, v, heads, mask, *args, **kwargs)
        else:
            out = self.previous(func, q, k, v, heads, mask, *args, **kwargs)
        by_head = kwargs.get("skip_reshape", False)
        q_heads, k_heads = (q, k) if by_head else split_heads(q, k, heads)
        options = kwargs.get("transformer_options") or {}
        self.observe(
            self._own(q_heads), self._own(k_heads), options, self._mask(mask, q), kwargs.get("scale")
        )
        return out

    def _own(self, t: Tensor) -> Tensor:
        number, prompts = self.share
        size = len(t) // prompts
        return t[number * size : (number + 1) * size]

    def _mask(self, mask: Any, q: Tensor) -> Any:
        """The part of a mask that has a row per image."""
        per_image = mask is not None and mask.ndim > 2 and len(mask) == len(q)
        return self._own(mask) if per_image else mask
