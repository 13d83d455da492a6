"""What differs between architectures, and which family ComfyUI's model classes belong to.

Each family is a value in a small file of facts; the mechanism (`attention/capture.py`) is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.supported_models_base import BASE

from ...attention_layout import AttentionLayout
from ...maps import MIDDLE_UP, MapNeeds
from ...prompt import EncoderTokens, PromptTokens


@dataclass(frozen=True)
class Inputs:
    """What enters the network in one pass.

    network: the diffusion model, a torch.nn.Module with attributes of its own. latent: its shape, [B, C, h,
    w] or [B, C, 1, h, w]. conds: the other inputs by ComfyUI's names (tensors, lists of tensors, numbers).
    rows: rows of the conditioning as its encoder made it.
    """

    network: Any
    latent: tuple[int, ...]
    conds: Mapping[str, Any]
    rows: int


@dataclass(frozen=True)
class TextStream:
    """Where the text's features enter a network's blocks, in networks that change the text with depth.

    double: the list of blocks that get text and image apart; argument: the text's, by name or position.
    single: the list of blocks, after those, whose first argument is one sequence that begins with the text.
    """

    double: str = ""
    argument: str | int = 0
    single: str = ""


@dataclass(frozen=True)
class ModelFamily:
    """What differs between architectures.

    name: shown to users. layout: where text and image are, computed from the inputs before the forward pass.
    levels: default levels (latent height / map height); () = all there are (of a transformer its patch).
    span: rule of the second softmax. blocks: the network's list of blocks that are read, which come first; ""
    = all. source: who chose levels and blocks, "published: ..." or "ours: ...". moment: who chose 18 % of the
    noise schedule. encoders: its text encoders, where ComfyUI cannot name them before a checkpoint is loaded;
    () = ComfyUI can. text: the tensors of text that the attention sees, in its order: "" is the conditioning,
    other names are further tensors of its entry; one may occur twice. Text tokens in any other tensor have no
    columns. rope_kernels: uses kernels without backward. in_place: writes into tensors that autograd has
    saved for layer_norm. drops_options: ComfyUI's modules that call attention without the options that carry
    the override. cross: the text is only read, by cross-attention, and stays as its encoders made it.
    longer_text: cross-attention to the conditioning's rows as they are, however many.
    image_keys: such attention has the image among its keys too.
    text_stream: where the text enters the blocks; None = not known. options: changes a copy of the options of
    one pass, for a network that needs more than the override.
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
    cross: bool = False
    longer_text: bool = False
    image_keys: bool = False
    text_stream: TextStream | None = None
    options: Callable[[dict], dict] | None = None

    def wanted_blocks(self, network: torch.nn.Module) -> range | None:
        """Which text-to-image calls of a pass are read by default; None = all."""
        return range(len(getattr(network, self.blocks))) if self.blocks else None

    def describe_capture(self, needs: MapNeeds) -> str:
        """What an objective reads, and who chose it: "level 4 (published: ...)", "blocks 5-12 (chosen)"."""
        encoders = "" if needs.encoders == "all" else f", the text tokens of {needs.encoders} alone (chosen)"
        if self.levels and needs.blocks == MIDDLE_UP:
            return f"middle and first up block (chosen){encoders}"
        default_blocks = needs.blocks in ("auto", MIDDLE_UP)
        blocks = self.blocks.replace("_", " ") if default_blocks else f"blocks {needs.blocks}"
        levels = needs.levels or self.levels
        parts = []
        if levels:
            plural = "s" if len(levels) > 1 else ""
            parts.append(f"level{plural} {' and '.join(map(str, levels))}")
        if blocks:
            parts.append(blocks)
        source = self.source if default_blocks and not needs.levels else "chosen"
        return f"{', '.join(parts) or 'all blocks'} ({source}){encoders}"


FAMILIES: dict[str, ModelFamily] = {}
"""{class name in ComfyUI's supported_models: its family}; subclasses inherit it."""

REFUSED: dict[str, str] = {}
"""{class name in ComfyUI's supported_models: why it cannot work, as a sentence}; subclasses inherit it."""


def register_family(family: ModelFamily, *config_names: str) -> None:
    """Declare that ComfyUI's model classes with these names belong to this family.

    Each family's file calls it. Raises TypeError for anything but a ModelFamily and names of classes.
    """
    if not (
        isinstance(family, ModelFamily) and config_names and all(isinstance(n, str) for n in config_names)
    ):
        raise TypeError(
            f"The architecture {family!r} cannot be registered for {config_names!r}: give a ModelFamily, "
            "then the names of ComfyUI's model classes as texts."
        )
    FAMILIES.update(dict.fromkeys(config_names, family))


def refuse(reason: str, *config_names: str) -> None:
    """Say in one sentence why ComfyUI's model classes with these names cannot work."""
    REFUSED.update(dict.fromkeys(config_names, reason))


def registered(config: BASE | None) -> ModelFamily | str | None:
    """The family of a model configuration, or why it is refused, or None if its class is not registered."""
    for cls in type(config).__mro__:
        if cls.__name__ in REFUSED:
            return REFUSED[cls.__name__]
        if cls.__name__ in FAMILIES:
            return FAMILIES[cls.__name__]
    return None


def columns_of(family: ModelFamily, tokens: PromptTokens, cond: Mapping[str, Any]) -> PromptTokens:
    """The prompt's tokens with the columns that this family's attention has for them.

    Columns count the rows of all its text tensors one after the other. cond: the conditioning entry, whose
    tensors say how long each one is. A tensor that occurs twice gives two encoders.
    """
    sizes = {name: _rows(cond.get(name or "cross_attn")) for name in family.text}
    encoders, unseen = [], []
    for encoder in tokens.encoders:
        starts = _starts(family.text, sizes, encoder.tensor)
        if not starts:
            encoders.append(_without_columns(encoder))
            if encoder.chunks:
                unseen.append(encoder.name)
        for n, start in enumerate(starts, 1):
            encoders.append(_moved(encoder, start, encoder.name if n == 1 else f"{encoder.name} {n}"))
    notes = tokens.notes
    if unseen:
        note = f"{family.name} does not attend to the rows of its text encoder {', '.join(unseen)}, "
        notes += (note + "only to what it makes of them",)
    rows = tokens.rows if family.text == ("",) else sum(sizes[name] for name in family.text)
    return replace(tokens, encoders=tuple(encoders), rows=rows, notes=notes)


def _starts(text: tuple[str, ...], sizes: Mapping[str, int], tensor: str) -> list[int]:
    """First columns of a tensor among the tensors of `text`; none if it is not there."""
    starts, column = [], 0
    for name in text:
        if name == tensor and (sizes[name] or not name):
            starts.append(column)
        column += sizes[name]
    return starts


def _rows(made: Any) -> int:
    """Rows of a tensor of text [.., rows, C], or of token ids [rows] or [1, rows]; 0 for anything else."""
    if not isinstance(made, torch.Tensor):
        return 0
    return made.shape[-2 if made.ndim > 2 else -1]


def _without_columns(encoder: EncoderTokens) -> EncoderTokens:
    return replace(encoder, pieces=tuple(replace(p, column=None) for p in encoder.pieces), chunks=())


def _moved(encoder: EncoderTokens, start: int, name: str) -> EncoderTokens:
    """The encoder's tokens with columns from `start` on, under this name."""
    pieces = tuple(
        piece if piece.column is None else replace(piece, column=piece.column + start)
        for piece in encoder.pieces
    )
    chunks = tuple((first + start, eot + start, end + start) for first, eot, end in encoder.chunks)
    return replace(encoder, name=name, pieces=pieces, chunks=chunks, tensor="")
