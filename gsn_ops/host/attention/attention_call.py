"""One call of ComfyUI's attention as data: run for a part of its batch and queries, or with probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.ldm.modules.attention as comfy_attention
import torch
import torch.nn.functional as F
from torch import Tensor

from ...torch_ops.text_attention import MAX_FUSED_WIDTH, one_hot, text_probabilities
from .capture import additive, split_heads

TAKES_WIDER_VALUES = frozenset(
    ("attention_basic", "attention_sub_quad", "attention_split", "attention_xformers", "attention_pytorch")
) | {"attention_flash"}
"""ComfyUI's kernels that obey `scale` and compute any width exactly. Sage attention does neither."""

ALL = slice(None)


@dataclass(frozen=True)
class AttentionCall:
    """What ComfyUI passes to an attention override: the kernel and its arguments, in any of its forms."""

    func: Callable[..., Tensor]
    q: Tensor
    k: Tensor
    v: Tensor
    heads: int
    mask: Tensor | None
    args: tuple
    kwargs: dict[str, Any]

    @property
    def by_head(self) -> bool:
        """Whether q, k, v are [B, H, N, d] already, and not [B, N, H d]."""
        return self.kwargs.get("skip_reshape", False)

    @property
    def lengths(self) -> tuple[int, int]:
        """Numbers of queries and keys."""
        token = 2 if self.by_head else 1
        return self.q.shape[token], self.k.shape[token]

    @property
    def output_token_dim(self) -> int:
        """The dimension of the queries in the result."""
        return 2 if self.kwargs.get("skip_output_reshape", False) else 1

    def run(self, batch: slice = ALL, rows: slice = ALL) -> Tensor:
        """The call itself, for a part of its batch and queries; in its own form of result."""
        if batch == ALL and rows == ALL:
            return self.func(self.q, self.k, self.v, self.heads, self.mask, *self.args, **self.kwargs)
        q = self.q[batch]
        q = q[:, :, rows] if self.by_head else q[:, rows]
        mask = self._mask(batch, rows)
        return self.func(q, self.k[batch], self.v[batch], self.heads, mask, *self.args, **self.kwargs)

    def part(self, batch: slice) -> AttentionCall:
        """The call of a part of its batch."""
        return replace(self, q=self.q[batch], k=self.k[batch], v=self.v[batch], mask=self._mask(batch, ALL))

    def without_keys(self, start: int, stop: int) -> AttentionCall:
        """The call as if it did not have these keys."""
        token = 2 if self.by_head else 1

        def left(t: Tensor, dim: int) -> Tensor:
            rest = t.shape[dim] - stop
            before = t.narrow(dim, 0, start)
            return torch.cat((before, t.narrow(dim, stop, rest)), dim) if rest else before

        mask = None if self.mask is None else left(self.mask, self.mask.ndim - 1)
        return replace(self, k=left(self.k, token), v=left(self.v, token), mask=mask)

    def queries_and_keys(self) -> tuple[Tensor, Tensor]:
        """q and k as [B, H, N, d]; the keys may have fewer heads."""
        if self.by_head:
            return self.q, self.k
        q, k = split_heads(self.q, self.k, self.heads)
        return q, k

    def takes_wider_values(self, n: int) -> bool:
        """Whether one call can give the result and the probabilities of n keys."""
        known = getattr(self.func, "__module__", None) == comfy_attention.__name__
        d = self.q.shape[-1] if self.by_head else self.q.shape[-1] // self.heads
        fits = d + n + -(d + n) % 8 <= MAX_FUSED_WIDTH
        return known and fits and getattr(self.func, "__name__", "") in TAKES_WIDER_VALUES

    def with_probabilities(
        self, batch: slice, rows: slice, keys: Sequence[int], out: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Result [b, H, n, d], probabilities [b, H, n, J] of some keys, and these keys' values [b, H, J, d].

        out: this part's result in the call's own form, if it is known; needed where the kernel takes no wider
        values. float32.
        """
        q, k, v = self._split(batch, rows)
        mask, d, n = self._mask(batch, rows), q.shape[-1], len(keys)
        picked = v[:, :, list(keys)].float()
        if out is None or self.takes_wider_values(n):
            padding = -(d + n) % 8  # kernels need a width that is a multiple of 8
            values = torch.cat((v, F.pad(one_hot(keys, v), (0, padding))), -1)
            wide = self._by_head(F.pad(q, (0, n + padding)), F.pad(k, (0, n + padding)), values, mask, d)
            return wide[..., :d].float(), wide[..., d : d + n].float(), picked
        parts = []
        for start in range(0, n, d):
            some = list(keys[start : start + d])
            values = F.pad(one_hot(some, v), (0, d - len(some)))
            parts.append(self._by_head(q, k, values, mask)[..., : len(some)])
        if self.output_token_dim == 1:
            out = out.unflatten(-1, (q.shape[1], d)).transpose(1, 2)
        return out.float(), torch.cat(parts, -1).float(), picked

    def with_scaled_keys(self, keys: slice, factor: float) -> AttentionCall:
        """The call with the scores of some keys multiplied by a factor."""
        k = self.k.clone()
        some = k[:, :, keys] if self.by_head else k[:, keys]
        some.mul_(factor)
        return replace(self, k=k)

    def with_tensors(self, q: Tensor, k: Tensor) -> AttentionCall:
        """The call with other queries and keys of the same shape."""
        return replace(self, q=q, k=k)

    def text_probabilities(self, batch: slice) -> tuple[Tensor, Tensor]:
        """All probabilities [b, H, N, K] of a part of the batch, and the values [b, H, K, d]; float32.

        For cross-attention, whose keys are few.
        """
        q, k, v = self._split(batch, ALL)
        mask = additive(self._mask(batch, ALL), ALL)
        p = text_probabilities(q, k, ALL, joint=False, mask=mask, scale=self.kwargs.get("scale"))
        return p, v.float()

    def formed(self, out: Tensor) -> Tensor:
        """A result [b, H, n, d] in the form and type that the caller expects."""
        out = out.to(self.q.dtype)
        return out if self.output_token_dim == 2 else out.transpose(1, 2).flatten(2)

    def _by_head(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, width: int = 0) -> Tensor:
        """The kernel on [b, H, n, d]. width: of the head before it was widened, for the scale; 0 = as is."""
        kwargs = {**self.kwargs, "skip_reshape": True, "skip_output_reshape": True}
        kwargs.pop("enable_gqa", None)
        if width and kwargs.get("scale") is None:
            kwargs["scale"] = width**-0.5
        return self.func(q, k, v, q.shape[1], mask, *self.args, **kwargs)

    def _split(self, batch: slice, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v as [b, H, n, d], with a head of keys and values for each of q."""
        q, k, v = self.q[batch], self.k[batch], self.v[batch]
        if not self.by_head:
            q, k = split_heads(q, k, self.heads)
            v = v.transpose(1, 2) if v.ndim == 4 else split_heads(v, v, k.shape[1])[0]
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        return q[:, :, rows], k, v

    def _mask(self, batch: slice, rows: slice) -> Tensor | None:
        """The mask of a part of the batch and queries; it may have one row for all of either."""
        mask = self.mask
        if mask is None:
            return None
        if mask.ndim > 2 and mask.shape[0] > 1:
            mask = mask[batch]
        return mask[..., rows, :] if mask.shape[-2] > 1 else mask
