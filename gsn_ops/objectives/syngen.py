"""SynGen: a modifier attends where its noun does and other words do not (Rassin et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..option_checks import choice
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import aggregate, total
from .base import register, with_role

WordColumns = tuple[int, ...]
"""Columns that count as one word."""
Entity = tuple[WordColumns, list[WordColumns]]
"""A noun and its modifiers."""


def distance(a: Tensor, b: Tensor) -> Tensor:
    """D(a, b) = (KL(p || q) + KL(q || p)) / 2 of all pairs of maps [B, m, s] and [B, n, s]: [B, m, n].

    p and q are the maps as distributions over their s positions (Rassin et al., unnumbered, section 3.2).
    Inside the logarithms they are clamped to eps ... 1 - eps of the dtype, as in the authors' code.
    """
    p = a / a.sum(-1, keepdim=True).clamp(min=1e-12)
    q = b / b.sum(-1, keepdim=True).clamp(min=1e-12)
    eps = torch.finfo(a.dtype).eps
    log_p, log_q = p.clamp(eps, 1 - eps).log(), q.clamp(eps, 1 - eps).log()
    return ((p[:, :, None] - q[:, None]) * (log_p[:, :, None] - log_q[:, None])).sum(-1) / 2  # [B, m, n]


def pair_distance(a: Tensor, b: Tensor) -> Tensor:
    """D of two words by the maps of their tokens, [B, m, s] and [B, n, s]: the largest over pairs, [B]."""
    return distance(a, b).amax((1, 2))


def away(word: Tensor, others: Tensor | None) -> Tensor:
    """neg(e) = -mean over o of D(e, o): word [B, m, s] (its tokens), others [B, n, s] or None -> [B]."""
    if others is None:
        return 0 * word.sum((1, 2))
    return -distance(word, others).amax(1).mean(1)


def binding(
    noun: Tensor, modifiers: Sequence[Tensor], others: Tensor | None, include_entity: bool = False
) -> Tensor:
    """One entity's part of the loss, words as maps of their tokens [B, m, s]: [B].

    L_pos + L_neg of Rassin et al. (eq. 1 and 2): sum over its modifiers of D(m, noun) + (neg(noun) + neg(m))
    / 2; without modifiers neg(noun) if include_entity, else a differentiable 0.
    """
    if not modifiers:
        return away(noun, others) if include_entity else 0 * noun.sum((1, 2))
    return total(pair_distance(m, noun) + (away(noun, others) + away(m, others)) / 2 for m in modifiers)


def entity_columns(subjects: Sequence[SubjectColumns], encoder: str) -> list[Entity]:
    """(noun, modifiers) of the subjects that an encoder has, as columns."""
    found: list[Entity] = []
    for s in subjects:
        if s.noun.get(encoder):
            found.append((tuple(s.noun[encoder]), [tuple(m[encoder]) for m in s.modifiers if m.get(encoder)]))
    return found


@register("syngen")
@dataclass(frozen=True)
class SynGen:
    """L = sum over entities of their `binding`, on the raw attention maps (no second softmax, no smoothing).

    variant: "original" = each token has its own map, the largest distance of a pair counts, and only entities
    with modifiers count unless include_entities; "group_mean" = a word is the mean map of its tokens and all
    entities count (Latent Refine's "+", SAGA+).
    skip: leading tokens of the prompt that are no "other" words; -1 = those of a template such as "a photo
    of", if it begins with one (about +1 TIAM point in the appendix of Grimal et al.). Encoders are evaluated
    separately, the losses averaged. No entity that counts: a differentiable 0.
    """

    variant: str = "original"
    include_entities: bool = False
    skip: int = 0
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("variant", self.variant, ("original", "group_mean"))
        if self.skip < -1:
            raise ValueError(
                f"The option 'skip' is {self.skip}: it counts tokens at the beginning of the prompt: choose "
                "0 or more, or -1 for those of a template."
            )

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        a = aggregate(maps).flatten(1, 2)  # [B, (h w), n]
        of_column = dict(zip(maps.columns, a.unbind(-1), strict=True))  # column -> [B, s]
        losses = []
        spans = maps.prompt or maps.spans
        for encoder in dict.fromkeys(span.encoder for span in spans):
            known = entity_columns(with_role(subjects), encoder)
            if known:
                prompt = [c for s in spans if s.encoder == encoder for c in range(s.start, s.stop)]
                skipped = maps.template.get(encoder, 0) if self.skip < 0 else self.skip
                losses.append(self._one_encoder(of_column, prompt[skipped:], known))
        return total(losses) / len(losses) if losses else 0 * a.sum((1, 2))

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """Without modifiers only entities are left, if they count."""
        entities_count = self.include_entities or self.variant == "group_mean"
        if entities_count or any(any(m.values()) for s in with_role(subjects) for m in s.modifiers):
            return ""
        return (
            "it binds attributes to objects, and no subject has an attribute (such as red in 'red car'): add "
            "an attribute to the prompt, or choose Latent Refine"
        )

    def _one_encoder(
        self, of_column: dict[int, Tensor], prompt: list[int], known: Sequence[Entity]
    ) -> Tensor:
        """The loss [B] on one encoder's columns."""
        grouped = self.variant == "group_mean"

        def maps_of(columns: WordColumns) -> Tensor:
            tokens = torch.stack([of_column[c] for c in columns], 1)  # [B, tokens, s]
            return tokens.mean(1, keepdim=True) if grouped else tokens

        words: list[WordColumns] = []  # that others are compared with
        if grouped:
            words = list(dict.fromkeys(word for noun, modifiers in known for word in (noun, *modifiers)))
        taken = {column for word in words for column in word}
        words += [(column,) for column in prompt if column not in taken]
        losses = []
        for noun, modifiers in known:
            own = {column for word in (noun, *modifiers) for column in word}
            apart = [maps_of(word) for word in words if not own.intersection(word)]
            others = torch.cat(apart, 1) if apart else None
            all_count = grouped or self.include_entities
            losses.append(binding(maps_of(noun), [maps_of(m) for m in modifiers], others, all_count))
        return total(losses)
