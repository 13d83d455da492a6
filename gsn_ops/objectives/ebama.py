"""EBAMA: modifiers attend with their noun, nouns strongly and apart (Zhang et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import NO_SUBJECT, aggregate, maxima, subject_maps, total
from .base import register, with_role
from .syngen import distance

DISTANCES = ("cos", "kl")


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - <a, b> / (|a| |b|) of all pairs of maps [B, m, s] and [B, n, s]: [B, m, n]."""
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return 1 - (a[:, :, None] * b[:, None]).sum(-1)


def between_words(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Distance of two words given by the maps of their tokens, [B, m, s] and [B, n, s]: [B].

    "cos": sum over the tokens of a of the largest over the tokens of b. "kl": the largest of all pairs of
    SynGen's D. Authors' code.
    """
    if kind == "kl":
        return distance(a, b).amax((1, 2))
    return cosine_distance(a, b).amax(2).sum(1)


def binding_energy(noun: Tensor, modifiers: Sequence[Tensor], others: Tensor | None, kind: str) -> Tensor:
    """sum over modifiers m of d(m, noun) - mean over o of d(noun, o), [B, tokens, s] per word -> [B].

    The attribute-object energy of EBAMA for one noun (Zhang et al., ECCV 2024; equation number not verified).
    others: [B, n, s], one map per other token, or None. No modifier: a differentiable 0.
    """
    if not modifiers:
        return 0 * noun.sum((1, 2))
    bound = total(between_words(m, noun, kind) for m in modifiers)
    if others is None:
        return bound
    distances = distance(noun, others) if kind == "kl" else cosine_distance(noun, others)  # [B, m, n]
    apart = distances.amax(1).mean(1)  # of the noun's most distant token
    return bound - len(modifiers) * apart


@register("ebama")
@dataclass(frozen=True)
class Ebama:
    """L = sum over nouns of their `binding_energy` - lam * sum over nouns of max_yx M_noun (its first token).

    The energy compares raw attention maps, M has the second softmax.
    distance: "cos" as published, or "kl", SynGen's D. lam: lambda. Other tokens are those of the prompt
    outside the phrase. Encoders are evaluated separately, the losses averaged.
    """

    distance: str = "cos"
    lam: float = 0.5
    maps: MapOptions = MapOptions()
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("distance", self.distance, DISTANCES)
        number("lam", self.lam, published="0.5")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects, spans = with_role(subjects), maps.prompt or maps.spans
        a = aggregate(maps).flatten(1, 2)  # [B, (h w), n]
        of_column = dict(zip(maps.columns, a.unbind(-1), strict=True))  # column -> [B, s]
        losses = []
        for encoder in dict.fromkeys(span.encoder for span in maps.spans):
            known = [s for s in subjects if s.noun.get(encoder)]
            prompt = [c for s in spans if s.encoder == encoder for c in range(s.start, s.stop)]
            if known:
                energy = total(self._energy(of_column, prompt, s, encoder) for s in known)
                losses.append(energy - self.lam * self._strength(maps, known, encoder))
        if not losses:
            raise ValueError(NO_SUBJECT)
        return total(losses) / len(losses)

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """Without the term of strength only modifiers are left."""
        if self.lam or any(any(m.values()) for s in with_role(subjects) for m in s.modifiers):
            return ""
        return "it binds attributes, and no subject has one (lam=0): raise lam, or add an attribute"

    def _energy(
        self, of_column: dict[int, Tensor], prompt: Sequence[int], subject: SubjectColumns, encoder: str
    ) -> Tensor:
        def maps_of(columns: Sequence[int]) -> Tensor:
            return torch.stack([of_column[c] for c in columns], 1)  # [B, tokens, s]

        own = subject.columns("phrase")[encoder]
        other = [c for c in prompt if c not in own]
        modifiers = [maps_of(m[encoder]) for m in subject.modifiers if m.get(encoder)]
        others = maps_of(other) if other else None
        return binding_energy(maps_of(subject.noun[encoder]), modifiers, others, self.distance)

    def _strength(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], encoder: str) -> Tensor:
        """Sum over nouns of the highest attention to the first token: [B]."""
        first = [replace(s, noun={encoder: s.noun[encoder][:1]}, modifiers=()) for s in subjects]
        return maxima(subject_maps(maps, first, self.maps)).sum(1)
