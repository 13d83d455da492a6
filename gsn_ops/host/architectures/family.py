"""Facts about architectures, one small file per family. The mechanism (capture.py) is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...attention_layout import AttentionLayout
from ...maps import MIDDLE_UP, MapNeeds
from ...prompt import EncoderTokens, PromptTokens


@dataclass(frozen=True)
class Inputs:
    """What enters the network in one pass.

    network: the diffusion model itself. latent: its shape, [B, C, h, w] or [B, C, 1, h, w]. conds: what the host hands over
    beside it by name (tensors, lists of tensors, numbers). rows: rows of the conditioning as its encoder made it.
    """

    network: torch.nn.Module
    latent: tuple[int, ...]
    conds: Mapping[str, Any]
    rows: int


@dataclass(frozen=True)
class ModelFamily:
    """What differs between architectures.

    name: shown to people. layout: where text and image are, computed before the forward from what enters the model.
    levels: default levels (latent height / map height); () = all there are, a transformer has one: its patch.
    span: rule of the second softmax. blocks: the network's list of blocks that are read (they come first); "" = all blocks.
    source: who chose levels and blocks: "published: ..." or "ours: ...". moment: who chose 18 % of the noise schedule, likewise.
    encoders: its text encoders, where the host cannot name them before a checkpoint is loaded; () = the host can.
    text: the tensors of text that the attention sees, in its order: "" is the conditioning, the others are beside it by these
        names; one may stand twice. Words in any other have no columns.
    rope_kernels: uses kernels without backward. in_place: writes into tensors that autograd has saved for layer_norm.
    drops_options: modules of the host that call attention without the options that carry the override.
    options: changes a copy of the options of one pass, for a network that needs more than the override.
    """

    name: str
    layout: Callable[[Inputs], AttentionLayout]
    levels: tuple[int, ...] = ()
    span: str = "prompt_only"
    blocks: str = ""
    source: str = "ours: all there is"
    moment: str = "ours: the share of Stable Diffusion 1.x"
    encoders: tuple[str, ...] = ()
    text: tuple[str, ...] = ("",)
    rope_kernels: bool = False
    in_place: bool = False
    drops_options: tuple[str, ...] = ()
    options: Callable[[dict], dict] | None = None

    def wanted_blocks(self, network: torch.nn.Module) -> range | None:
        """Which text-to-image calls of a pass are read by default; None = all."""
        return range(len(getattr(network, self.blocks))) if self.blocks else None

    def describe_capture(self, needs: MapNeeds) -> str:
        """What an objective reads on this family, in words, and who chose it: "level 4 (published: ...)", "blocks 5-12 (chosen)"."""
        alone = "" if needs.encoders == "all" else f", the words of {needs.encoders} alone (chosen)"
        if self.levels and needs.blocks == MIDDLE_UP:
            return f"middle and first up block (chosen){alone}"
        own = needs.blocks in ("auto", MIDDLE_UP)
        levels, blocks = (
            needs.levels or self.levels,
            self.blocks.replace("_", " ") if own else f"blocks {needs.blocks}",
        )
        words = [f"level{'s' * (len(levels) > 1)} {' and '.join(map(str, levels))}"] if levels else []
        words += [blocks] if blocks else [] if levels else ["all blocks"]
        return f"{', '.join(words)} ({self.source if own and not needs.levels else 'chosen'}){alone}"


FAMILIES: dict[str, ModelFamily] = {}
"""Class name in the host's supported_models -> its family; subclasses inherit it."""

REFUSED: dict[str, str] = {}
"""Class name in the host's supported_models -> why it cannot work, as an English sentence; subclasses inherit it."""


def register_family(family: ModelFamily, *config_names: str) -> None:
    """Make the architectures with these host configuration classes known. Called once by each family's file."""
    FAMILIES.update(dict.fromkeys(config_names, family))


def refuse(reason: str, *config_names: str) -> None:
    """Say why architectures with these host configuration classes cannot work."""
    REFUSED.update(dict.fromkeys(config_names, reason))


def columns_of(family: ModelFamily, tokens: PromptTokens, cond: Mapping[str, Any]) -> PromptTokens:
    """The memory of a prompt as this family's attention sees it: columns of all its text, counted from its first row.

    cond: the conditioning entry, whose tensors say how long each part is. A part that stands twice gives two encoders.
    """
    sizes = {name: _rows(cond.get(name or "cross_attn")) for name in family.text}
    starts = [sum(sizes[earlier] for earlier in family.text[:n]) for n in range(len(family.text))]
    encoders, blind = [], []
    for encoder in tokens.encoders:
        places = [
            start
            for name, start in zip(family.text, starts)
            if name == encoder.tensor and (sizes[name] or not name)
        ]
        if not places and encoder.chunks:
            blind.append(encoder.name)
        for n, start in enumerate(places or [None], 1):
            encoders.append(_moved(encoder, start, encoder.name if n == 1 else f"{encoder.name} {n}"))
    notes = (
        (
            f"{family.name} does not attend to the rows of its text encoder {', '.join(blind)}, only to what it makes of them",
        )
        if blind
        else ()
    )
    rows = tokens.rows if family.text == ("",) else sum(sizes[name] for name in family.text)
    return replace(tokens, encoders=tuple(encoders), rows=rows, notes=(*tokens.notes, *notes))


def _rows(made: Any) -> int:
    """Rows of a tensor of text [.., rows, C], or of token ids [rows] or [1, rows]; 0 without it."""
    return 0 if not isinstance(made, torch.Tensor) else made.shape[-2 if made.ndim > 2 else -1]


def _moved(encoder: EncoderTokens, start: int | None, name: str) -> EncoderTokens:
    """The encoder's tokens with columns from `start` on; None = without any."""
    if start is None:
        return replace(
            encoder, pieces=tuple(replace(piece, column=None) for piece in encoder.pieces), chunks=()
        )
    return EncoderTokens(
        name,
        encoder.text,
        tuple(replace(p, column=None if p.column is None else p.column + start) for p in encoder.pieces),
        tuple((first + start, eot + start, end + start) for first, eot, end in encoder.chunks),
    )
