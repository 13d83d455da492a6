"""What changes in the attention to one prompt of a pass: edits of its words, as factors of keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...torch_ops.transfer import onto
from .look import Look
from .paired import PairEdit

Factor = float | Tensor
"""Of the probability of a key: of all images, or [B] of each."""
NO_COLUMN = -1
"""In place of the column of a key that is not the prompt's own."""


@dataclass(frozen=True)
class TextEdit:
    """What changes in the attention to one prompt.

    columns: rows of its conditioning. a, g: factors of their probability and value (`word_weights`).
    blocks: which text-to-image calls of a pass, None = all. text_rows: whether the text's queries are changed
    too. gamma: factor of the scores of all its rows, for the image's queries (`taca`). appended: columns
    count the keys that this pass has behind the prompt's own.
    """

    columns: tuple[int, ...] = ()
    a: tuple[Factor, ...] = ()
    g: tuple[float, ...] = ()
    blocks: range | None = None
    text_rows: bool = False
    gamma: float = 1.0
    appended: bool = False


@dataclass(frozen=True)
class EditedPrompt:
    """One prompt of a pass: where its text is in the attention, and what changes there.

    period, repeats: ComfyUI repeats a shorter conditioning to the length of the others; its own rows, and how
    often they occur. rows: columns of the text in the attention. pair: of prompts whose images are
    pairs. looks: read the attention to it.
    """

    layout: AttentionLayout
    edits: tuple[TextEdit, ...] = ()
    period: int = 0
    repeats: int = 1
    rows: int = 0
    pair: PairEdit | None = None
    looks: tuple[Look, ...] = ()

    def keys_of(self, column: int, n_q: int) -> list[int]:
        """The keys of a row of the conditioning in a text-to-image call with n_q queries."""
        first = self.layout.columns(slice(column, column + 1), n_q).start
        return [first + r * self.period for r in range(self.repeats)]


@dataclass(frozen=True)
class KeyFactors:
    """Factors of some keys in one call, in the order of the keys, and the keys' rows of the conditioning.

    gamma: factor of the scores of the keys `text`.
    """

    keys: list[int]
    columns: list[int]
    a: list[Factor]
    g: list[float]
    gamma: float
    text: slice

    @property
    def change(self) -> bool:
        """Whether there is any."""
        return bool(self.keys) or self.gamma != 1

    @property
    def kept(self) -> Tensor | None:
        """The images [B] in which all factors are 1, which keep their bits; None where that cannot be."""
        own = [a for a in self.a if isinstance(a, Tensor)]
        others = [1.0 for a in self.a if not isinstance(a, Tensor) and a != 1]
        if not own or others or self.gamma != 1 or any(g != 1 for g in self.g):
            return None
        return torch.stack(own).eq(1).all(0)


def image_rows(layout: AttentionLayout, n_q: int) -> slice:
    """The image's queries. All of a UNet's, whatever their number (tokens may have been merged)."""
    if layout.patch is None:
        return slice(0, n_q)
    return layout.rows(n_q)


def combined(prompt: EditedPrompt, edits: Sequence[TextEdit], n_q: int) -> KeyFactors:
    """All edits of one prompt as factors of keys; where several change one word, their factors multiply."""
    changed = _products([edit for edit in edits if not edit.appended])
    first = prompt.layout.columns(slice(0, 1), n_q).start
    columns = list(changed) * prompt.repeats
    keys = [first + column + r * prompt.period for r in range(prompt.repeats) for column in changed]
    a = [a for a, _ in changed.values()] * prompt.repeats
    g = [g for _, g in changed.values()] * prompt.repeats
    more = _products([edit for edit in edits if edit.appended])
    keys += [first + prompt.period * prompt.repeats + column for column in more]
    columns += [NO_COLUMN] * len(more)
    a += [a * prompt.repeats for a, _ in more.values()]  # as often as the prompt's own keys are there
    g += [g for _, g in more.values()]
    gamma = math.prod(edit.gamma for edit in edits)
    return KeyFactors(keys, columns, a, g, gamma, slice(first, first + prompt.rows))


def _products(edits: Sequence[TextEdit]) -> dict[int, tuple[Factor, float]]:
    """The columns that change -> factors of probability and value."""
    factors: dict[int, tuple[Factor, float]] = {}
    for edit in edits:
        for column, a, g in zip(edit.columns, edit.a, edit.g, strict=True):
            old_a, old_g = factors.get(column, (1.0, 1.0))
            factors[column] = (old_a * a, old_g * g)
    return {column: (a, g) for column, (a, g) in factors.items() if isinstance(a, Tensor) or (a, g) != (1, 1)}


def stacked(a: Sequence[Factor], p: Tensor) -> Tensor:
    """Factors as [J], or [b, 1, 1, J] where images have their own; p [b, H, n, J]."""
    if not any(isinstance(one, Tensor) for one in a):
        return onto(torch.tensor(a), p)
    rows = [one.to(p) if isinstance(one, Tensor) else p.new_full((len(p),), one) for one in a]
    return torch.stack(rows, -1)[:, None, None]
