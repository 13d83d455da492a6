"""Prompt-to-Prompt: which column of the source prompt's attention each column of the target prompt takes.

Hertz et al., ICLR 2023, arXiv 2208.01626. Equation numbers not verified.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from ..torch_ops.transfer import onto


def align(source: Sequence[Hashable], target: Sequence[Hashable]) -> list[int]:
    """For each piece of the target prompt the piece of the source prompt that it keeps, -1 for a new one.

    A longest common subsequence. Where several exist, read from the end: a target piece is skipped rather
    than a source piece, and that rather than a match.
    """
    length = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, s in enumerate(source, 1):
        for j, t in enumerate(target, 1):
            length[i][j] = max(length[i][j - 1], length[i - 1][j], length[i - 1][j - 1] + (s == t))
    found = [-1] * len(target)
    i, j = len(source), len(target)
    while i and j:
        if length[i][j] == length[i][j - 1]:
            j -= 1
        elif length[i][j] == length[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            found[j] = i
    return found


def refined_maps(source: Tensor, target: Tensor, source_of_target: Sequence[int]) -> Tensor:
    """Refinement: columns that `align` matched take the source's map, the others keep their own.

    source [.., n_source], target [.., n_target]; returns [.., n_target].
    """
    matched = torch.tensor([i >= 0 for i in source_of_target], device=target.device)
    taken = torch.tensor([max(i, 0) for i in source_of_target], device=target.device)
    return torch.where(matched, source.index_select(-1, taken), target)


def replacement(
    pieces_source: Sequence[int],
    pieces_target: Sequence[int],
    changed: Sequence[int],
    n: int,
    published: bool = False,
) -> Tensor:
    """Replacement: R [n, n] of A' = A_source R, for n columns that begin with the start marker.

    pieces_source, pieces_target: pieces of each word; both prompts have as many words. changed: words that
    differ. A changed word's pieces share its source pieces' maps. After the last changed word the authors'
    code copies by target position, which takes wrong pieces where lengths differ (published); otherwise words
    keep their pieces, and what follows the last word starts at the source's end marker.
    """
    mapper = torch.zeros(n, n)
    starts = [list(accumulate(pieces, initial=1)) for pieces in (pieces_source, pieces_target)]
    mapper[0, 0] = 1
    for word, (i, j) in enumerate(zip(*starts)):
        last = word == len(pieces_source)
        if last or (published and word > max(changed, default=-1)):
            size = n - max(i, j)
            rows = range(j, j + size) if published else range(i, i + size)
            mapper[list(rows), list(range(j, j + size))] = 1
            break
        _map_word(mapper, range(i, i + pieces_source[word]), range(j, j + pieces_target[word]))
    return mapper


def _map_word(mapper: Tensor, source: range, target: range) -> None:
    """Piece to piece; where their numbers differ, each target piece takes an equal share of all."""
    if len(source) == len(target):
        mapper[list(source), list(target)] = 1
        return
    mapper[source.start : source.stop, target.start : target.stop] = 1 / len(target)


@dataclass(frozen=True)
class MapEdit:
    """What the target image's attention becomes, column by column of the target prompt.

    take [n_source, n_target]: the source's map as each column's. matched [n_target]: 1 where it is taken, 0
    where a new word keeps its own. factors: of reweighting. share: 1 where the edit acts in this step.
    published: factors as in the paper, which do not keep a row's sum.
    """

    take: Tensor
    matched: Tensor
    factors: Tensor
    share: Tensor
    published: bool = False

    def edited(self, source: Tensor, target: Tensor) -> Tensor:
        """A' of source [.., n_source] and target [.., n_target], [.., n_target]."""
        take, matched, factors, share = (onto(t, target) for t in self._tensors)
        edited = matched * (source @ take) + (1 - matched) * target
        if not self.changes_weights:
            return share * edited + (1 - share) * target
        return share * reweighted(edited, factors, self.published) + (1 - share) * target

    @property
    def changes_weights(self) -> bool:
        """Whether any word is reweighted."""
        return bool((self.factors != 1).any())

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        return self.take, self.matched, self.factors, self.share


def reweighted(maps: Tensor, factors: Tensor, published: bool = False) -> Tensor:
    """Reweighting: A'_j = c_j A_j; maps [.., n], factors [n].

    As published, rows then sum to something else than 1. Otherwise each row keeps its sum: the other words
    give or take what the weighted one gains or loses. A negative factor only changes the sign.
    """
    if published:
        return factors * maps
    positive = factors.where(factors >= 0, 1.0)
    weighted = positive * maps
    total = maps.sum(-1, keepdim=True) / weighted.sum(-1, keepdim=True).clamp(min=1e-3)
    return weighted * total * factors.where(factors < 0, 1.0)
