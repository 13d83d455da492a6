"""The conditioning entry whose attention is captured."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.samplers
import torch
from torch import Tensor

from ...prompt import PromptTokens, Span


@dataclass(frozen=True)
class Entry:
    """`guider.conds[name][index]`, and the tokens its text encoders saw.

    source: those of the source prompt, where it is a pair of prompts; `tokens` are then the target's.
    """

    name: str
    index: int
    tokens: PromptTokens
    source: PromptTokens | None = None


@dataclass(frozen=True)
class ReadColumns:
    """Which columns of a prompt are read, and what objectives are told about them.

    columns: rows of the conditioning, one row more than the prompt: its end marker. spans, prompt, template:
    as in `AttentionMaps`.
    """

    columns: slice
    spans: tuple[Span, ...]
    prompt: tuple[Span, ...]
    template: dict[str, int]

    @classmethod
    def of(cls, tokens: PromptTokens, rule: str) -> ReadColumns:
        """Those of a prompt; rule: of `PromptTokens.spans`."""
        spans, prompt = distinct_spans(tokens, rule), distinct_spans(tokens, "prompt_only")
        stops = [s.stop for s in spans] + [s.stop + 1 for s in prompt]
        columns = slice(min(s.start for s in spans), min(max(stops), tokens.rows))
        return cls(columns, spans, prompt, {encoder.name: encoder.template for encoder in tokens.encoders})

    @property
    def read(self) -> tuple[slice, ...]:
        """Those that a map shows: between them is padding."""
        return tuple(slice(s.start, s.stop + 1) for s in (*self.spans, *self.prompt))


def is_active(guider: comfy.samplers.CFGGuider, entry: Entry, x: Tensor, sigma: Tensor) -> bool:
    """Is this entry used at this noise level (timestep ranges)? x [B, ...], sigma [B]."""
    return comfy.samplers.get_area_and_mult(guider.conds[entry.name][entry.index], x, sigma) is not None


def side_networks(guider: comfy.samplers.CFGGuider, entry: Entry) -> list[torch.nn.Module]:
    """The ControlNets and the GLIGEN model of this entry: gradients flow through them too.

    ComfyUI's own `get_models` leaves out a ControlNet that is made when a run begins (control LoRA).
    """
    cond = guider.conds[entry.name][entry.index]
    networks: list[torch.nn.Module] = []
    if "gligen" in cond:
        networks.append(cond["gligen"][1].model)
    control = cond.get("control")
    while control is not None:
        network = getattr(control, "control_model", None)
        if isinstance(network, torch.nn.Module):
            networks.append(network)
        control = control.previous_controlnet
    return networks


def distinct_spans(tokens: PromptTokens, rule: str) -> tuple[Span, ...]:
    """`tokens.spans(rule)`; encoders that share their rows (CLIP-L and CLIP-G with one text) count once."""
    first: dict[tuple, str] = {}
    for encoder in tokens.encoders:
        first.setdefault((encoder.text, encoder.chunks), encoder.name)
    return tuple(span for span in tokens.spans(rule) if span.encoder in first.values())
