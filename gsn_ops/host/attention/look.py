"""Reads the attention to one prompt in a pass that the run makes anyway; the pass stays as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...maps import MIDDLE_UP, AttentionMaps, MapNeeds, block_range, of_most_common_grid
from ...prompt import PromptTokens
from ..architectures.family import ModelFamily
from .attention_call import AttentionCall
from .capture import Capture
from .entry import ReadColumns


class Look:
    """One pass. tokens: of the encoders that are read. repeats: of the prompt's text in this pass."""

    def __init__(
        self,
        tokens: PromptTokens,
        needs: MapNeeds,
        family: ModelFamily,
        network: torch.nn.Module,
        layout: AttentionLayout,
        repeats: int = 1,
    ):
        self.read = ReadColumns.of(tokens, family.span if needs.span == "auto" else needs.span)
        self.repeats = repeats
        self._capture = Capture(
            layout,
            self.read.columns,
            needs.levels or family.levels,
            spans=self.read.read,
            blocks=block_range(needs.blocks) or family.wanted_blocks(network),
            middle_up=needs.blocks == MIDDLE_UP,
        )

    def observe(self, call: AttentionCall) -> None:
        """See one attention call of this prompt."""
        q, k = call.queries_and_keys()
        options = call.kwargs.get("transformer_options") or {}
        self._capture.observe(q, k, options, call.mask, call.kwargs.get("scale"))

    def maps(self) -> AttentionMaps | None:
        """Mean over layers and heads per level; None if no wanted layer was seen."""
        by_level: dict[int, list[Tensor]] = {}
        for level, p in self._capture.state.layers:
            by_level.setdefault(level, []).append(p)
        if not by_level:
            return None
        cross = {
            level: torch.stack(of_most_common_grid(layers)).mean(0) * self.repeats
            for level, layers in by_level.items()
        }
        columns = tuple(range(self.read.columns.start, self.read.columns.stop))
        return AttentionMaps(cross, columns, self.read.spans, {}, {}, self.read.prompt, self.read.template)
