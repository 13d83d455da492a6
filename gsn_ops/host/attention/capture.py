"""Captures text-to-image attention on every architecture, through ComfyUI's attention override.

`transformer_options["optimized_attention_override"]` is called for each attention call with its q and k. An
AttentionLayout, computed before the forward pass from the shapes that enter the model, says which calls are
text-to-image attention and where text and image are in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...torch_ops.regional_copies import CopiesOfImages
from ...torch_ops.self_attention import SelfAttention
from ...torch_ops.text_attention import MAX_FUSED_WIDTH, attention_with_text, text_probabilities
from ...torch_ops.transfer import onto


class AllCaptured(BaseException):
    """Raised after the last wanted layer.

    Not an Exception, so that fallbacks of ComfyUI and of other packs do not swallow it.
    """


@dataclass
class CaptureState:
    """What a Capture has seen so far in its pass.

    layers: (level, probabilities [B, h, w, n] or, with heads, [B, H, h, w, n]) of each wanted layer.
    self_attention: (level, rows to be evaluated later). lengths: (queries, keys) of every call, and levels:
    of every text-to-image call, for the error when nothing fits. cut_override: another pack's override
    returned a tensor without gradient.
    """

    layers: list[tuple[int, Tensor]] = field(default_factory=list)
    self_attention: list[tuple[int, SelfAttention]] = field(default_factory=list)
    lengths: set[tuple[int, int]] = field(default_factory=set)
    levels: set[int] = field(default_factory=set)
    cut_override: bool = False
    n_captured: int = 0  # wanted layers, with those that a snapshot leaves out
    n_text_to_image: int = 0
    first_up_level: int | None = None  # of the first block after a UNet's middle that attends to text
    calls: dict[tuple, int] = field(default_factory=dict)  # block -> its attention calls so far, less one
    observed: tuple | None = None  # the block whose replaced call was observed last


class Capture:
    """The override of one forward pass: keeps text-to-image probabilities of the wanted layers.

    Ends the pass after the last one.

    columns: rows of the conditioning [start, stop) to keep. spans: those among them that are read in joint
    attention, where each one costs, the others are 0 there; () = all. levels: wanted ones, () = all. blocks:
    which text-to-image calls of the pass to keep, None = all. middle_up: of a UNet, keep instead the middle
    and the first block after it that attends to text, at any level. heads: keep single heads instead of their
    mean. self_rows: keep self-attention too. stop_after: number of wanted layers after which the pass ends,
    None = run to the end. previous: another pack's override, which stays in force. copies: of the images,
    where a regional prompt makes some.
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
        previous: Callable | None = None,
        copies: CopiesOfImages | None = None,
    ):
        self.layout = layout
        self.columns = columns
        self.levels = levels
        self.blocks = blocks
        self.middle_up = middle_up
        self.heads = heads
        self.self_rows = self_rows
        self.stop_after = stop_after
        self.previous = previous
        self.copies = copies
        rows = range(columns.start, columns.stop)
        self._read = [n for n, row in enumerate(rows) if not spans or any(row in _range(s) for s in spans)]
        self.state = CaptureState()

    def __call__(self, func, q, k, v, heads, mask=None, *args, **kwargs):
        """ComfyUI's attention call: the result of `func`, from a backend that has gradients."""
        options, scale = kwargs.get("transformer_options") or {}, kwargs.get("scale")
        by_head = kwargs.get("skip_reshape", False)  # q, k, v are [B, H, N, d] already
        q_heads, k_heads = (q, k) if by_head else split_heads(q, k, heads)
        if not self._should_capture(q_heads, k_heads, options, mask, scale):
            return self.attend(q, k, v, heads, mask, *args, **kwargs)
        if not self._fits_one_call(q_heads.shape[-1]):
            self.keep(q_heads, k_heads, options, mask, scale)
            return self.attend(q, k, v, heads, mask, *args, **kwargs)
        if not by_head:
            v = v.transpose(1, 2) if v.ndim == 4 else split_heads(v, v, k_heads.shape[1])[0]
        out = self._attend_and_keep(q_heads, k_heads, v, options, mask, scale)
        if kwargs.get("skip_output_reshape", False):
            return out
        return out.transpose(1, 2).flatten(2)  # B H N d -> B N (H d)

    def observe(
        self,
        q: Tensor,
        k: Tensor,
        options: dict,
        mask: Tensor | None = None,
        scale: float | None = None,
        replaced: bool = False,
    ) -> None:
        """See one attention call, q and k as [B, H, N, d]; may end the pass by raising AllCaptured.

        replaced: a patch replaces this call; if the patch then attends through us, that is not counted again.
        """
        if self._should_capture(q, k, options, mask, scale, replaced):
            self.keep(q, k, options, mask, scale)

    def snapshot(self) -> CaptureState:
        """What has been seen so far, without tensors."""
        seen = self.state
        return replace(
            seen,
            layers=[],
            self_attention=[],
            lengths=set(seen.lengths),
            levels=set(seen.levels),
            calls=dict(seen.calls),
        )

    def restore(self, snapshot: CaptureState) -> CaptureState:
        """Go on from this state, which is written to from now on. Returns the state it replaces."""
        replaced, self.state = self.state, snapshot
        return replaced

    def _should_capture(
        self,
        q: Tensor,
        k: Tensor,
        options: dict,
        mask: Tensor | None,
        scale: float | None,
        replaced: bool = False,
    ) -> bool:
        """Is this one of the wanted text-to-image calls?

        Counts the call; keeps self-attention where it is wanted.
        """
        seen, block = self.state, options.get("block")
        label = (block, options.get("block_index"))
        if seen.observed is not None and seen.observed == label:
            seen.observed = None
            return False
        nth = seen.calls[label] = seen.calls.get(label, -1) + 1
        if replaced:
            seen.observed, nth = label, 1
        n_q, n_k = q.shape[2], k.shape[2]
        seen.lengths.add((n_q, n_k))
        grid = self.layout.grid(n_q, _shape(options))
        if self.layout.is_text_to_image(n_q, n_k, nth):
            seen.n_text_to_image += 1
            if grid is not None:
                seen.levels.add(self.layout.level(grid, block))
            in_blocks = self.blocks is None or seen.n_text_to_image - 1 in self.blocks
            return in_blocks and grid is not None and self._is_wanted_level(grid, block)
        if grid is None or not self.self_rows or not self._is_wanted_level(grid, block):
            return False
        if self.layout.is_self_attention(n_q, n_k, _shape(options)):
            attention = SelfAttention(q, k, grid, scale, additive(mask, slice(None)))
            seen.self_attention.append((self.layout.level(grid, block), attention))
        return False

    def _is_wanted_level(self, grid: tuple[int, int], block: tuple | None) -> bool:
        """block: ComfyUI's name of it; that of a UNet begins with input, middle or output."""
        level = self.layout.level(grid, block)
        part = block[0] if block and self.layout.patch is None else None
        if not self.middle_up or part is None:
            return not self.levels or level in self.levels
        if part == "output" and self.state.first_up_level is None:
            self.state.first_up_level = level
        return part == "middle" or (part == "output" and level == self.state.first_up_level)

    def _fits_one_call(self, width: int) -> bool:
        """Can one fused call give both the result of a wanted layer and its probabilities?"""
        if self.layout.kind != "joint" or self.previous is not None:
            return False
        return width + len(self._read) <= MAX_FUSED_WIDTH

    def _read_keys(self, n_q: int) -> list[int]:
        """The keys whose probabilities are read in a text-to-image call of joint attention."""
        first = self.layout.columns(self.columns, n_q).start
        return [first + n for n in self._read]

    def _attend_and_keep(
        self, q: Tensor, k: Tensor, v: Tensor, options: dict, mask: Tensor | None, scale: float | None
    ) -> Tensor:
        """A wanted call of joint attention; q, k, v and the result [B, H, N, d]."""
        n_q = q.shape[2]
        k, v = _repeated(k, q), _repeated(v, q)
        bias = additive(mask, slice(None))
        out, p = attention_with_text(q, k, v, self._read_keys(n_q), bias, scale)
        self.keep(q, k, options, mask, scale, p[:, :, self.layout.rows(n_q)])
        return out

    def keep(
        self,
        q: Tensor,
        k: Tensor,
        options: dict,
        mask: Tensor | None,
        scale: float | None,
        p: Tensor | None = None,
    ) -> None:
        """Keep the probabilities of one wanted call; raises AllCaptured after the last one.

        q, k [B, H, N, d]. options: of the call. p: the probabilities [B, H, image tokens, columns read], if
        they are known.
        """
        layout, n_q = self.layout, q.shape[2]
        rows, grid = layout.rows(n_q), layout.grid(n_q, _shape(options)) or layout.cells(n_q)
        level = layout.level(grid, options.get("block"))
        joint = layout.kind == "joint"
        k = _repeated(k, q)
        q, mask = q[:, :, rows], additive(mask, rows)
        if p is None:
            columns = self._read_keys(n_q) if joint else layout.columns(self.columns, n_q)
            p = text_probabilities(q, k, columns, joint, mask, scale)
        if not self.heads:
            p = p.mean(1)
        if joint:
            p = self._with_unread_columns(p)
        if self.copies is not None:
            p = self.copies.joined(p)
        self.state.layers.append((level, p.unflatten(-2, grid)))  # [B, (H), h, w, n]
        if self.self_rows and joint:
            image = slice(layout.first_image, layout.first_image + q.shape[2])
            self.state.self_attention.append((level, SelfAttention(q, k, grid, scale, mask, image)))
        self.state.n_captured += 1
        if self.stop_after is not None and self.state.n_captured >= self.stop_after:
            raise AllCaptured

    def _with_unread_columns(self, p: Tensor) -> Tensor:
        """[.., columns read] -> [.., n], 0 in the others."""
        n = self.columns.stop - self.columns.start
        if len(self._read) == n:
            return p
        read = onto(torch.tensor(self._read), p, torch.int64)
        return p.new_zeros(*p.shape[:-1], n).index_copy(-1, read, p)

    def attend(self, *args, **kwargs) -> Tensor:
        """The call itself, by PyTorch's attention, which has gradients, or by the override set before."""
        if self.previous is None:
            return attention_pytorch(*args, **kwargs)
        out = self.previous(attention_pytorch, *args, **kwargs)
        if args[0].requires_grad and not out.requires_grad:
            self.state.cut_override = True  # a kernel without backward, such as SageAttention
            return attention_pytorch(*args, **kwargs)
        return out


