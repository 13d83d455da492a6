"""Prompt-to-Prompt in a forward pass: the attention of the target images, made from that of their sources.

The images of a pair follow each other in the batch: source, target, source, target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...modulate.prompt_to_prompt import MapEdit
from ...modulate.word_weights import weighted_output
from ...torch_ops.transfer import onto
from .attention_call import AttentionCall

Words = tuple[int, ...]
Keep = Callable[[AttentionLayout, tuple[int, int], Tensor, Tensor], None]
"""keep(layout, grid, source, target): [b, image tokens] of the blend words' attention in one call."""

KeysOf = Callable[[int], list[int]]
"""The keys of a row of the conditioning; several where ComfyUI has repeated it."""


@dataclass(frozen=True)
class PairEdit:
    """What changes in one pass of a pair.

    follows: the target takes the source's attention of the image to itself. maps: edit of cross-attention.
    weights: (column, a, g) of the target's words in joint attention. blend: columns of the blend words in
    either prompt. keep: gets their maps. levels: from which these are read, () = all. least_level: of
    self-attention that follows, on a UNet. blocks: which text-to-image calls, None = all.
    """

    follows: bool = False
    maps: MapEdit | None = None
    weights: tuple[tuple[int, float, float], ...] = ()
    blend: tuple[Words, Words] = ((), ())
    keep: Keep | None = None
    levels: tuple[int, ...] = ()
    least_level: int = 4
    blocks: range | None = None

    @property
    def reads(self) -> bool:
        """Whether probabilities of text-to-image calls are needed."""
        return self.maps is not None or bool(self.weights) or self.keep is not None

    def acts_in(self, number: int) -> bool:
        """Whether text-to-image call `number` of a pass is changed."""
        return self.blocks is None or number in self.blocks


def with_followed_image(call: AttentionCall, batch: slice, queries: slice, keys: slice) -> AttentionCall:
    """The call in which the target images of a part of the batch have their sources' queries and keys."""
    tensors = []
    for tensor, rows in ((call.q, queries), (call.k, keys)):
        changed = tensor.clone()
        part = changed[batch]
        part = part[:, :, rows] if call.by_head else part[:, rows]
        part[1::2] = part[0::2]
        tensors.append(changed)
    return call.with_tensors(*tensors)


def follows_self(edit: PairEdit, layout: AttentionLayout, call: AttentionCall) -> bool:
    """Whether this call is self-attention of the image in which the target follows."""
    n_q, n_k = call.lengths
    options = call.kwargs.get("transformer_options") or {}
    shape = options.get("activations_shape") or ()
    shape = (shape[-2], shape[-1]) if len(shape) == 4 else None
    if not edit.follows or not layout.is_self_attention(n_q, n_k, shape):
        return False
    grid = layout.grid(n_q, shape)
    if layout.patch is not None or grid is None:
        return True
    return layout.level(grid, options.get("block")) >= edit.least_level


def edited_cross(
    call: AttentionCall, out: Tensor, batch: slice, edit: PairEdit, layout: AttentionLayout, number: int
) -> None:
    """Cross-attention of the pairs in `batch`, text-to-image call `number` of its pass.

    Writes the target images' result into `out`.
    """
    maps = edit.maps if edit.acts_in(number) else None
    grid = _blend_grid(call, edit, layout)
    if maps is None and grid is None:
        return
    for first in range(batch.start, batch.stop, 2):  # pair by pair, as all probabilities are in memory
        p, values = call.text_probabilities(slice(first, first + 2))
        source, target = p[:1], p[1:]
        if maps is not None:
            rows, columns = maps.take.shape
            target = maps.edited(_folded(source, rows), _folded(target, columns))
            out[first + 1 : first + 2] = call.formed(target @ values[1:, :, :columns])
        if grid is not None and edit.keep is not None:
            edit.keep(layout, grid, _of_words(source, edit.blend[0]), _of_words(target, edit.blend[1]))


def edited_joint(
    call: AttentionCall, out: Tensor, batch: slice, edit: PairEdit, layout: AttentionLayout, keys_of: KeysOf
) -> None:
    """Joint attention of the pairs in `batch`: weights of the target's words, and maps for the mask.

    Writes the target images' result into `out`.
    """
    n_q, _ = call.lengths
    rows = slice(0, n_q) if layout.patch is None else layout.rows(n_q)
    if edit.weights:
        _reweight(call, out, slice(batch.start + 1, batch.stop, 2), rows, edit, keys_of)
    grid = _blend_grid(call, edit, layout)
    if grid is None or edit.keep is None:
        return
    own = [[key for column in words for key in keys_of(column)] for words in edit.blend]
    read = sorted({*own[0], *own[1]})
    _, p, _ = call.with_probabilities(batch, rows, read, _part(call, out, batch, rows))
    picked = [[read.index(key) for key in keys] for keys in own]
    edit.keep(layout, grid, _of_words(p[0::2], picked[0]), _of_words(p[1::2], picked[1]))


def _reweight(
    call: AttentionCall, out: Tensor, targets: slice, rows: slice, edit: PairEdit, keys_of: KeysOf
) -> None:
    keys, changes = [], []
    for column, a, g in edit.weights:
        keys += keys_of(column)
        changes += [(a, g)] * len(keys_of(column))
    known = _part(call, out, targets, rows)
    result, p, values = call.with_probabilities(targets, rows, keys, known)
    a, g = (onto(torch.tensor(numbers), p) for numbers in zip(*changes))
    known[:] = call.formed(weighted_output(result, values, p, a, g))


def _part(call: AttentionCall, out: Tensor, batch: slice, rows: slice) -> Tensor:
    """A part of the call's result, as a view."""
    return out[batch][:, :, rows] if call.output_token_dim == 2 else out[batch][:, rows]


def _blend_grid(call: AttentionCall, edit: PairEdit, layout: AttentionLayout) -> tuple[int, int] | None:
    """The grid of a call whose maps are wanted for the mask, None if they are not."""
    if edit.keep is None:
        return None
    try:
        grid = layout.cells(call.lengths[0])
    except ValueError:  # tokens were merged: they have no places
        return None
    options = call.kwargs.get("transformer_options") or {}
    level = layout.level(grid, options.get("block"))
    return grid if not edit.levels or level in edit.levels else None


def _folded(p: Tensor, rows: int) -> Tensor:
    """Probabilities of a text of `rows` rows that ComfyUI has repeated: [.., r rows] -> [.., rows]."""
    return p.unflatten(-1, (-1, rows)).sum(-2)


def _of_words(p: Tensor, columns: Sequence[int]) -> Tensor:
    """[b, H, image tokens, n] -> [b, image tokens], of all these words together."""
    if not columns:
        return p.new_zeros(len(p), p.shape[2])
    return p[..., list(columns)].sum(-1).mean(1)
