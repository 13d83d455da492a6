"""Attention probabilities of text tokens, without a matrix of all tokens by all tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .transfer import onto

MAX_FUSED_WIDTH = 256
"""Channels of one head up to which attention kernels are fused."""


def text_probabilities(
    q: Tensor,
    k: Tensor,
    columns: slice | Sequence[int],
    joint: bool,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """softmax(q k^T * scale + mask) at the wanted key columns -> [B, H, N, columns], float32, differentiable.

    q [B, H, N, d], k [B, H, K, d]; mask: additive, broadcast to [B, H, N, K]. Cross-attention has few keys,
    so its softmax is written out. joint: K includes the image, and a second attention call with one-hot
    values picks the columns, in memory linear in N.
    """
    q, k = q.float(), k.float()
    if not joint:
        logits = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)  # [B, H, N, K]
        if mask is not None:
            logits = logits + mask
        return logits.softmax(-1)[..., columns]
    d = q.shape[-1]
    if isinstance(columns, slice):
        columns = range(*columns.indices(k.shape[2]))
    parts = []
    for start in range(0, len(columns), d):  # the head's width keeps fused kernels
        some = columns[start : start + d]
        values = F.pad(_one_hot(some, k), (0, d - len(some)))  # [B, H, K, d]
        picked = F.scaled_dot_product_attention(q, k, values, attn_mask=mask, scale=scale)
        parts.append(picked[..., : len(some)])  # [B, H, N, some]
    return torch.cat(parts, -1)


def attention_with_text(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    columns: Sequence[int],
    mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Joint attention and the probabilities of some of its keys, in one fused call.

    -> [B, H, N, d] and [B, H, N, columns]. q, k, v [B, H, N, d]; needs d + columns <= MAX_FUSED_WIDTH.
    One-hot columns appended to the values make the probabilities further columns of the result; queries and
    keys are padded with zeros, since fused kernels need one width. Half as much arithmetic as two calls, and
    one graph. The probabilities are float32 with the precision of v.
    """
    d, n = q.shape[-1], len(columns)
    padding = -(d + n) % 8  # kernels need a width that is a multiple of 8
    values = torch.cat((v, F.pad(_one_hot(columns, v), (0, padding))), -1)  # [B, H, K, d + n + padding]
    q, k = (F.pad(t, (0, n + padding)) for t in (q, k))
    if mask is not None:
        mask = mask.to(q)
    out = F.scaled_dot_product_attention(q, k, values, attn_mask=mask, scale=scale or d**-0.5)
    return out[..., :d], out[..., d : d + n].float()


def _one_hot(columns: Sequence[int], like: Tensor) -> Tensor:
    """[B, H, K, columns] for `like` [B, H, K, d]: column j is 1 at key columns[j].

    Expanded from contiguous rows: other strides keep kernels from being fused.
    """
    key = torch.arange(like.shape[2], device=like.device)
    wanted = onto(torch.tensor(list(columns)), like, torch.int64)
    one_hot = (key[:, None] == wanted).to(like.dtype)  # [K, columns]
    return one_hot.expand(*like.shape[:2], -1, -1)