def split_heads(q: Tensor, k: Tensor, heads: int) -> list[Tensor]:
    """[B, N, H d] -> [B, H, N, d] of queries with `heads` heads, and of keys.

    The keys may have fewer heads of the same width.
    """
    d = q.shape[-1] // heads
    return [t.unflatten(-1, (-1, d)).transpose(1, 2) for t in (q, k)]


def _shape(options: dict) -> tuple[int, int] | None:
    """The grid (h, w) that a UNet says it works on in this call."""
    shape = options.get("activations_shape") or ()
    return (shape[-2], shape[-1]) if len(shape) == 4 else None


def _range(columns: slice) -> range:
    return range(columns.start, columns.stop)


def _repeated(t: Tensor, q: Tensor) -> Tensor:
    """Keys or values with one head for each of q's: grouped queries share them."""
    return t if t.shape[1] == q.shape[1] else t.repeat_interleave(q.shape[1] // t.shape[1], 1)


def additive(mask: Tensor | None, rows: slice) -> Tensor | None:
    """An attention mask in any of ComfyUI's forms as additive float32 [B or 1, H or 1, 1 or rows, K]."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))
    if mask.ndim == 2:
        mask = mask[None, None]
    elif mask.ndim == 3:
        mask = mask[:, None]
    if mask.shape[-2] > 1:
        mask = mask[..., rows, :]
    return mask.float()
