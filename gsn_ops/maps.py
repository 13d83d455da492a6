"""Attention maps as data, and the road from raw attention to one map per subject."""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .prompt import Span, SubjectColumns
from .regions import Region


@dataclass(frozen=True)
class MapNeeds:
    """What an objective wants captured.

    levels: latent height / map height, e.g. (2,); None = the default levels of the architecture.
    heads: keep the maps of single layers and heads as well (`AttentionMaps.heads`).
    self_rows: keep what is needed to evaluate rows of self-attention (`AttentionMaps.self_rows`).
    span: which columns take part in the second softmax: "auto" (the architecture's), "legacy_sd1" or "prompt_only".
    blocks: which attention layers are read: "auto" (the architecture's), "middle_up" (of a UNet the middle and the first block
    after it that attends to text, whatever their levels; elsewhere as "auto"), or the first and last of a pass, "5-12".
    encoders: whose columns are read, of a model with several text encoders: "all", or see `PromptTokens.only`.
    """

    levels: tuple[int, ...] | None = None
    heads: bool = False
    self_rows: bool = False
    span: str = "auto"
    blocks: str = "auto"
    encoders: str = "all"


MIDDLE_UP = "middle_up"


def block_range(blocks: str) -> range | None:
    """Which text-to-image layers of a pass, counted from 0, "5-12" names; None for "auto" and "middle_up". Raises ValueError."""
    if blocks in ("auto", MIDDLE_UP):
        return None
    numbers = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", blocks)
    found = range(int(numbers[1]), int(numbers[2] or numbers[1]) + 1) if numbers else ()
    if not found:
        raise ValueError(f"blocks is '{blocks}': write auto, {MIDDLE_UP} (of a UNet), or the first and last layer counted from 0, such as 5-12.")
    return found


