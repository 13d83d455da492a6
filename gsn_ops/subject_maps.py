"""From raw attention to one map per subject: second softmax, mean over the tokens of a word, smoothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import combinations
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor

from .maps import AttentionMaps, MapOptions
from .prompt import Span, SubjectColumns

NO_SUBJECT = "There is no subject to evaluate: name at least one word of the prompt."


def total(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of one or more tensors."""
    return reduce(add, tensors)


def aggregate(maps: AttentionMaps) -> Tensor:
    """Mean over the captured levels, bilinear to the coarsest: [B, h, w, n]."""
    levels = sorted(maps.cross, reverse=True)
    coarse = maps.cross[levels[0]]
    if len(levels) == 1:
        return coarse
    size = coarse.shape[1:3]
    resized = [coarse]
    for level in levels[1:]:
        finer = maps.cross[level].movedim(-1, 1)  # [B, n, H, W]
        resized.append(F.interpolate(finer, size, mode="bilinear", antialias=True).movedim(1, -1))
    return torch.stack(resized).mean(0)


def kernel_1d(size: int, sigma: float, legacy: bool) -> Tensor:
    """Weights of the separable smoothing kernel along one axis, [size], sum 1.

    exp(-(d / 2 sigma)^2) (legacy) or exp(-d^2 / (2 sigma^2)), d = distance from the middle. Raises ValueError
    for an even size, which has no middle.
    """
    if size % 2 == 0:
        raise ValueError(f"The smoothing kernel has size {size}: choose an odd size, or 0 for no smoothing.")
    d = torch.arange(size, dtype=torch.float64) - size // 2
    weight = torch.exp(-((d / (2 * sigma)) ** 2)) if legacy else torch.exp(-(d**2) / (2 * sigma**2))
    return weight / weight.sum()


def smooth(m: Tensor, size: int, sigma: float, legacy: bool = True) -> Tensor:
    """Smooth maps [B, k, h, w] with reflect padding.

    Size 0, or a grid no larger than the padding, changes nothing. Slices and sums instead of pad and
    convolve, which on CUDA are neither deterministic nor full float32 by default. Nothing is copied to the
    device, so the CPU does not wait for it.
    """
    pad = size // 2
    if size == 0 or min(m.shape[-2:]) <= pad:
        return m
    weights = kernel_1d(size, sigma, legacy).tolist()
    for axis in (-2, -1):
        n = m.shape[axis]
        before = m.narrow(axis, 1, pad).flip(axis)
        after = m.narrow(axis, n - 1 - pad, pad).flip(axis)
        padded = torch.cat([before, m, after], axis)  # n + 2 pad along the axis
        m = total(weight * padded.narrow(axis, d, n) for d, weight in enumerate(weights))
    return m  # [B, k, h, w]


def group_maps(a: Tensor, groups: Sequence[Sequence[int]], span: slice, options: MapOptions) -> Tensor:
    """Subject maps from raw attention a [B, h, w, n]: [B, k, h, w].

    A second softmax over the columns of `span`, then the mean over each group, then smoothing.
    Group members are indices on the last axis of `a`, inside `span`.
    """
    p = torch.softmax(options.temperature * a[..., span], -1)  # [B, h, w, columns of the span]
    means = [total(p[..., i - span.start] for i in group) / len(group) for group in groups]
    grouped = torch.stack(means, 1)  # [B, k, h, w]
    return smooth(grouped, options.kernel_size, options.kernel_sigma, options.legacy_sigma)


def subject_maps(maps: AttentionMaps, subjects: Sequence[SubjectColumns], options: MapOptions) -> Tensor:
    """One processed map per subject: [B, k, h, w].

    Every span (one per encoder and chunk) is processed by itself. A subject is the mean over the encoders
    that have it; within an encoder, chunks are weighted by their number of tokens if a phrase crosses a
    chunk. Raises ValueError for a subject without columns.
    """
    if not subjects:
        raise ValueError(NO_SUBJECT)
    a = aggregate(maps)
    # Per subject: encoder -> (number of tokens, map) of each chunk.
    chunks_of: list[dict[str, list[tuple[int, Tensor]]]] = [{} for _ in subjects]
    for span in maps.spans:
        groups = [_inside(s.columns(options.pieces).get(span.encoder, ()), span) for s in subjects]
        present = [j for j, columns in enumerate(groups) if columns]
        if not present:
            continue
        first = maps.index([span.start])[0]
        window = slice(first, first + span.stop - span.start)
        m = group_maps(a, [maps.index(groups[j]) for j in present], window, options)
        for i, j in enumerate(present):
            chunks_of[j].setdefault(span.encoder, []).append((len(groups[j]), m[:, i]))
    result = []
    for subject, encoders in zip(subjects, chunks_of, strict=True):
        if not encoders:
            raise ValueError(no_column(subject))
        result.append(_mean([(1, _mean(chunks)) for chunks in encoders.values()]))
    return torch.stack(result, 1)  # [B, k, h, w]


def maxima(m: Tensor) -> Tensor:
    """The highest attention of each subject, [B, k], from subject maps [B, k, h, w]."""
    return m.flatten(2).amax(-1)


def separation(m: Tensor) -> Tensor:
    """L_IoU = mean over pairs of sum(min(M_a, M_b)) / sum(M_a + M_b), maps [B, k, h, w] -> [B] in [0, 0.5].

    Eq. 6 of Grimal et al.; times the number of pairs eq. 2 of A-STAR. One subject: a differentiable 0.
    """
    subjects = m.flatten(2).unbind(1)  # k of [B, (h w)]
    if len(subjects) == 1:
        return 0 * subjects[0].sum(1)
    overlaps = [
        torch.minimum(a, b).sum(1) / (a + b).sum(1).clamp(min=1e-12) for a, b in combinations(subjects, 2)
    ]
    return torch.stack(overlaps).mean(0)


def no_column(subject: SubjectColumns) -> str:
    """The error for a subject none of whose columns is in the maps."""
    return f"The subject '{subject.label}' has no column in the captured text: name other words."


def _inside(columns: Sequence[int], span: Span) -> list[int]:
    return [column for column in columns if span.start <= column < span.stop]


def _mean(weighted: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Weighted mean of maps [B, h, w]."""
    weight = sum(n for n, _ in weighted)
    return total(n / weight * m for n, m in weighted)
