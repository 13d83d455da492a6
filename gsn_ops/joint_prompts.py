"""Several prompts that a model reads at once, each by itself: their tokens, subjects and maps as one.

The columns of the second prompt follow those of the first, and its encoders have names of their own, so that
an objective sees all subjects together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor

from .maps import AttentionMaps
from .prompt import EncoderTokens, PromptTokens, Span, SubjectColumns

MAX_FOUND = 5
"""Subjects of all prompts together that are chosen automatically, as of one prompt."""

Place = tuple[int, int, int, int]
"""Cells of a map that a prompt is painted in: height, width, and the first row and column, of a latent."""


def encoder_name(name: str, prompt: int) -> str:
    """The name of an encoder of the prompt with this number, counted from 0."""
    return name if prompt == 0 else f"{name} (prompt {prompt + 1})"


def first_columns(prompts: Sequence[PromptTokens]) -> list[int]:
    """The joint column of each prompt's first row."""
    return [0, *accumulate(tokens.rows for tokens in prompts)][:-1]


def join_tokens(prompts: Sequence[PromptTokens]) -> PromptTokens:
    """The tokens of all prompts, with joint columns."""
    encoders = tuple(
        _moved(encoder, n, start)
        for n, (tokens, start) in enumerate(zip(prompts, first_columns(prompts)))
        for encoder in tokens.encoders
    )
    return replace(prompts[0], encoders=encoders, rows=sum(tokens.rows for tokens in prompts))


def _moved(encoder: EncoderTokens, n: int, start: int) -> EncoderTokens:
    pieces = tuple(replace(p, column=None if p.column is None else p.column + start) for p in encoder.pieces)
    chunks = tuple((a + start, b + start, c + start) for a, b, c in encoder.chunks)
    return replace(encoder, name=encoder_name(encoder.name, n), pieces=pieces, chunks=chunks)


def join_subjects(
    subjects: Sequence[Sequence[SubjectColumns]], starts: Sequence[int]
) -> tuple[list[SubjectColumns], list[str]]:
    """(the subjects of all prompts with joint columns, labels of those left out).

    A label that several prompts have is one subject. Of subjects that were found automatically the first of
    each prompt come first, and at most five are taken; the order of what is typed stays.
    """
    moved = [[_with_columns(s, n, starts[n]) for s in of_prompt] for n, of_prompt in enumerate(subjects)]
    in_turn = [s for of_prompt in moved for s in of_prompt]
    found = all(s.phrase.source == "found" for s in in_turn)
    if found:
        ranked = [(k, n) for n, of_prompt in enumerate(moved) for k in range(len(of_prompt))]
        in_turn = [moved[n][k] for k, n in sorted(ranked)]
    by_label: dict[str, SubjectColumns] = {}
    for subject in in_turn:
        known = by_label.get(subject.label)
        by_label[subject.label] = subject if known is None else _merged(known, subject)
    kept = list(by_label.values())
    if not found:
        return kept, []
    return kept[:MAX_FOUND], [s.label for s in kept[MAX_FOUND:]]


def _with_columns(subject: SubjectColumns, n: int, start: int) -> SubjectColumns:
    def moved(columns: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {encoder_name(name, n): tuple(c + start for c in found) for name, found in columns.items()}

    return replace(subject, noun=moved(subject.noun), modifiers=tuple(map(moved, subject.modifiers)))


def _merged(a: SubjectColumns, b: SubjectColumns) -> SubjectColumns:
    modifiers = tuple({**x, **y} for x, y in zip(a.modifiers, b.modifiers))
    return replace(a, noun={**a.noun, **b.noun}, modifiers=modifiers)


def join_maps(
    maps: Sequence[AttentionMaps],
    starts: Sequence[int],
    places: Sequence[Place | None],
    latent: tuple[int, int],
) -> AttentionMaps:
    """The maps of all prompts at one state, columns one after the other.

    places: where each prompt is painted, None = everywhere; there is no attention to it elsewhere. latent:
    (h, w). Rows of self-attention are those of the first prompt.
    """
    cross, heads = {}, {}
    for level in maps[0].cross:
        if not all(level in m.cross for m in maps):
            continue
        size = _grid(latent, level)
        placed = [_placed(m.cross[level], level, place, size) for m, place in zip(maps, places)]
        cross[level] = torch.cat(placed, -1)
        if maps[0].heads:
            layers = zip(*(m.heads[level] for m in maps), strict=True)
            heads[level] = tuple(
                torch.cat([_placed(p, level, place, size) for p, place in zip(layer, places)], -1)
                for layer in layers
            )
    columns = tuple(c + start for m, start in zip(maps, starts) for c in m.columns)
    spans, prompt = (
        tuple(
            _moved_span(span, n, start) for n, (m, start) in enumerate(zip(maps, starts)) for span in pick(m)
        )
        for pick in (lambda m: m.spans, lambda m: m.prompt or m.spans)
    )
    template = {encoder_name(name, n): size for n, m in enumerate(maps) for name, size in m.template.items()}
    return AttentionMaps(cross, columns, spans, heads, maps[0].self_rows, prompt, template)


def _moved_span(span: Span, n: int, start: int) -> Span:
    return Span(encoder_name(span.encoder, n), span.start + start, span.stop + start)


def _grid(latent: tuple[int, int], level: int) -> tuple[int, int]:
    return -(-latent[0] // level), -(-latent[1] // level)


def _placed(p: Tensor, level: int, place: Place | None, size: tuple[int, int]) -> Tensor:
    """Maps [.., h, w, n] of a part of the image in those of the whole image, zero elsewhere."""
    if place is None:
        return p
    whole = p.new_zeros(*p.shape[:-3], *size, p.shape[-1])
    top, left = min(place[2] // level, size[0] - 1), min(place[3] // level, size[1] - 1)
    part = p[..., : size[0] - top, : size[1] - left, :]
    h, w = part.shape[-3:-1]
    whole[..., top : top + h, left : left + w, :] = part
    return whole
