"""Self-Cross Guidance: positions of one subject do not attend to those of another (Qiu et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..subject_maps import smooth, subject_maps
from ._foreground import otsu_mask
from ._self_attention import weighted_rows
from .attend_and_excite import presence
from .base import register, with_role
from .initno import InitNOTerms, stray_attention
from .per_encoder import one_encoder

PUBLISHED_GRID = 16


def self_cross_overlap(s: Tensor, c: Tensor) -> Tensor:
    """L_sc = mean over ordered pairs i != j of sum min(S_j / sum(S_j), C_i), maps [B, k, h, w] each -> [B].

    s: aggregated self-attention of each subject, c: its cross-attention. One subject: a differentiable 0.
    Self-Cross Guidance (Qiu et al., CVPR 2025; equation number not verified).
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

    S_j = sum over positions u in the Otsu foreground of M_j of M_j(u) row(u), smoothed; C_i = M_i.
    top_k: values averaged in L_c. overlap_target: what L_sc must reach in a refinement. normalise: C_i = M_i
    / sum(M_i), "auto" = on grids larger than 16 pixels, "always" (published for SD3) or "never". joined:
    "mean" of the encoders' maps, or "max" of them (published for SD3.5).
    """

    phase: str = "init"
    top_k: int = 16
    overlap_target: float = 0.3
    normalise: str = "auto"
    joined: str = "mean"
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds(self_rows=True)

    def __post_init__(self) -> None:
        choice("phase", self.phase, ("init", "refine", "guidance"))
        choice("normalise", self.normalise, ("auto", "always", "never"))
        choice("joined", self.joined, ("mean", "max"))
        number("top_k", self.top_k, at_least=1, published="16")
        number("overlap_target", self.overlap_target, at_least=0, at_most=1, published="0.3")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        terms = self.terms(maps, subjects, context)
        clean = 1.0 if self.phase == "init" else 0.1
        return terms.cross + terms.overlap + clean * terms.clean

    def terms(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> InitNOTerms:
        """The terms separately, for the success test of InitNO's noise phase."""
        m = self._subject_maps(maps, subjects)
        cross = presence(m, self.top_k)
        overlap = self._overlap(maps, m)
        gated = torch.where(cross > 0.5, 0 * overlap, overlap)
        return InitNOTerms(cross, gated, stray_attention(m), 0 * cross)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while L_c > 1 - threshold or L_sc > overlap_target, as in InitNO."""
        m = self._subject_maps(maps, subjects)
        lacking = presence(m, self.top_k) - (1 - threshold)
        return torch.maximum(lacking, self._overlap(maps, m) - self.overlap_target)

    def _overlap(self, maps: AttentionMaps, m: Tensor) -> Tensor:
        """L_sc of subject maps [B, k, h, w]: [B]."""
        if m.shape[1] == 1:
            return 0 * m.sum((1, 2, 3))
        o = self.maps
        aggregated = weighted_rows(maps, m * otsu_mask(m).to(m))
        s = smooth(aggregated, o.kernel_size, o.kernel_sigma, o.legacy_sigma)
        large = max(m.shape[-2:]) > PUBLISHED_GRID
        if self.normalise == "always" or (self.normalise == "auto" and large):
            return self_cross_overlap(s, m / m.sum((2, 3), keepdim=True).clamp(min=1e-12))
        return self_cross_overlap(s, m)

    def _subject_maps(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns]) -> Tensor:
        """Cross-attention of the wanted subjects [B, k, h, w]: mean over encoders, or the largest of them."""
        subjects = with_role(subjects)
        mean = subject_maps(maps, subjects, self.maps)
        names = list(dict.fromkeys(span.encoder for span in maps.spans))
        if self.joined == "mean" or len(names) == 1:
            return mean
        views = {name: one_encoder(maps, subjects, name)[0] for name in names}
        largest = []
        for s in subjects:
            per_encoder = [subject_maps(views[n], [s], self.maps)[:, 0] for n in names if s.noun.get(n)]
            largest.append(torch.stack(per_encoder).amax(0))
        return torch.stack(largest, 1)
