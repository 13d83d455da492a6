"""Attention maps as data: what an objective needs captured, what a pass gives, how it is processed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from .option_checks import choice, number
from .prompt import Span
from .regions import Region


@dataclass(frozen=True)
class MapNeeds:
    """What an objective needs captured.

    levels: latent height / map height, e.g. (2,); None = the default levels of the architecture.
    heads: keep the maps of single layers and heads as well (`AttentionMaps.heads`).
    self_rows: keep what is needed to compute rows of self-attention (`AttentionMaps.self_rows`).
    span: columns of the second softmax: "auto" (the architecture's), "legacy_sd1" or "prompt_only".
    blocks: attention layers to read: "auto" (the architecture's), "middle_up" (of a UNet the middle block and
    the first block after it with text attention, whatever their levels; elsewhere as "auto"), or the first
    and last layer, "5-12".
    encoders: text encoders whose columns are read: "all", or see `PromptTokens.only`.
    """

    levels: tuple[int, ...] | None = None
    heads: bool = False
    self_rows: bool = False
    span: str = "auto"
    blocks: str = "auto"
    encoders: str = "all"


MIDDLE_UP = "middle_up"
PIECES = ("noun", "phrase")
SPANS = ("auto", "legacy_sd1", "prompt_only")


def block_range(blocks: str) -> range | None:
    """The text-to-image layers of a pass, counted from 0, that "5-12" names; None for "auto" and "middle_up".

    Raises ValueError for anything else.
    """
    if blocks in ("auto", MIDDLE_UP):
        return None
    numbers = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", blocks)
    found = range(int(numbers[1]), int(numbers[2] or numbers[1]) + 1) if numbers else range(0)
    if not found:
        raise ValueError(
            f"blocks is '{blocks}': write auto, {MIDDLE_UP} (of a UNet), or the first and last layer counted "
            "from 0, such as 5-12."
        )
    return found


def parse_levels(text: str) -> tuple[int, ...] | None:
    """Attention levels (latent height / map height): "auto" or "" -> None, "2,4" -> (2, 4). Raises
    ValueError.
    """
    if text.strip().lower() in ("", "auto"):
        return None
    words = re.split(r"[,\s]+", text.strip())
    if not all(re.fullmatch(r"[1-9]\d{0,2}", word) for word in words):
        raise ValueError(
            f"levels is '{text}': write auto, or whole numbers such as 2 or 2,4 "
            "(2 = attention maps of half the latent's height)."
        )
    return tuple(sorted({int(word) for word in words}))


@dataclass(frozen=True)
class AttentionMaps:
    """Text-to-image attention of one forward pass, with gradients, float32.

    cross: level -> [B, h, w, n] probabilities, mean over layers and heads; n runs over `columns`.
    columns: absolute text column (row of the conditioning) of each n.
    spans: the columns of the second softmax, one span per encoder and chunk.
    heads: level -> one [B, heads, h, w, n] per layer; empty unless needed.
    self_rows: level -> function of positions [B, r] (row-major) giving [B, r, h, w]; empty unless needed.
    prompt: columns of the user's own text, one span per encoder and chunk, ending before the end marker; () =
    the spans.
    template: encoder -> number of its leading columns that only say what kind of image it is ("a photo of").
    """

    cross: Mapping[int, Tensor]
    columns: tuple[int, ...]
    spans: tuple[Span, ...]
    heads: Mapping[int, tuple[Tensor, ...]] = field(default_factory=dict)
    self_rows: Mapping[int, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    prompt: tuple[Span, ...] = ()
    template: Mapping[str, int] = field(default_factory=dict)

    def index(self, columns: Sequence[int]) -> list[int]:
        """Indices on the last axis of the maps for absolute columns. Raises KeyError for a missing one."""
        where = {column: n for n, column in enumerate(self.columns)}
        return [where[column] for column in columns]

    def image(self, b: int) -> AttentionMaps:
        """The maps of image `b` alone, batch axis kept."""
        pick = slice(b, b + 1)
        batch = len(next(iter(self.cross.values())))

        def rows_of_image(rows: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            return lambda positions: rows(positions.expand(batch, -1))[pick]

        return replace(
            self,
            cross={level: a[pick] for level, a in self.cross.items()},
            heads={level: tuple(a[pick] for a in layers) for level, layers in self.heads.items()},
            self_rows={level: rows_of_image(rows) for level, rows in self.self_rows.items()},
        )


def of_most_common_grid(layers: Sequence[Tensor]) -> list[Tensor]:
    """The maps [.., h, w, n] of the grid that most of them have, of the last one among equals."""
    grids = [tuple(p.shape[-3:-1]) for p in layers]
    wanted = max(reversed(grids), key=grids.count)
    return [p for p, grid in zip(layers, grids, strict=True) if grid == wanted]


@dataclass(frozen=True)
class MapOptions:
    """How raw attention becomes subject maps.

    temperature: factor in the second softmax (100 in Attend-and-Excite and all that follow it).
    kernel_size: odd width of the smoothing kernel, 0 = no smoothing. kernel_sigma: its sigma in map pixels.
    legacy_sigma: the published kernel exp(-(d / 2 sigma)^2), which is wider than a Gaussian of that sigma.
    pieces: "noun" = the columns of the noun, "phrase" = those of all words of the phrase, which share the
    second softmax: the map of a phrase of n tokens cannot pass 1 / n.
    """

    temperature: float = 100.0
    kernel_size: int = 3
    kernel_sigma: float = 0.5
    legacy_sigma: bool = True
    pieces: str = "noun"

    def __post_init__(self) -> None:
        """Raises ValueError, with the cure, for a value that cannot work."""
        choice("pieces", self.pieces, PIECES)
        number("temperature", self.temperature, more_than=0, published="100")
        number("kernel_sigma", self.kernel_sigma, more_than=0, published="0.5")
        if self.kernel_size < 0 or (self.kernel_size and self.kernel_size % 2 == 0):
            raise ValueError(
                f"The option 'kernel_size' is {self.kernel_size}: choose an odd size (published: 3), "
                "or 0 for no smoothing."
            )


@dataclass(frozen=True)
class StepContext:
    """The sampling step at which an objective is evaluated.

    index, n_steps: 0-based step of the sampler call and number of steps. sigma: its noise level. c: x = c z.
    previous: detached maps of the last evaluated step, if any. regions: subject label -> where the user wants
    it.
    memory: what an objective keeps from step to step of one run (detached tensors); empty when a run starts.
    in_whole: its position where the call is a part of a run.
    """

    index: int
    n_steps: int
    sigma: float
    c: float
    previous: AttentionMaps | None = None
    regions: Mapping[str, Region] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    in_whole: tuple[float, int] | None = None

    @property
    def position(self) -> tuple[float, int]:
        """(step, number of steps) for what changes over a run, see Schedule.position."""
        return self.in_whole or (self.index, self.n_steps)
