"""Attention maps as data, and the road from raw attention to one map per subject."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .prompt import Span
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
        raise ValueError(
            f"blocks is '{blocks}': write auto, {MIDDLE_UP} (of a UNet), or the first and last layer counted from 0, such as 5-12."
        )
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
            {level: a[pick] for level, a in self.cross.items()},
            self.columns,
            self.spans,
            {level: tuple(a[pick] for a in layers) for level, layers in self.heads.items()},
            {
                level: (lambda cells, rows=rows: rows(cells.expand(batch, -1))[pick])
                for level, rows in self.self_rows.items()
            },
            self.prompt,
            self.template,
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
