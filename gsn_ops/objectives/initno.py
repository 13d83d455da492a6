"""InitNO: every subject present, at positions of its own, and nowhere else (Guo et al., CVPR 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..subject_maps import smooth, subject_maps
from ._foreground import blob
from .attend_and_excite import presence
from .base import register, with_role
from .per_encoder import memory_key


def self_overlap(s: Tensor) -> Tensor:
    """L_s = mean over pairs of sum(min(S_a, S_b)) / (sum(S_a + S_b) + 1e-6), maps [B, k, h, w] -> [B].

    S: self-attention maps. Self-attention conflict loss, eq. 5 of InitNO. One subject: a differentiable 0.
    """
    rows = s.flatten(2).unbind(1)  # k of [B, (h w)]
    if len(rows) == 1:
        return 0 * rows[0].sum(1)
    overlaps = [torch.minimum(a, b).sum(1) / ((a + b).sum(1) + 1e-6) for a, b in combinations(rows, 2)]
    return torch.stack(overlaps).mean(0)


def stray_attention(m: Tensor) -> Tensor:
    """L_clean = sum over subjects of bgmax if bgmax > fgmin, maps [B, k, h, w] -> [B] (authors' code only).

    With B = the blob around the maximum: fgmin = min(M B + 1 - B), bgmax = max(M (1 - B)).
    """
    inside = blob(m).to(m)
    weakest = (m * inside + 1 - inside).flatten(2).amin(-1)  # [B, k]
    strongest = (m * (1 - inside)).flatten(2).amax(-1)
    return (strongest * (strongest > weakest)).sum(1)


def noise_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL of N(mu, exp(logvar)) and N(0, 1) = mean(-(1 + logvar - mu^2 - exp(logvar)) / 2), [B, ...] -> [B].

    Eq. 8.
    """
    return (-(1 + logvar - mu.square() - logvar.exp()) / 2).flatten(1).mean(1)


@dataclass(frozen=True)
class InitNOTerms:
    """The terms of InitNO's objective, each [B].

    overlap: 0 while gated; alignment: 0 outside phase "refine".
    """

    cross: Tensor
    overlap: Tensor
    clean: Tensor
    alignment: Tensor


@register("initno")
@dataclass(frozen=True)
class InitNO:
    """InitNO's joint objective in three phases.

    phase: "init" (initial noise) = L_c + L_s + L_clean, L_s gated: 0 while L_c > 0.5; "refine" (later steps,
    authors' code) = L_c + L_s + 0.1 L_clean + 0.1 L_align, no gate; "guidance" (per step) = L_c, which keeps
    the cache of L_align too (authors' code: from step 0 on).
    top_k: values averaged in L_c. overlap_target: what L_s must reach in a refinement. L_align = sum_j mean
    |M_j - cache_j|, cache <- 0.9 cache + 0.1 M, kept in `context.memory`. A loop in which images stop one by
    one writes the continuing ones to context.memory["active"], [B] bool: the others' cache does not change.
    """

    phase: str = "init"
    top_k: int = 1
    overlap_target: float = 0.3
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds(self_rows=True)

    def __post_init__(self) -> None:
        choice("phase", self.phase, ("init", "refine", "guidance"))
        number("top_k", self.top_k, at_least=1, published="1")
        number("overlap_target", self.overlap_target, at_least=0, at_most=1, published="0.3")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        if self.phase == "guidance":
            m = subject_maps(maps, with_role(subjects), self.maps)
            self._alignment(m, memory_key("initno", maps), context.memory)  # a later refinement reads it
            return presence(m, self.top_k)
        return self.total(self.terms(maps, subjects, context))

    def total(self, terms: InitNOTerms) -> Tensor:
        """The phase's loss [B] from its terms."""
        if self.phase == "guidance":
            return terms.cross
        clean = 1.0 if self.phase == "init" else 0.1
        return terms.cross + terms.overlap + clean * terms.clean + 0.1 * terms.alignment

    def terms(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> InitNOTerms:
        """The terms separately, for the success test of the noise phase.

        Phase "refine" updates L_align's cache.
        """
        m = subject_maps(maps, with_role(subjects), self.maps)
        cross, overlap = presence(m, self.top_k), self._overlap(maps, m)
        if self.phase == "init":
            overlap = torch.where(cross > 0.5, 0 * overlap, overlap)
        alignment = 0 * cross
        if self.phase == "refine":
            alignment = self._alignment(m, memory_key("initno", maps), context.memory)
        return InitNOTerms(cross, overlap, stray_attention(m), alignment)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while L_c > 1 - threshold or L_s > overlap_target (phase "guidance": the former only)."""
        m = subject_maps(maps, with_role(subjects), self.maps)
        lacking = presence(m, self.top_k) - (1 - threshold)
        if self.phase == "guidance":
            return lacking
        return torch.maximum(lacking, self._overlap(maps, m) - self.overlap_target)

    def _overlap(self, maps: AttentionMaps, m: Tensor) -> Tensor:
        """L_s of the self-attention maps at the subjects' maxima, on the grid of the subject maps: [B]."""
        if m.shape[1] == 1:
            return 0 * m.sum((1, 2, 3))
        level = max(maps.cross)
        if level not in maps.self_rows:
            raise ValueError(
                "InitNO compares self-attention at the subjects' positions, which is not captured here "
                "(joint attention has none of its own). Choose another objective for this model."
            )
        rows = maps.self_rows[level](m.detach().flatten(2).argmax(-1))  # [B, k, h, w]
        o = self.maps
        return self_overlap(smooth(rows, o.kernel_size, o.kernel_sigma, o.legacy_sigma))

    def _alignment(self, m: Tensor, key: str, memory: dict[str, Tensor]) -> Tensor:
        """L_align [B] against the cache that includes the maps themselves; the first call starts it (0)."""
        now = m.detach()
        cache = memory.get(key)
        moved = now if cache is None else 0.9 * cache + 0.1 * now  # of smoothed maps: smoothing is linear
        if cache is not None and "active" in memory:
            moved = torch.where(memory["active"].view(-1, 1, 1, 1), moved, cache)
        memory[key] = moved
        return (m - moved).abs().mean((2, 3)).sum(1)
