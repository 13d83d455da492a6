"""Self-Cross guidance: where one subject is, the cells of another do not look (Qiu et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..subject_maps import smooth, subject_maps
from ._foreground import otsu_mask
from ._self_attention import mixture
from .attend_and_excite import presence
from .base import choice, register, with_role
from .initno import InitNOTerms, stray_attention
from .per_encoder import one_encoder

PUBLISHED_GRID = 16


def mixing(s: Tensor, c: Tensor) -> Tensor:
    """L_sc = mean over ordered pairs i != j of sum min(S_j / sum(S_j), C_i), maps [B, k, h, w] each -> [B].

    s: aggregated self-attention of each subject, c: its cross-attention. One subject: a differentiable 0.
    """
    if s.shape[1] == 1:
        return 0 * s.sum((1, 2, 3))
    s = s / s.sum((2, 3), keepdim=True).clamp(min=1e-12)
    pairs = permutations(range(s.shape[1]), 2)
    return torch.stack([torch.minimum(s[:, j], c[:, i]).sum((1, 2)) for i, j in pairs]).mean(0)


@register("selfcross")
@dataclass(frozen=True)
class SelfCross:
    """L = L_c + w L_clean + L_sc, L_sc = 0 while L_c > 0.5; w = 1 in phase "init" (initial noise), else 0.1.

    S_j = sum over cells u in the Otsu foreground of M_j of M_j(u) row(u), smoothed; C_i = M_i.
    top_k: cells averaged in L_c. overlap_target: what L_sc must reach in a refinement. normalise: "auto" = C_i = M_i /
    sum(M_i) on grids larger than 16 cells, "always" (published for SD3) or "never". encoders: "mean" of the encoders'
    maps, or "max" of them (published for SD3.5).
    """

    phase: str = "init"
    top_k: int = 16
    overlap_target: float = 0.3
    normalise: str = "auto"
    encoders: str = "mean"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds(self_rows=True)

    def __post_init__(self):
        choice("phase", self.phase, ("init", "refine", "guidance"))
        choice("normalise", self.normalise, ("auto", "always", "never"))
        choice("encoders", self.encoders, ("mean", "max"))

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        terms = self.terms(maps, subjects, context)
        return terms.cross + terms.overlap + (1.0 if self.phase == "init" else 0.1) * terms.clean

    def terms(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> InitNOTerms:
        """The parts one by one, for the success test of InitNO's noise phase."""
        m = self._subject_maps(maps, subjects)
        cross = presence(m, self.top_k)
        overlap = self._mixing(maps, m)
        return InitNOTerms(
            cross, torch.where(cross > 0.5, 0 * overlap, overlap), stray_attention(m), 0 * cross
        )

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while L_c > 1 - threshold or L_sc > overlap_target, as in InitNO."""
        m = self._subject_maps(maps, subjects)
        return torch.maximum(
            presence(m, self.top_k) - (1 - threshold), self._mixing(maps, m) - self.overlap_target
        )

    def _mixing(self, maps: AttentionMaps, m: Tensor) -> Tensor:
        """L_sc of subject maps [B, k, h, w]: [B]."""
        if m.shape[1] == 1:
            return 0 * m.sum((1, 2, 3))
        o = self.maps
        s = smooth(mixture(maps, m * otsu_mask(m).to(m)), o.kernel_size, o.kernel_sigma, o.legacy_sigma)
        large = max(m.shape[-2:]) > PUBLISHED_GRID
        if self.normalise == "always" or (self.normalise == "auto" and large):
            return mixing(s, m / m.sum((2, 3), keepdim=True).clamp(min=1e-12))
        return mixing(s, m)

    def _subject_maps(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns]) -> Tensor:
        """Cross-attention of the wanted subjects [B, k, h, w]: mean over encoders, or the largest of them."""
        subjects = with_role(subjects)
        mean = subject_maps(maps, subjects, self.maps)
        names = list(dict.fromkeys(span.encoder for span in maps.spans))
        if self.encoders == "mean" or len(names) == 1:
            return mean
        views = {name: one_encoder(maps, subjects, name)[0] for name in names}
        return torch.stack(
            [
                torch.stack(
                    [subject_maps(views[name], [s], self.maps)[:, 0] for name in names if s.noun.get(name)]
                ).amax(0)
                for s in subjects
            ],
            1,
        )