@dataclass(frozen=True)
class AttentionMaps:
    """Text-to-image attention of one forward pass, with gradients, float32.

    cross: level -> [B, h, w, n] probabilities, mean over layers and heads; n runs over `columns`.
    columns: absolute text column (row of the conditioning) of each n.
    spans: the columns that compete in the second softmax, one span per encoder and chunk.
    heads: level -> one [B, heads, h, w, n] per layer; empty unless asked for.
    self_rows: level -> function of cells [B, r] (row-major indices) giving [B, r, h, w]; empty unless asked for.
    prompt: columns of the prompt's own words, one span per encoder and chunk, ending before the end marker; () = the spans.
    template: encoder -> how many of them, at the beginning, only say what kind of picture it is ("a photo of").
    """

    cross: Mapping[int, Tensor]
    columns: tuple[int, ...]
    spans: tuple[Span, ...]
    heads: Mapping[int, tuple[Tensor, ...]] = field(default_factory=dict)
    self_rows: Mapping[int, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    prompt: tuple[Span, ...] = ()
    template: Mapping[str, int] = field(default_factory=dict)

    def index(self, columns: Sequence[int]) -> list[int]:
        """Positions on the last axis of the maps for absolute columns. Raises KeyError for a missing one."""
        where = {column: n for n, column in enumerate(self.columns)}
        return [where[column] for column in columns]

    def image(self, b: int) -> AttentionMaps:
        """The maps of image `b` alone, batch axis kept."""
        pick = slice(b, b + 1)
        batch = len(next(iter(self.cross.values())))
        return AttentionMaps(
            {level: a[pick] for level, a in self.cross.items()}, self.columns, self.spans,
            {level: tuple(a[pick] for a in layers) for level, layers in self.heads.items()},
            {level: (lambda cells, rows=rows: rows(cells.expand(batch, -1))[pick])
             for level, rows in self.self_rows.items()}, self.prompt, self.template,
        )


@dataclass(frozen=True)
class MapOptions:
    """How raw attention becomes subject maps.

    temperature: factor in the second softmax (100 in Attend-and-Excite and all that follow it).
    kernel_size: odd width of the smoothing kernel, 0 = no smoothing. kernel_sigma: its width in cells.
    legacy_sigma: the published kernel exp(-(d / 2 sigma)^2), which is wider than a Gaussian of that sigma.
    pieces: "noun" = the columns of the noun, "phrase" = those of all words of the phrase (the Latent Refine code).
    """

    temperature: float = 100.0
    kernel_size: int = 3
    kernel_sigma: float = 0.5
    legacy_sigma: bool = True
    pieces: str = "noun"


def onto(t: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A small tensor that the processor made, on the device of `like` and in its dtype (or in `dtype`).

    On CUDA the processor goes on at once: a plain copy waits until the device has done all that it was told before.
    """
    return t.to(like.device, non_blocking=like.is_cuda).to(dtype or like.dtype)


def aggregate(maps: AttentionMaps) -> Tensor:
    """Mean over the captured levels, bilinear to the coarsest: [B, h, w, n]."""
    levels = sorted(maps.cross, reverse=True)
    coarse = maps.cross[levels[0]]
    if len(levels) == 1:
        return coarse
    size = coarse.shape[1:3]
    finer = [maps.cross[level].movedim(-1, 1) for level in levels[1:]]  # [B, n, H, W]
    finer = [F.interpolate(a, size, mode="bilinear", antialias=True).movedim(1, -1) for a in finer]  # [B, h, w, n]
    return torch.stack([coarse, *finer]).mean(0)


def kernel_1d(size: int, sigma: float, legacy: bool) -> Tensor:
    """Axis weights of the separable smoothing kernel, [size], sum 1: exp(-(d/2s)^2) (legacy) or exp(-d^2/2s^2).

    Raises ValueError for an even size, which has no middle.
    """
    if size % 2 == 0:
        raise ValueError(f"The smoothing kernel has size {size}: choose an odd size, or 0 for no smoothing.")
    d = torch.arange(size, dtype=torch.float64) - size // 2
    weight = torch.exp(-((d / (2 * sigma)) ** 2)) if legacy else torch.exp(-(d**2) / (2 * sigma**2))
    return weight / weight.sum()


def smooth(m: Tensor, size: int, sigma: float, legacy: bool = True) -> Tensor:
    """Smooth maps [B, k, h, w] with reflect padding. Size 0, or a grid no larger than the padding, changes nothing.

    Slices and sums instead of pad and convolve, which on CUDA are neither deterministic nor full float32 by default;
    nothing is copied to the device, so a refinement loop never waits here.
    """
    pad = size // 2
    if size == 0 or min(m.shape[-2:]) <= pad:
        return m
    weights = kernel_1d(size, sigma, legacy).tolist()
    for axis in (-2, -1):
        n = m.shape[axis]
        before, after = m.narrow(axis, 1, pad).flip(axis), m.narrow(axis, n - 1 - pad, pad).flip(axis)
        padded = torch.cat([before, m, after], axis)  # n + 2 pad along the axis
        m = sum(weight * padded.narrow(axis, d, n) for d, weight in enumerate(weights))
    return m  # [B, k, h, w]


def group_maps(a: Tensor, groups: Sequence[Sequence[int]], span: slice, options: MapOptions) -> Tensor:
    """Subject maps from raw attention a [B, h, w, n]: [B, k, h, w].

    A second softmax over the columns of `span`, then the mean over each group, then smoothing.
    Group members are positions on the last axis of `a` (they must lie in `span`).
    """
    p = torch.softmax(options.temperature * a[..., span], -1)  # [B, h, w, columns of the span]
    grouped = torch.stack([sum(p[..., i - span.start] for i in g) / len(g) for g in groups], 1)  # [B, k, h, w]
    return smooth(grouped, options.kernel_size, options.kernel_sigma, options.legacy_sigma)


def subject_maps(maps: AttentionMaps, subjects: Sequence[SubjectColumns], options: MapOptions) -> Tensor:
    """One processed map per subject: [B, k, h, w].

    Every span (one per encoder and chunk) is processed by itself; a subject is the mean over the encoders that know it,
    weighted by its number of pieces where a phrase crosses a chunk. Raises ValueError for a subject without columns.
    """
    if not subjects:
        raise ValueError("There is no subject to look at: name at least one word of the prompt.")
    a = aggregate(maps)
    seen: list[dict[str, list[tuple[int, Tensor]]]] = [{} for _ in subjects]  # encoder -> (pieces, map) per chunk
    for span in maps.spans:
        groups = [[c for c in s.columns(options.pieces).get(span.encoder, ()) if span.start <= c < span.stop]
                  for s in subjects]
        present = [j for j, columns in enumerate(groups) if columns]
        if not present:
            continue
        first = maps.index([span.start])[0]
        window = slice(first, first + span.stop - span.start)
        m = group_maps(a, [maps.index(groups[j]) for j in present], window, options)
        for i, j in enumerate(present):
            seen[j].setdefault(span.encoder, []).append((len(groups[j]), m[:, i]))
    result = []
    for subject, encoders in zip(subjects, seen, strict=True):
        if not encoders:
            raise ValueError(f"The subject '{subject.label}' has no column in the captured text.")
        result.append(_mean([(1, _mean(chunks)) for chunks in encoders.values()]))
    return torch.stack(result, 1)  # [B, k, h, w]


def _mean(weighted: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Weighted mean of maps [B, h, w]."""
    total = sum(n for n, _ in weighted)
    return sum(n / total * m for n, m in weighted)


@dataclass(frozen=True)
class StepContext:
    """Where in the run an objective is evaluated.

    index, n_steps: 0-based step within the sampler call and number of steps. sigma: its noise level. c: x = c * z.
    previous: detached maps of the last evaluated step, if any. regions: subject label -> where the user wants it.
    memory: what an objective remembers from step to step of one run (detached tensors); empty when a run starts.
    """

    index: int
    n_steps: int
    sigma: float
    c: float
    previous: AttentionMaps | None = None
    regions: Mapping[str, Region] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
