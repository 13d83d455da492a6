"""One conditional forward pass, exactly as ComfyUI makes it, that gives attention maps with gradients."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import cast

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...maps import MIDDLE_UP, AttentionMaps, MapNeeds, block_range, of_most_common_grid
from ...torch_ops.onednn import should_use_onednn
from ...torch_ops.regional_copies import CopiesOfImages
from ...torch_ops.self_attention import SelfAttention
from ...torch_ops.unreadable import UnreadablePass, unreadable
from ..architectures.family import Inputs, ModelFamily
from ..autograd.differentiable import without_inference_flag
from ..autograd.recast_weights import recastable_layers
from .capture import AllCaptured, Capture, CaptureState
from .entry import Entry, ReadColumns
from .foreign_code import ForeignCode
from .forward_context import forward_context
from .memory_policy import CheckpointPolicy, is_out_of_memory
from .other_packs import names_on
from .pass_options import install
from .sampler_state import SamplerState

log = logging.getLogger(__name__)

CACHES = ("easycache", "lazycache")
"""Keys of ComfyUI's wrappers that repeat a part of an earlier pass of the run."""
SKIPS_THE_MODEL = ("torch.compile", *CACHES)
"""Keys of ComfyUI's wrappers that replace the forward pass by something without (fresh) attention."""

GRADIENT_SCALE = 1024.0
"""Factor of gradients inside a network that computes in float16.

float16 has few digits below 6e-5 and nothing below 6e-8, where gradients of attention are: at real sizes with
random weights their mean is 2e-5 (SD1.5) and 9e-6 (SDXL), and their cosine with those in float32 was 0.9974
and 0.927; at 64, 1024 and 65536 times that 0.99999 and more. With peaked attention they reach 0.2, and all
these factors agree too.
"""


class WrongChoice(ValueError):
    """Levels, blocks or a latent that this model does not have: the user's choice, so the run ends."""


_PASS_THROUGH = (WrongChoice, comfy.model_management.InterruptProcessingException)


