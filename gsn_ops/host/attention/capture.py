"""One mechanism reads text-to-image attention on every architecture: the host's attention override plus a Layout of facts.

`transformer_options["optimized_attention_override"]` sees each attention call with its q and k; a AttentionLayout, computed before the
forward from the shapes that enter the model, says which calls are text-to-image and where text and image sit in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...torch_ops.text_attention import WIDEST, attention_with_text, text_probabilities
from ...torch_ops.transfer import onto


class AllCaptured(BaseException):
    """Raised after the last wanted layer. Not an Exception: fallbacks of the host and of other packs must not swallow it."""


@dataclass(frozen=True)
class SelfAttention:
    """Queries [B, H, N, d] and keys [B, H, K, d] of one call: rows of softmax(q k^T) are evaluated only for the cells wanted.

    image: the keys that are the image; None = all, as in self-attention.
    """

    q: Tensor
    k: Tensor
    grid: tuple[int, int]
    scale: float | None = None
    mask: Tensor | None = None  # additive, [B or 1, H or 1, 1 or N, K]
    image: slice | None = None

    def rows(self, cells: Tensor) -> Tensor:
        """Attention of the cells [B, r] (row-major) to every cell, mean over heads: [B, r, h, w], differentiable."""
        q = _at(self.q.float(), cells)  # [B, H, r, d]
        logits = q @ self.k.float().transpose(-1, -2) * (self.scale or q.shape[-1] ** -0.5)  # [B, H, r, K]
        if self.mask is not None:
            logits = logits + (
                _at(self.mask.expand(len(q), -1, -1, -1), cells) if self.mask.shape[-2] > 1 else self.mask
            )
        return (
            logits.softmax(-1)[..., self.image or slice(None)].mean(1).unflatten(-1, self.grid)
        )  # [B, r, h, w]


def _at(t: Tensor, cells: Tensor) -> Tensor:
    """Rows [B, r] of t [B, H, N, d]: [B, H, r, d]."""
    return t.gather(2, cells[:, None, :, None].expand(-1, t.shape[1], -1, t.shape[-1]))


class Capture:
    """The override of one forward pass: keeps text-to-image probabilities of the wanted layers, then ends the pass.

    columns: rows of the conditioning [start, stop) to keep. spans: those among them that are read where each one costs (joint
    attention), the others are 0 then; () = all. levels: wanted ones, () = all. blocks: which text-to-image calls
    of the pass to keep, None = all. middle_up: of a UNet, the middle and the first block after it that attends to text, of
    whatever level, instead. stop_after: number of wanted layers after which the pass ends (None = run to the end).
    previous: another pack's override, which stays in force.
    """

    def __init__(
        self,
        layout: AttentionLayout,
        columns: slice,
        levels: tuple[int, ...],
        *,
        spans: Sequence[slice] = (),
        blocks: range | None = None,
        middle_up: bool = False,
        heads: bool = False,
        self_rows: bool = False,
        stop_after: int | None = None,
        previous=None,
        backend=None,
    ):
        self.layout, self.columns, self.levels, self.heads, self.self_rows = (
            layout,
            columns,
            levels,
            heads,
            self_rows,
        )
        self.blocks, self.middle_up, self.stop_after, self.previous, self.backend = (
            blocks,
            middle_up,
            stop_after,
            previous,
            backend,
        )
        rows = range(columns.start, columns.stop)
        self._read = [
            at for at, row in enumerate(rows) if not spans or any(s.start <= row < s.stop for s in spans)
        ]
        self.layers: list[tuple[int, Tensor]] = []  # (level, [B, h, w, n] or, with heads, [B, H, h, w, n])
        self.self_attention: list[tuple[int, SelfAttention]] = []  # (level, rows to be evaluated later)
        self.lengths: set[tuple[int, int]] = (
            set()
        )  # (queries, keys) of every call seen, for the error when nothing fits
        self.cut_override = False  # another pack's override returned a tensor without gradient
        self._text_to_image = 0
        self._first_up: int | None = None  # level of the first block after the middle that attends
        self._calls: dict[tuple, int] = {}
        self._shown: tuple | None = None

    def __call__(self, func, q, k, v, heads, mask=None, *args, **kwargs):
        options, scale = kwargs.get("transformer_options") or {}, kwargs.get("scale")
        shaped = kwargs.get("skip_reshape", False)
        by_head = (q, k) if shaped else _split(q, k, heads)
        if self._should_capture(*by_head, options, mask, scale):
            if self._in_one_call(by_head[0].shape[-1]):
                v = (
                    v
                    if shaped
                    else v.transpose(1, 2)
                    if v.ndim == 4
                    else _split(v, v, by_head[1].shape[1])[0]
                )  # B H N d
                out = self._attend_and_keep(*by_head, v, mask, scale)
                return (
                    out if kwargs.get("skip_output_reshape", False) else out.transpose(1, 2).flatten(2)
                )  # B H N d -> B N (H d)
            self._keep(*by_head, mask, scale)
        return self._attend(func, q, k, v, heads, mask, *args, **kwargs)

    def show(
        self,
        q: Tensor,
        k: Tensor,
        options: dict,
        mask: Tensor | None = None,
        scale: float | None = None,
        elsewhere: bool = False,
    ) -> None:
        """Look at one attention call, q and k as [B, H, N, d]; may end the pass by raising AllCaptured.

        elsewhere: shown on behalf of a patch that replaces the call; if it then attends through us, that is not counted again.
        """
        if self._should_capture(q, k, options, mask, scale, elsewhere):
            self._keep(q, k, mask, scale)

    def _should_capture(
        self,
        q: Tensor,
        k: Tensor,
        options: dict,
        mask: Tensor | None,
        scale: float | None,
        elsewhere: bool = False,
    ) -> bool:
        """Is this one of the wanted text-to-image calls? Counts it, and remembers self-attention in wanted places."""
        label = (options.get("block"), options.get("block_index"))
        if self._shown is not None and self._shown == label:
            self._shown = None
            return False
        nth = self._calls[label] = self._calls.get(label, -1) + 1
        if elsewhere:
            self._shown, nth = label, 1
        n_q, n_k = q.shape[2], k.shape[2]
        self.lengths.add((n_q, n_k))
        if self.layout.is_text_to_image(n_q, n_k, nth):
            self._text_to_image += 1
            wanted = self.blocks is None or self._text_to_image - 1 in self.blocks
            return wanted and self._in_wanted_place(n_q, label[0])
        if (
            self.self_rows
            and self.layout.is_self_attention(n_q, n_k)
            and self._in_wanted_place(n_q, label[0])
        ):
            self.self_attention.append(
                (
                    self.layout.level(n_q),
                    SelfAttention(q, k, self.layout.cells(n_q), scale, _mask_rows(mask, slice(None))),
                )
            )
        return False

    def _in_one_call(self, width: int) -> bool:
        """Can one call give the output of a wanted layer and its probabilities?"""
        return self.layout.kind == "joint" and self.previous is None and width + len(self._read) <= WIDEST

    def _picked(self, n_q: int) -> list[int]:
        """The keys whose probabilities are read in a text-to-image call of joint attention."""
        first = self.layout.columns(self.columns, n_q).start
        return [first + at for at in self._read]

    def _attend_and_keep(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None
    ) -> Tensor:
        """A wanted call of joint attention; q, k, v and what it gives [B, H, N, d]."""
        k, v = (
            t if t.shape[1] == q.shape[1] else t.repeat_interleave(q.shape[1] // t.shape[1], 1)
            for t in (k, v)
        )
        out, p = attention_with_text(q, k, v, self._picked(q.shape[2]), _mask_rows(mask, slice(None)), scale)
        self._keep(q, k, mask, scale, p[:, :, self.layout.rows(q.shape[2])])
        return out

    def _in_wanted_place(self, n_q: int, block: tuple | None) -> bool:
        """block: the host's name of it; that of a UNet begins with input, middle or output."""
        level, part = self.layout.level(n_q), block[0] if block and self.layout.patch is None else None
        if not self.middle_up or part is None:
            return not self.levels or level in self.levels
        if part == "output" and self._first_up is None:
            self._first_up = level
        return part == "middle" or part == "output" and level == self._first_up

    def _keep(
        self, q: Tensor, k: Tensor, mask: Tensor | None, scale: float | None, p: Tensor | None = None
    ) -> None:
        """Keep the probabilities p (if they are known) of one text-to-image call; ends the pass after the last wanted layer."""
        n_q, rows, n = q.shape[2], self.layout.rows(q.shape[2]), self.columns.stop - self.columns.start
        joint, level, grid = self.layout.kind == "joint", self.layout.level(n_q), self.layout.cells(n_q)
        if k.shape[1] != q.shape[1]:  # grouped queries share keys
            k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        q, mask = q[:, :, rows], _mask_rows(mask, rows)
        if p is None:
            p = text_probabilities(
                q,
                k,
                self._picked(n_q) if joint else self.layout.columns(self.columns, n_q),
                joint,
                mask,
                scale,
            )
        p = p if self.heads else p.mean(1)
        if joint and len(self._read) < n:
            p = p.new_zeros(*p.shape[:-1], n).index_copy(
                -1, onto(torch.tensor(self._read), p, torch.int64), p
            )
        self.layers.append((level, p.unflatten(-2, grid)))  # [B, (H), h, w, n]
        if self.self_rows and joint:
            first = self.layout.first_image
            self.self_attention.append(
                (level, SelfAttention(q, k, grid, scale, mask, slice(first, first + q.shape[2])))
            )
        if self.stop_after is not None and len(self.layers) >= self.stop_after:
            raise AllCaptured

    def _attend(self, func, *args, **kwargs):
        """The call itself: by the override that was there before, on a backend that has gradients."""
        func = self.backend or func
        if self.previous is None:
            return func(*args, **kwargs)
        out = self.previous(func, *args, **kwargs)
        if (
            args[0].requires_grad and not out.requires_grad
        ):  # a kernel without backward (SageAttention and its kind)
            self.cut_override = True
            return func(*args, **kwargs)
        return out


def _split(q: Tensor, k: Tensor, heads: int) -> list[Tensor]:
    d = q.shape[-1] // heads  # keys may have fewer heads
    return [t.unflatten(-1, (-1, d)).transpose(1, 2) for t in (q, k)]  # B N (H d) -> B H N d


def _mask_rows(mask: Tensor | None, rows: slice) -> Tensor | None:
    """An attention mask as an additive float [.., .., 1 or N, K], cut to the image rows."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))
    mask = (
        mask[None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask
    )  # [B or 1, H or 1, 1 or N, K]
    return mask[..., rows, :].float() if mask.shape[-2] > 1 else mask.float()


def observe_replaced(capture: Capture, replace: dict) -> dict:
    """A copy of the host's `patches_replace["attn2"]` table whose patches show their q and k to the capture first.

    Such a patch may attend without the host's options, which would hide its block from the override.
    """

    def wrap(patch):
        def shown(q, k, v, options):
            capture.show(*_split(q, k, options["n_heads"]), options, elsewhere=True)
            return patch(q, k, v, options)

        return shown

    return {key: wrap(patch) for key, patch in replace.items()}
