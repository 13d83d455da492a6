"""Count: as many blobs of attention as the prompt says ("three dogs"); after CountCluster, 2025 (constants
ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import number
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import subject_maps, total
from .base import register, with_role
from .per_encoder import memory_key

ROUNDS = 20


def cluster_centres(m: Tensor, k: int, share: float = 0.25) -> Tensor:
    """k centres (row, column), in cells, of the high cells of maps [B, h, w]: [B, k, 2], detached.

    High are the ceil(share h w) largest cells, at least k. k-means weighted by M over them: the first centre
    is the largest cell, each further one the cell with the largest M d^2, d its distance from the nearest
    centre; 20 rounds; a centre without cells stays. All images at once, and the CPU waits for nothing.
    """
    h, w = m.shape[-2:]
    count = min(h * w, max(k, math.ceil(share * h * w)))
    weight, at = m.detach().flatten(1).topk(count)  # [B, n], largest first
    cells = torch.stack([torch.div(at, w, rounding_mode="floor"), at % w], -1).to(m.dtype)  # [B, n, 2]
    centres = cells[:, :1]
    for _ in range(k - 1):
        far = weight * _distances(cells, centres).amin(-1)
        next_one = far.argmax(1)[:, None, None].expand(-1, 1, 2)
        centres = torch.cat([centres, cells.gather(1, next_one)], 1)
    for _ in range(ROUNDS):
        nearest = _distances(cells, centres).argmin(-1)  # [B, n]
        mine = (nearest[..., None] == torch.arange(k, device=m.device)) * weight[..., None]  # [B, n, k]
        mass = mine.sum(1)[..., None]  # [B, k, 1]
        means = mine.mT @ cells / mass.clamp(min=1e-12)
        centres = torch.where(mass > 0, means, centres)
    return centres


def _distances(cells: Tensor, centres: Tensor) -> Tensor:
    """Squared distances [B, n, k] of cells [B, n, 2] from centres [B, k, 2]."""
    return (cells[:, :, None] - centres[:, None]).square().sum(-1)


def blobs(centres: Tensor, radius: float, like: Tensor) -> Tensor:
    """T = sum_i exp(-|u - c_i|^2 / (2 radius^2)), normalised: centres [B, k, 2] in cells -> [B, h, w]."""
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) for n in like.shape[-2:])
    dy, dx = y - centres[..., :1], x - centres[..., 1:]  # [B, k, h], [B, k, w]
    d2 = dy[..., :, None].square() + dx[..., None, :].square()  # [B, k, h, w]
    target = torch.exp(-d2 / (2 * radius**2)).sum(1)
    return target / target.sum((1, 2), keepdim=True).clamp(min=1e-12)


def count_kl(m: Tensor, centres: Tensor, radius: float) -> Tensor:
    """KL(T || P) = sum T (ln T - ln P) with P = M / sum M and T the blobs at these centres; [B, h, w] -> [B].

    Logarithms of at least 1e-8.
    """
    target = blobs(centres, radius, m)
    p = m / m.sum((1, 2), keepdim=True).clamp(min=1e-12)
    return (target * (target.clamp(min=1e-8).log() - p.clamp(min=1e-8).log())).sum((1, 2))


@register("count_kl")
@dataclass(frozen=True)
class CountBlobs:
    """L = mean over the subjects with a number of `count_kl`.

    share: of the cells that count as high attention. spread: radius of a blob of one, as a share of the
    map's larger side; of k blobs it is spread / sqrt(k). Centres are found at the first evaluation of a step
    and then stay.
    """

    share: float = 0.25
    spread: float = 0.25
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        number("share", self.share, more_than=0, at_most=1, published="0.25, ours")
        number("spread", self.spread, more_than=0, published="0.25, ours")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        counted = _counted(subjects)
        m = subject_maps(maps, counted or with_role(subjects), self.maps)
        if not counted:
            return 0 * m.flatten(1).sum(1)
        losses = []
        for j, subject in enumerate(counted):
            radius = self.spread * max(m.shape[-2:]) / math.sqrt(subject.count)
            centres = self._centres(m[:, j], subject, context, memory_key("count_kl", maps))
            losses.append(count_kl(m[:, j], centres, radius))
        return total(losses) / len(losses)

    def _centres(self, m: Tensor, subject: SubjectColumns, context: StepContext, name: str) -> Tensor:
        """[B, k, 2], those of the first evaluation of this step."""
        prefix = f"{name}:{subject.label}:"
        key = f"{prefix}{context.index}"
        if key not in context.memory:
            for old in [k for k in context.memory if k.startswith(prefix)]:
                del context.memory[old]
            context.memory[key] = cluster_centres(m, subject.count, self.share)
        return context.memory[key]

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """A prompt that says no number."""
        if _counted(subjects):
            return ""
        names = ", ".join(f"'{s.label}'" for s in with_role(subjects)) or "none"
        return (
            "it makes as many of a subject as the prompt says, and the prompt says no number of its subjects "
            f"({names}): write a number before the noun, such as three dogs"
        )


def _counted(subjects: Sequence[SubjectColumns]) -> list[SubjectColumns]:
    return [subject for subject in with_role(subjects) if subject.count > 0]
