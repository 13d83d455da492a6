"""The attention that the image pays to words, without ever holding a matrix of all tokens by all tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .transfer import onto

WIDEST = 256
"""Of a head, for fused kernels."""


def text_probabilities(
    q: Tensor,
    k: Tensor,
    columns: slice | Sequence[int],
    joint: bool,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """softmax(q k^T * scale) of the wanted key columns: q [B, H, N, d], k [B, H, K, d] -> [B, H, N, columns], float32, differentiable.

    With text keys only, the softmax is short enough to be written out. In joint attention (K includes the image) it never is:
    a second attention call with one-hot values picks the columns, in memory linear in N.
    """
    q, k = q.float(), k.float()
    if not joint:
        logits = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)  # [B, H, N, K]
        return (logits if mask is None else logits + mask).softmax(-1)[..., columns]
    d, out = q.shape[-1], []
    columns = range(*columns.indices(k.shape[2])) if isinstance(columns, slice) else columns
    for some in (columns[i : i + d] for i in range(0, len(columns), d)):
        pick = F.pad(
            _one_hot(some, k), (0, d - len(some))
        )  # [B, H, K, d]: the head's width keeps fused kernels
        out.append(
            F.scaled_dot_product_attention(q, k, pick, attn_mask=mask, scale=scale)[..., : len(some)]
        )  # [B, H, N, some]
    return torch.cat(out, -1)


def attention_with_text(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    columns: Sequence[int],
    mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Joint attention and the probabilities of some of its keys in one fused call: q, k, v [B, H, N, d] -> [B, H, N, d], [B, H, N, columns].

    One-hot columns beside the values make the probabilities further columns of the result; queries and keys are filled up
    with zeros, since fused kernels want one width. Half as much arithmetic as two calls, and one graph. The probabilities
    are float32 with the precision of v. Needs d + columns <= WIDEST.
    """
    d, n = q.shape[-1], len(columns)
    more = -(d + n) % 8  # widths that every kernel takes
    values = torch.cat((v, F.pad(_one_hot(columns, v), (0, more))), -1)  # [B, H, K, d + n + more]
    q, k = (F.pad(t, (0, n + more)) for t in (q, k))
    out = F.scaled_dot_product_attention(
        q, k, values, attn_mask=mask if mask is None else mask.to(q), scale=scale or d**-0.5
    )
    return out[..., :d], out[..., d : d + n].float()


def _one_hot(columns: Sequence[int], like: Tensor) -> Tensor:
    """[B, H, K, columns] for `like` [B, H, K, d]: column j is 1 at key columns[j]. Contiguous rows, else kernels are not fused."""
    key = torch.arange(like.shape[2], device=like.device)
    hot = (key[:, None] == onto(torch.tensor(list(columns)), like, torch.int64)).to(
        like.dtype
    )  # [K, columns]
    return hot.expand(*like.shape[:2], -1, -1)
