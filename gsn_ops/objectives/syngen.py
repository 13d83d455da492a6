"""SynGen: a modifier looks where its noun looks, and nowhere else (Rassin et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, StepContext
from ..prompt import SubjectColumns
from ..subject_maps import aggregate
from .base import choice, register, with_role

Unit = tuple[int, ...]
"""Columns that count as one word."""


def distance(a: Tensor, b: Tensor) -> Tensor:
    """D(a, b) = (KL(p || q) + KL(q || p)) / 2 of all pairs of maps [B, m, s] and [B, n, s]: [B, m, n].

    p and q are the maps as distributions over their s cells (Rassin et al., section 3.2). Inside the logarithms they
    are clamped to eps ... 1 - eps of the dtype, as in the authors' code.
    """
    p, q = (x / x.sum(-1, keepdim=True).clamp(min=1e-12) for x in (a, b))
    eps = torch.finfo(a.dtype).eps
    log_p, log_q = (x.clamp(eps, 1 - eps).log() for x in (p, q))
    return ((p[:, :, None] - q[:, None]) * (log_p[:, :, None] - log_q[:, None])).sum(-1) / 2  # [B, m, n]


def pair_distance(a: Tensor, b: Tensor) -> Tensor:
    """D of two words given by the maps of their pieces, [B, m, s] and [B, n, s]: the largest over all pairs, [B]."""
    return distance(a, b).amax((1, 2))


def away(word: Tensor, others: Tensor | None) -> Tensor:
    """neg(e) = -mean over o of D(e, o): word [B, m, s] (its pieces), others [B, n, s] or None -> [B]."""
    if others is None:
        return 0 * word.sum((1, 2))
    return -distance(word, others).amax(1).mean(1)


def binding(
    noun: Tensor, modifiers: Sequence[Tensor], others: Tensor | None, include_entity: bool = False
) -> Tensor:
    """One entity's part of the loss, words as maps of their pieces [B, m, s]: [B].

    L_pos + L_neg of Rassin et al. (eq. 1 and 2): sum over its modifiers of D(m, noun) + (neg(noun) + neg(m)) / 2;
    without modifiers neg(noun) if include_entity, else a differentiable 0.
    """
    if not modifiers:
        return away(noun, others) if include_entity else 0 * noun.sum((1, 2))
    return sum(pair_distance(m, noun) + (away(noun, others) + away(m, others)) / 2 for m in modifiers)


def entities(subjects: Sequence[SubjectColumns], encoder: str) -> list[tuple[Unit, list[Unit]]]:
    """(noun, modifiers) of the subjects that an encoder knows, as columns."""
    return [
        (tuple(s.noun[encoder]), [tuple(m[encoder]) for m in s.modifiers if m.get(encoder)])
        for s in subjects
        if s.noun.get(encoder)
    ]


@register("syngen")
@dataclass(frozen=True)
class SynGen:
    """Binds modifiers to their nouns, on the raw attention maps (no second softmax, no smoothing).

    variant: "original" = each piece has its own map, the worst pair counts, and only entities with modifiers do unless
    include_entities; "group_mean" = a word is the mean map of its pieces and all entities count (Latent Refine's "+",
    SAGA+). skip: leading tokens of the prompt that are no "other" words; -1 = those of a template such as "a photo of",
    if it begins with one (about +1 TIAM point in the appendix of Grimal et al.). Encoders are evaluated one by one, the losses averaged.
    No entity that counts: a differentiable 0.
    """

    variant: str = "original"
    include_entities: bool = False
    skip: int = 0
    needs: MapNeeds = MapNeeds()

    def __post_init__(self):
        choice("variant", self.variant, ("original", "group_mean"))
        if self.skip < -1:
            raise ValueError(
                f"The option 'skip' is {self.skip}: it counts tokens at the beginning of the prompt, 0 or more, or is -1."
            )

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        a = aggregate(maps).flatten(1, 2)  # [B, (h w), n]
        of_column = dict(zip(maps.columns, a.unbind(-1), strict=True))  # column -> [B, s]
        losses = []
        spans = maps.prompt or maps.spans
        for encoder in dict.fromkeys(span.encoder for span in spans):
            known = entities(with_role(subjects), encoder)
            prompt = [c for s in spans if s.encoder == encoder for c in range(s.start, s.stop)]
            if known:
                losses.append(
                    self._one_encoder(
                        of_column,
                        prompt[maps.template.get(encoder, 0) if self.skip < 0 else self.skip :],
                        known,
                    )
                )
        return sum(losses) / len(losses) if losses else 0 * a.sum((1, 2))

    def _one_encoder(
        self, of_column: dict[int, Tensor], prompt: list[int], known: list[tuple[Unit, list[Unit]]]
    ) -> Tensor:
        grouped = self.variant == "group_mean"

        def word(unit: Unit) -> Tensor:
            pieces = torch.stack([of_column[c] for c in unit], 1)  # [B, pieces, s]
            return pieces.mean(1, keepdim=True) if grouped else pieces

        words = (
            list(dict.fromkeys(unit for noun, modifiers in known for unit in (noun, *modifiers)))
            if grouped
            else []
        )
        taken = {c for unit in words for c in unit}
        words += [(c,) for c in prompt if c not in taken]
        loss = []
        for noun, modifiers in known:
            own = {c for unit in (noun, *modifiers) for c in unit}
            others = [word(unit) for unit in words if not own.intersection(unit)]
            loss.append(
                binding(
                    word(noun),
                    [word(m) for m in modifiers],
                    torch.cat(others, 1) if others else None,
                    grouped or self.include_entities,
                )
            )
        return sum(loss)