class Probe:
    """Maps of one conditioning entry at one noise level.

    Lives for one step's work; refers to the running guider.

    state: the guider, the model that is called, its noise level and arguments; x is given to each evaluation.
    c: scale of the network's input, x = c z.
    """

    def __init__(self, state: SamplerState, entry: Entry, family: ModelFamily, needs: MapNeeds, c: float):
        self.guider = state.guider
        self.model = state.model
        self.arguments = state.arguments
        self.sigma = without_inference_flag(state.sigma)
        self.entry = entry
        self.family = family
        self.needs = needs
        self.c = c
        self.network = state.guider.inner_model.diffusion_model
        self.levels = needs.levels or family.levels
        self._find_columns()
        self.layers: int | None = None  # wanted layers of one pass; known after the first, complete one
        self.checkpoint_policy = CheckpointPolicy()
        self.foreign = ForeignCode()
        self.last_options: dict = self.arguments["model_options"]
        dtype, device = state.guider.inner_model.get_dtype_inference(), self.sigma.device
        self.bfloat16 = False  # matrix products of passes with gradients in bfloat16
        self.onednn = should_use_onednn(self.network, device)  # matrix products by oneDNN
        self.recast_layers = recastable_layers(self.network, dtype, device)
        self.gradient_scale = GRADIENT_SCALE if dtype == torch.float16 else 1.0
        self.forwards = 0
        self.cut_override = False
        self.other_texts: Tensor | None = None  # [n, T, C] that regions of another node attend to

    def _find_columns(self) -> None:
        """Which rows of the conditioning are captured."""
        rule = self.family.span if self.needs.span == "auto" else self.needs.span
        found = ReadColumns.of(self.entry.tokens, rule)
        self.columns, self.spans, self.prompt = found.columns, found.spans, found.prompt
        self.template, self.read_spans = found.template, found.read

    def maps_of(self, z: Tensor) -> AttentionMaps:
        """Attention maps with gradients at z [B, ...], the network's input.

        The pass ends after the last wanted layer. Raises UnreadablePass if there are none, or no gradient.
        """
        return self._evaluate(scale_gradient(z * self.c, 1 / self.gradient_scale), self.layers)[0]

    def evaluate(self, x: Tensor) -> tuple[AttentionMaps, Tensor]:
        """Maps and predicted x0 [B, ...] at the state x [B, ...], by a complete pass without gradients."""
        with torch.no_grad():
            maps, predicted = self._evaluate(x, None)
        return maps, cast(Tensor, predicted)

    def _evaluate(self, x: Tensor, stop_after: int | None) -> tuple[AttentionMaps, Tensor | None]:
        """Maps, and the predicted x0 unless the pass ended early.

        A pass that fails is made once more without what other packs run around the network.
        """
        options = self.arguments["model_options"]
        try:
            return self._pass(x, stop_after)
        except _PASS_THROUGH:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if not self.foreign.surrounds(options, self.network):
                raise error if isinstance(error, UnreadablePass) else unreadable(error) from error
        # Outside of `except`, where the error no longer holds the tensors of the failed pass.
        self.foreign.leave_out(options, self.network)
        return self._evaluate(x, stop_after)

    def _pass(self, x: Tensor, stop_after: int | None) -> tuple[AttentionMaps, Tensor | None]:
        if self.foreign.surrounds(self.arguments["model_options"], self.network):
            stop_after = None
        model = _EntryModel(self, stop_after)
        try:
            predicted = self._forward(x, model)
            copies = model.captures[0].copies
            if copies is not None:
                self.other_texts = copies.others
            return self.maps_in(model.captures[0]), predicted
        finally:
            # A graph with recomputed blocks holds the capture; it must not hold the graph.
            for capture in model.captures:
                capture.restore(capture.snapshot())

    def _forward(self, x: Tensor, model: _EntryModel) -> Tensor | None:
        """The forward pass at x -> predicted x0, or None if it ended early."""
        options = self._options()
        self.forwards += 1
        predicted = None
        try:
            if isinstance(self.model, comfy.samplers.KSamplerX0Inpaint):
                # ComfyUI's own blending of masked latents, around our model of one entry.
                blended = copy.copy(self.model)
                blended.inner_model = model
                mask = without_inference_flag(self.arguments.get("denoise_mask"))
                predicted = blended(x, self.sigma, denoise_mask=mask, model_options=options)
            else:
                predicted = model(x, self.sigma, options)
        except AllCaptured:
            pass
        seen = model.captures[0].state
        self._check(seen, x)
        self.layers = self.layers or len(seen.layers)
        self.cut_override |= seen.cut_override
        return predicted

    def _check(self, seen: CaptureState, x: Tensor) -> None:
        """Raises an error unless the wanted attention was seen, with gradients where x has one."""
        if not seen.layers:
            log.warning("Attention calls of this pass (queries, keys): %s", sorted(seen.lengths))
        if not seen.layers and (self.needs.levels or self.needs.blocks not in ("auto", MIDDLE_UP)):
            raise WrongChoice(self._nothing_seen(seen))
        if not seen.layers:
            why = "sizes that do not fit" if seen.lengths else "no block was run"
            raise UnreadablePass(f"no attention of the image to the text was seen ({why})")
        if x.requires_grad and torch.is_grad_enabled() and not all(p.requires_grad for _, p in seen.layers):
            raise UnreadablePass("the attention has no gradient")

    def capture(
        self,
        layout: AttentionLayout,
        stop_after: int | None,
        transformer_options: dict,
        copies: CopiesOfImages | None = None,
        kind: type[Capture] = Capture,
    ) -> Capture:
        """A capture of one pass, which keeps another pack's override in these options in force."""
        previous = transformer_options.get("optimized_attention_override")
        if self.family.drops_options:  # such a network never obeys another pack's override
            previous = None
        return kind(
            layout,
            self.columns,
            self.levels,
            spans=self.read_spans,
            blocks=block_range(self.needs.blocks) or self.family.wanted_blocks(self.network),
            middle_up=self.needs.blocks == MIDDLE_UP,
            heads=self.needs.heads,
            self_rows=self.needs.self_rows,
            stop_after=stop_after,
            previous=previous,
            copies=copies,
        )

    def see_options(self, transformer_options: dict) -> None:
        """The network's options of a pass, with the patches of all nodes and of hooks on the prompt."""
        self.last_options = {**self.arguments["model_options"], "transformer_options": transformer_options}

    def names_in_the_way(self) -> tuple[str, ...]:
        """The nodes and packs that have put something on this model or prompt."""
        return names_on(self.last_options, self.network)

    def context(self, capture: Capture) -> Callable[[], AbstractContextManager[None]]:
        """Makes what surrounds a pass, with the settings of now; checkpointed blocks make it twice."""
        return functools.partial(
            forward_context,
            self.network,
            self.family,
            capture,
            self.recast_layers,
            self.bfloat16,
            self.onednn,
            self.foreign.left_out,
        )

    def _nothing_seen(self, seen: CaptureState) -> str:
        wanted = f"level {', '.join(map(str, self.levels))}" if self.levels else "any level"
        if self.needs.blocks != "auto":
            wanted += f" in blocks {self.needs.blocks}"
        has = ""
        if seen.levels:
            levels, last = ", ".join(map(str, sorted(seen.levels))), seen.n_text_to_image - 1
            has = f" (level {levels}, blocks 0 to {last})"
        return (
            f"No text-to-image attention was seen at {wanted} of this model. Set levels and blocks to "
            f"'auto', or choose what this model has{has}."
        )

    def cond(self) -> dict:
        """The entry with copies of what its encoders made: some networks write into it."""
        cond = self.guider.conds[self.entry.name][self.entry.index]
        made = {
            name: c._copy_with(c.cond.clone()) if isinstance(c.cond, Tensor) else c
            for name, c in cond["model_conds"].items()
        }
        return {**cond, "model_conds": made}

    def layout(self, cond: dict, x: Tensor, sigma: Tensor) -> AttentionLayout:
        """Where text and image are in the attention of a pass of this entry at x [B, ...]."""
        area = comfy.samplers.get_area_and_mult(cond, x, sigma)
        conds = {name: c.cond for name, c in area.conditioning.items()}
        encoded = cond.get("cross_attn")
        rows = self.entry.tokens.rows if encoded is None else encoded.shape[1]
        layout = self.family.layout(Inputs(self.network, tuple(area.input_x.shape), conds, rows))
        per_key = self.entry.tokens.rows_per_key
        if per_key == 1:
            return layout
        return replace(layout, n_text=layout.n_text // per_key, n_keys=layout.n_keys // per_key)

    def maps_in(self, capture: Capture) -> AttentionMaps:
        """Mean over layers (and heads) per level: [B, h, w, n].

        Of a level whose image another node shrinks in some layers: those of the most common size.
        """
        by_level: dict[int, list[Tensor]] = {}
        for level, p in capture.state.layers:
            by_level.setdefault(level, []).append(scale_gradient(p, self.gradient_scale))
        by_level = {level: of_most_common_grid(layers) for level, layers in by_level.items()}
        heads, self_rows = {}, {}
        if self.needs.heads:
            heads = {level: tuple(layers) for level, layers in by_level.items()}  # [B, heads, h, w, n] each
            by_level = {level: [p.mean(1) for p in layers] for level, layers in by_level.items()}
        cross = {level: torch.stack(layers).mean(0) for level, layers in by_level.items()}  # [B, h, w, n]
        if self.needs.self_rows:
            for level, maps in cross.items():
                layers = [
                    attention
                    for at, attention in capture.state.self_attention
                    if at == level and attention.grid == tuple(maps.shape[1:3])
                ]
                self_rows[level] = functools.partial(_self_rows, layers, self.gradient_scale)
        columns = tuple(range(self.columns.start, self.columns.stop))
        return AttentionMaps(cross, columns, self.spans, heads, self_rows, self.prompt, self.template)

    def _options(self) -> dict:
        """A private copy of the run's model options, made safe for a single differentiable pass."""
        options = comfy.model_patcher.create_model_options_clone(self.arguments["model_options"])
        options.pop("multigpu_clones", None)  # that path runs in threads without gradients
        self.foreign.adapt(options)
        transformer = options.setdefault("transformer_options", {})
        for table in transformer.get("wrappers", {}).values():
            for key in SKIPS_THE_MODEL:
                table.pop(key, None)
        if self.family.options is not None:
            options["transformer_options"] = self.family.options(transformer)
        return options


class _EntryModel:
    """Replaces the guider in one pass: a model of the probed entry alone, whose attention is captured."""

    def __init__(self, probe: Probe, stop_after: int | None):
        self.probe = probe
        self.stop_after = stop_after
        self.inner_model = probe.guider.inner_model  # where ComfyUI's blending of masked latents looks for it
        self.cond = probe.cond()
        self.captures: list[Capture] = []

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict, seed: int | None = None) -> Tensor:
        """Predicted x0 [B, ...] of this entry. Raises AllCaptured after the last wanted layer."""
        probe, transformer = self.probe, model_options["transformer_options"]
        try:
            layout = probe.layout(self.cond, x, sigma)
        except ValueError as error:
            raise WrongChoice(str(error)) from error
        capture = probe.capture(layout, self.stop_after, transformer, CopiesOfImages(len(x)))
        self.captures.append(capture)
        install(transformer, capture, "control" in self.cond, probe.see_options)
        context, packs = probe.context(capture), probe.foreign
        kept = packs.around_pass(probe.arguments["model_options"], probe.network)
        with kept, context(), probe.checkpoint_policy.checkpointed(self.inner_model, x, capture, context):
            return comfy.samplers.calc_cond_batch(self.inner_model, [[self.cond]], x, sigma, model_options)[0]


def scale_gradient(t: Tensor, scale: float) -> Tensor:
    """t itself; its gradient is multiplied by `scale` on its way back."""
    if scale != 1 and t.requires_grad:
        t.register_hook(lambda g: g * scale)
    return t


def _self_rows(layers: list[SelfAttention], scale: float, cells: Tensor) -> Tensor:
    """Rows of self-attention, mean over layers: [B, r, h, w]; their gradient times `scale`."""
    return scale_gradient(torch.stack([layer.rows(cells) for layer in layers]).mean(0), scale)
