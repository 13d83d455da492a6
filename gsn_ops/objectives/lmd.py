"""LMD's energy: every head attends to a subject inside its boxes (Lian et al., TMLR 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..torch_ops.transfer import onto
from ._regions import must_be_placed, phrase_columns, placed, top_mean
from .base import register, with_role


def energy(a: Tensor, mask: Tensor, p: float, omega: float) -> Tensor:
    """(1 - mean of k_f largest of a B) + omega mean of k_b largest of a (1 - B): [..., h, w] -> [...].

    Eq. 3 of LMD for one map: k_f = floor(p |B|) and k_b = floor(p |1 - B|), at least 1. mask B: [h, w] on the
    CPU.
    """
    size, cells = int(mask.sum()), a.flatten(-2)  # [..., (h w)]
    b = onto(mask, a).flatten()
    inside = top_mean(cells * b, int(p * size))
    return 1 - inside + omega * top_mean(cells * (1 - b), int(p * (mask.numel() - size)))


@register("lmd")
@dataclass(frozen=True)
class LMD:
    """E = mean over placed subjects and layers of mean over columns of SUM over heads of the `energy`.

    Raw probabilities: no second softmax, no smoothing. p, omega, mask (box convention): as published.
    heads: "sum" = as published, where E > 5 is tested on SD1's 8 heads; "mean" = 8 times the mean over heads,
    the same scale on models with other numbers of heads. Words are all columns of the phrase. Published for
    the middle block and the first up block with text attention (levels 8 and 4 of SD1): blocks="middle_up".
    """

    p: float = 0.2
    omega: float = 4.0
    mask: str = "lmd"
    heads: str = "sum"
    needs: MapNeeds = MapNeeds(heads=True)
    check = staticmethod(must_be_placed)

    def __post_init__(self) -> None:
        choice("mask", self.mask, CONVENTIONS)
        choice("heads", self.heads, ("sum", "mean"))
        number("p", self.p, more_than=0, at_most=1, published="0.2")
        number("omega", self.omega, at_least=0, published="4")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects, losses = with_role(subjects), []
        for layers in maps.heads.values():
            boxes = placed(subjects, context, layers[0].shape[2:4], self.mask)
            for a in layers:  # [B, heads, h, w, n]
                for j, mask in boxes:
                    words = torch.stack([a[..., n] for n in maps.index(phrase_columns(maps, subjects[j]))], 1)
                    e = energy(words, mask, self.p, self.omega)  # [B, words, heads]
                    over_heads = e.sum(2) if self.heads == "sum" else 8 * e.mean(2)  # [B, words]
                    losses.append(over_heads.mean(1))
        return torch.stack(losses).mean(0)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B], > 0 while E > threshold (published: 5)."""
        return self(maps, subjects, context) - threshold
