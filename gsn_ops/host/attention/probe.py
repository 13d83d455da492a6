"""The probe: one conditional forward pass, exactly as the host would make it, that gives attention maps with gradients."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...maps import MIDDLE_UP, AttentionMaps, MapNeeds, block_range
from ...prompt import PromptTokens, Span
from ...torch_ops.bfloat16 import HalfProducts
from ...torch_ops.onednn import FastProducts, pays
from ..architectures.family import Inputs, ModelFamily
from ..autograd.differentiable import DifferentiableForward, pass_options, plain
from ..autograd.recast_weights import casting_layers, recast_weights
from .capture import AllCaptured, Capture, SelfAttention, observe_replaced
from .memory_policy import CheckpointPolicy

SKIPS_THE_MODEL = ("torch.compile", "easycache", "lazycache")
"""Wrapper keys of the host that replace the forward by something without (fresh) attention."""

GRADIENT_SCALE = 1024.0
"""Gradients inside a network that computes in float16 are this much larger than they are.

float16 has few digits below 6e-5 and nothing below 6e-8, where gradients of attention are: at real sizes with random weights
their mean is 2e-5 (SD1.5) and 9e-6 (SDXL), and their cosine with those in float32 was 0.9974 and 0.927; at 64, 1024 and 65536
times that 0.99999 and more. With peaked attention they reach 0.2, and all these scales agree too.
"""


@dataclass(frozen=True)
class Entry:
    """The conditioning entry that is probed: where it is in `guider.conds[name]` and what its encoder saw."""

    name: str
    index: int
    tokens: PromptTokens


def is_active(guider, entry: Entry, x: Tensor, sigma: Tensor) -> bool:
    """Is this entry used at this noise level (timestep ranges)?"""
    return comfy.samplers.get_area_and_mult(guider.conds[entry.name][entry.index], x, sigma) is not None


def side_networks(guider, entry: Entry) -> list[torch.nn.Module]:
    """The ControlNets and the GLIGEN model on this entry: gradients run through them too.

    Not by the host's `get_models`, which leaves out a ControlNet that is made when a run begins (control LoRA).
    """
    cond = guider.conds[entry.name][entry.index]
    networks, control = [cond["gligen"][1].model] if "gligen" in cond else [], cond.get("control")
    while control is not None:
        network = getattr(control, "control_model", None)
        networks += [network] if isinstance(network, torch.nn.Module) else []
        control = control.previous_controlnet
    return networks


def distinct_spans(tokens: PromptTokens, rule: str) -> tuple[Span, ...]:
    """`tokens.spans`, but encoders that share their rows (CLIP-L and CLIP-G with one text) count once beside others."""
    first = {}
    for encoder in tokens.encoders:
        first.setdefault((encoder.text, encoder.chunks), encoder.name)
    return tuple(span for span in tokens.spans(rule) if span.encoder in first.values())


@contextlib.contextmanager
def forward_context(
    network: torch.nn.Module,
    family: ModelFamily,
    capture: Capture,
    casting: Sequence[torch.nn.Module],
    half: bool,
    fast: bool,
) -> Iterator[None]:
    """What this family needs around a pass so that its attention is seen and its gradients are right.

    casting: layers that make their weights for each call. half: with products in bfloat16. fast: with matrix products by oneDNN.
    """
    followed = (
        DifferentiableForward(family.rope_kernels, family.in_place)
        if family.rope_kernels or family.in_place
        else contextlib.nullcontext()
    )
    with (
        pass_options(network, family.drops_options, {"optimized_attention_override": capture}),
        followed,
        recast_weights(casting),
    ):
        with (
            FastProducts() if fast else contextlib.nullcontext(),
            HalfProducts() if half and torch.is_grad_enabled() else contextlib.nullcontext(),
        ):
            yield


class Probe:
    """Maps of one conditioning entry at one noise level. Lives as long as one step's work; refers to the running guider.

    model_k: what the sampler calls as its model (blends inpainting masks). extra: its keyword arguments, e.g. model_options.
    """

    def __init__(
        self,
        guider,
        model_k,
        extra: dict,
        sigma: Tensor,
        entry: Entry,
        family: ModelFamily,
        needs: MapNeeds,
        c: float,
    ):
        self.guider, self.model_k, self.extra, self.sigma = guider, model_k, extra, plain(sigma)
        self.network = guider.inner_model.diffusion_model
        self.entry, self.family, self.needs, self.c = entry, family, needs, c
        self.levels = needs.levels or family.levels
        self.spans = distinct_spans(entry.tokens, family.span if needs.span == "auto" else needs.span)
        self.prompt = distinct_spans(entry.tokens, "prompt_only")
        self.template = {encoder.name: encoder.template for encoder in entry.tokens.encoders}
        last = max(
            [s.stop for s in self.spans] + [s.stop + 1 for s in self.prompt]
        )  # one more: the end marker
        self.columns = slice(min(s.start for s in self.spans), min(last, entry.tokens.rows))
        # What lies between them is padding, which no map shows.
        self.read = tuple(slice(s.start, s.stop + 1) for s in (*self.spans, *self.prompt))
        self.layers: int | None = None  # wanted layers of one pass; learned by the first, complete one
        self.checkpoint_policy = CheckpointPolicy()
        self.half = False  # products of passes with gradients in bfloat16
        self.fast = pays(self.network, self.sigma.device)  # matrix products by oneDNN
        dtype = guider.inner_model.get_dtype_inference()
        self.casting = casting_layers(self.network, dtype, self.sigma.device)
        self.scale = GRADIENT_SCALE if dtype == torch.float16 else 1.0
        self.forwards = 0
        self.cut_override = False

    def maps_of(self, z: Tensor) -> AttentionMaps:
        """Attention at z [B, ...] (the network's input space), with gradients; the pass ends after the last wanted layer."""
        return self._run(scaled(z * self.c, 1 / self.scale), self.layers)[0]

    def look(self, x: Tensor) -> tuple[AttentionMaps, Tensor]:
        """Maps and the predicted clean latent at x, by a complete pass without gradients."""
        with torch.no_grad():
            return self._run(x, None)

    def _run(self, x: Tensor, stop_after: int | None) -> tuple[AttentionMaps, Tensor | None]:
        seen: list[Capture] = []
        try:
            predicted = self._pass(x, stop_after, seen)
            return self._maps(seen[0]), predicted
        finally:
            for capture in (
                seen
            ):  # a graph with recomputed blocks holds it, and would never be freed if it held the graph
                capture.layers.clear()
                capture.self_attention.clear()

    def _pass(self, x: Tensor, stop_after: int | None, seen: list[Capture]) -> Tensor | None:
        """The forward pass; its capture is put into `seen`. Gives the predicted clean latent, or None if the pass ended early."""
        options = self._options()
        cond = self._cond()

        def positive_only(x, sigma, model_options=None, seed=None):
            transformer = model_options["transformer_options"]
            capture = Capture(
                self._layout(cond, x, sigma),
                self.columns,
                self.levels,
                spans=self.read,
                middle_up=self.needs.blocks == MIDDLE_UP,
                blocks=block_range(self.needs.blocks) or self.family.wanted_blocks(self.network),
                heads=self.needs.heads,
                self_rows=self.needs.self_rows,
                stop_after=stop_after,
                backend=attention_pytorch,
                # A network that drops the options never obeys another pack's override.
                previous=None
                if self.family.drops_options
                else transformer.get("optimized_attention_override"),
            )
            seen.append(capture)
            transformer["optimized_attention_override"] = capture
            replace = transformer.get("patches_replace", {})
            if "attn2" in replace:
                transformer["patches_replace"] = {
                    **replace,
                    "attn2": observe_replaced(capture, replace["attn2"]),
                }
            around = functools.partial(
                forward_context, self.network, self.family, capture, self.casting, self.half, self.fast
            )
            with around(), self.checkpoint_policy.surround(self.guider.inner_model, x, capture, around):
                return comfy.samplers.calc_cond_batch(
                    self.guider.inner_model, [[cond]], x, sigma, model_options
                )[0]

        self.forwards += 1
        predicted = None
        try:
            if isinstance(self.model_k, comfy.samplers.KSamplerX0Inpaint):
                blended = copy.copy(
                    self.model_k
                )  # the host's own blending of masked latents, around our one-entry model
                positive_only.inner_model = self.guider.inner_model
                blended.inner_model = positive_only
                predicted = blended(
                    x, self.sigma, denoise_mask=plain(self.extra.get("denoise_mask")), model_options=options
                )
            else:
                predicted = positive_only(x, self.sigma, options)
        except AllCaptured:
            pass
        capture = seen[0]
        if not capture.layers:
            levels = f"level {', '.join(map(str, self.levels))}" if self.levels else "any level"
            levels += "" if self.needs.blocks == "auto" else f" in blocks {self.needs.blocks}"
            raise RuntimeError(
                f"No text-to-image attention was seen at {levels} of this model "
                f"(queries, keys seen: {sorted(capture.lengths)}). Set levels and blocks to 'auto', or choose what this model has."
            )
        self.layers = self.layers or len(capture.layers)
        self.cut_override |= capture.cut_override
        return predicted

    def _cond(self) -> dict:
        """The entry with copies of what its encoders made: some networks write into it."""
        cond = self.guider.conds[self.entry.name][self.entry.index]
        made = {
            name: c._copy_with(c.cond.clone()) if isinstance(c.cond, Tensor) else c
            for name, c in cond["model_conds"].items()
        }
        return {**cond, "model_conds": made}

    def _layout(self, cond: dict, x: Tensor, sigma: Tensor) -> AttentionLayout:
        area = comfy.samplers.get_area_and_mult(cond, x, sigma)
        conds = {name: c.cond for name, c in area.conditioning.items()}
        rows = self.entry.tokens.rows if cond.get("cross_attn") is None else cond["cross_attn"].shape[1]
        return self.family.layout(Inputs(self.network, tuple(area.input_x.shape), conds, rows))

    def _maps(self, capture: Capture) -> AttentionMaps:
        """Mean over layers (and heads) per level: [B, h, w, n]."""
        by_level: dict[int, list[Tensor]] = {}
        for level, p in capture.layers:
            by_level.setdefault(level, []).append(scaled(p, self.scale))
        columns = tuple(range(self.columns.start, self.columns.stop))
        self_rows = (
            {
                level: functools.partial(
                    _self_rows, [a for at, a in capture.self_attention if at == level], self.scale
                )
                for level in by_level
            }
            if self.needs.self_rows
            else {}
        )
        heads = (
            {level: tuple(layers) for level, layers in by_level.items()} if self.needs.heads else {}
        )  # [B, heads, h, w, n] each
        cross = {
            level: torch.stack([p.mean(1) if heads else p for p in layers]).mean(0)
            for level, layers in by_level.items()
        }  # [B, h, w, n]
        return AttentionMaps(cross, columns, self.spans, heads, self_rows, self.prompt, self.template)

    def _options(self) -> dict:
        """A private copy of the run's model options, made safe for a single differentiable pass."""
        options = comfy.model_patcher.create_model_options_clone(self.extra["model_options"])
        options.pop("multigpu_clones", None)  # that path runs in threads without gradients
        transformer = options.setdefault("transformer_options", {})
        for table in transformer.get("wrappers", {}).values():
            for key in SKIPS_THE_MODEL:
                table.pop(key, None)
        if "control" in self.guider.conds[self.entry.name][self.entry.index]:
            # The host adds ControlNet residuals in place to tensors that autograd has saved.
            patches = {**transformer.get("patches", {})}
            patches["input_block_patch_after_skip"] = [
                *patches.get("input_block_patch_after_skip", []),
                _fresh,
            ]
            transformer["patches"] = patches
        if self.family.options is not None:
            options["transformer_options"] = self.family.options(transformer)
        return options


def scaled(t: Tensor, scale: float) -> Tensor:
    """t itself, and its gradient times `scale` where it comes by."""
    if scale != 1 and t.requires_grad:
        t.register_hook(lambda g: g * scale)
    return t


def _self_rows(layers: list[SelfAttention], scale: float, cells: Tensor) -> Tensor:
    """Rows of self-attention, mean over layers: [B, r, h, w]; their gradient times `scale`."""
    return scaled(torch.stack([layer.rows(cells) for layer in layers]).mean(0), scale)


def _fresh(h: Tensor, _options: dict) -> Tensor:
    return h.clone()
