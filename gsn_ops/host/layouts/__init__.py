"""Facts about architectures, one small file per family. The mechanism (capture.py) is the same for all."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...prompt import PromptTokens
from ..capture import Layout


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
class Family:
    """What differs between architectures.

    name: shown to people. layout: where text and image are, computed before the forward from what enters the model.
    levels: default levels (latent height / map height); () = all there are, a transformer has one: its patch.
    span: rule of the second softmax. blocks: the network's list of blocks that are read (they come first); "" = all blocks.
    unread: text encoders whose rows the attention does not see as such; their words have no columns.
    rope_kernels: uses kernels without backward. in_place: writes into tensors that autograd has saved for layer_norm.
    drops_options: modules of the host that call attention without the options that carry the override.
    options: changes a copy of the options of one pass, for a network that needs more than the override.
    """

    name: str
    layout: Callable[[Inputs], Layout]
    levels: tuple[int, ...] = ()
    span: str = "prompt_only"
    blocks: str = ""
    unread: tuple[str, ...] = ()
    rope_kernels: bool = False
    in_place: bool = False
    drops_options: tuple[str, ...] = ()
    options: Callable[[dict], dict] | None = None

    def wanted_blocks(self, network: torch.nn.Module) -> range | None:
        """Which text-to-image calls of a pass are read by default; None = all."""
        return range(len(getattr(network, self.blocks))) if self.blocks else None


FAMILIES: dict[str, Family] = {}
"""Class name in the host's supported_models -> its family; subclasses inherit it."""

REFUSED: dict[str, str] = {}
"""Class name in the host's supported_models -> why it cannot work, as an English sentence; subclasses inherit it."""


def register_family(family: Family, *config_names: str) -> None:
    """Make the architectures with these host configuration classes known. Called once by each family's file."""
    FAMILIES.update(dict.fromkeys(config_names, family))


def refuse(reason: str, *config_names: str) -> None:
    """Say why architectures with these host configuration classes cannot work."""
    REFUSED.update(dict.fromkeys(config_names, reason))


def columns_of(family: Family, tokens: PromptTokens) -> PromptTokens:
    """The memory of a prompt with columns only for what this family's attention sees as rows of the conditioning."""
    blind = [encoder.name for encoder in tokens.encoders if encoder.name in family.unread]
    if not blind:
        return tokens
    note = f"{family.name} does not attend to the rows of its text encoder {', '.join(blind)}, only to what it makes of them"
    encoders = tuple(
        replace(e, pieces=tuple(replace(piece, column=None) for piece in e.pieces), chunks=()) if e.name in blind else e
        for e in tokens.encoders)
    return replace(tokens, encoders=encoders, notes=(*tokens.notes, note))


def family_of(model) -> Family:
    """The family of a MODEL. Raises ValueError that says why, or what is supported, if there is none."""
    config = getattr(model.model, "model_config", None)
    for cls in type(config).__mro__:
        if cls.__name__ in REFUSED:
            raise ValueError(f"Semantic Nursing cannot work on this model ({type(config).__name__}): {REFUSED[cls.__name__]} "
                             "Use the stock sampler for it, or bypass this node.")
        if cls.__name__ in FAMILIES:
            return FAMILIES[cls.__name__]
    supported = ", ".join(sorted({f.name for f in FAMILIES.values()}))
    raise ValueError(
        f"This model ({type(config).__name__}) is not supported by Semantic Nursing yet. Supported text-to-image models: {supported}. "
        "Video, audio and 3D models have no text-to-image attention that this pack reads: use the stock sampler for them."
    )


from . import (  # noqa: E402, F401  each registers its families
    auraflow,
    cascade,
    cosmos,
    ernie,
    flux,
    hidream,
    hidream_o1,
    hunyuan,
    ideogram,
    joyimage,
    kandinsky,
    krea,
    lens,
    lumina,
    omnigen,
    others,
    pixart,
    pixeldit,
    qwen,
    sd3,
    unet,
)
