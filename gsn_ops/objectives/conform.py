"""CONFORM: words of one subject attend alike, of different subjects not (Meral et al., CVPR 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import number
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import subject_maps
from ..torch_ops.transfer import onto
from ._regions import count_tokens, phrase_columns
from .base import only_one, register, with_role


def nt_xent(e: Tensor, labels: Sequence[int], temperature: float) -> Tensor:
    """NT-Xent (normalised temperature-scaled cross entropy) over pairs of one label, rows e [B, n, d] -> [B].

    L = mean of l_ij over ordered pairs i != j of one label, s_ij = cos(e_i, e_j) / T,
    l_ij = -ln(exp(s_ij) / (exp(s_ij) + sum of exp(s_in) over the n of other labels)).
    The contrastive loss of CONFORM (Meral et al., CVPR 2024; equation number not verified).
    Without such a pair, or without another label, a differentiable 0.
    """
    if len(set(labels)) in (1, len(labels)):
        return 0 * e.sum((1, 2))
    label = onto(torch.tensor(labels), e, torch.int64)
    same = label[:, None] == label  # [n, n]
    pairs = same.to(e) - torch.eye(len(labels), device=e.device, dtype=e.dtype)
    unit = F.normalize(e, dim=-1)
    s = (unit[:, :, None] * unit[:, None]).sum(-1) / temperature  # [B, n, n]
    others = s.masked_fill(same, -torch.inf).logsumexp(-1, keepdim=True)  # [B, n, 1]
    return (F.softplus(others - s) * pairs).sum((1, 2)) / pairs.sum()


def tokens_of(
    maps: AttentionMaps, subjects: Sequence[SubjectColumns]
) -> tuple[list[SubjectColumns], list[int]]:
    """Every token of every phrase as a subject of its own, and the index of the phrase it belongs to.

    A column that two encoders share is one token.
    """
    tokens: list[SubjectColumns] = []
    labels: list[int] = []
    for j, subject in enumerate(subjects):
        columns = subject.columns("phrase")
        for c in phrase_columns(maps, subject):
            tokens.append(SubjectColumns(subject.phrase, {e: (c,) for e in columns if c in columns[e]}))
            labels.append(j)
    return tokens, labels


@register("conform")
@dataclass(frozen=True)
class Conform:
    """L = NT-Xent over the maps of all tokens of all phrases, and the same tokens' previous maps.

    temperature: T. use_previous: compare with the previous step as well.
    """

    temperature: float = 0.5
    use_previous: bool = True
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        number("temperature", self.temperature, more_than=0, published="0.5")

    @property
    def has_memory(self) -> bool:
        """Whether its loss at a run's first step lacks a term, for want of an earlier one."""
        return self.use_previous

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        tokens, labels = tokens_of(maps, with_role(subjects))
        e = subject_maps(maps, tokens, self.maps).flatten(2)  # [B, tokens, (h w)]
        if self.use_previous and context.previous is not None:
            before = subject_maps(context.previous, tokens, self.maps).detach().flatten(2)
            e, labels = torch.cat([e, before], 1), labels * 2
        return nt_xent(e, labels, self.temperature)

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """Pairs of one subject are needed, and of different ones: tokens, or those of an earlier step."""
        wanted = with_role(subjects)
        if len(wanted) < 2:
            return only_one(subjects)
        earlier = self.use_previous and compares
        if earlier or any(count_tokens(subject) > 1 for subject in wanted):
            return ""
        return (
            "it compares the words of one subject, and every subject here is a single token: add "
            "attributes to the prompt, or use it at several steps"
        )
