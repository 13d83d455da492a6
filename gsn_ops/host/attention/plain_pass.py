"""Differentiable passes of a running model whose attention is not read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import comfy.ldm.modules.attention as kernels
import comfy.model_management
import comfy.model_patcher
import comfy.samplers
from torch import Tensor

from ...torch_ops.unreadable import UnreadablePass, sentence
from ..architectures.family import ModelFamily
from ..autograd.differentiable import without_inference_flag
from ..autograd.recast_weights import recastable_layers
from .capture import Capture
from .forward_context import forward_context
from .isolation import with_fresh_tensors
from .memory_policy import CheckpointPolicy, is_out_of_memory, out_of_memory
from .other_packs import names_on
from .pass_options import safe_patches
from .probe import SKIPS_THE_MODEL

Result = TypeVar("Result")
OVERRIDE = "optimized_attention_override"


@dataclass(frozen=True)
class PlainAttention:
    """Stands where passes have their capture: sees nothing, and attends by torch, which has a gradient.

    previous: another override, which gets torch's attention in the place of ComfyUI's.
    """

    previous: Callable | None = None

    def __call__(self, func: Callable, *args: Any, **kwargs: Any) -> Any:
        if self.previous is not None:
            return self.previous(kernels.attention_pytorch, *args, **kwargs)
        return kernels.attention_pytorch(*args, **kwargs)

    def snapshot(self) -> None:
        return None

    def restore(self, before: None) -> None:
        return None


class PlainPasses:
    """Of one run. inner: its BaseModel. options: the run's model options, which stay as they are."""

    def __init__(self, inner: Any, family: ModelFamily, options: dict, policy: CheckpointPolicy):
        self.inner, self.family, self.policy = inner, family, policy
        self.options = plain_options(options)
        dtype, device = inner.get_dtype_inference(), inner.device
        self.recast_layers = recastable_layers(inner.diffusion_model, dtype, device)

    def predict(self, conds: Sequence[dict], x: Tensor, sigma: Tensor, kept: Sequence[Tensor] = ()) -> Tensor:
        """The prediction [B, ...] of these entries at x [B, ...], with gradients, inside `differentiable`.

        kept: embeddings that have a gradient; other tensors of the entries are copied.
        """
        transformer = self.options["transformer_options"]
        attention = PlainAttention(transformer.get(OVERRIDE))
        controlled = any("control" in cond for cond in conds)
        safe = {
            OVERRIDE: attention,
            "patches": safe_patches(transformer.get("patches", {}), controlled),
            "patches_replace": with_fresh_tensors(transformer.get("patches_replace", {})),
        }
        options = {**self.options, "transformer_options": {**transformer, **safe}}
        capture = cast(Capture, attention)
        context = functools.partial(
            forward_context,
            self.inner.diffusion_model,
            self.family,
            capture,
            self.recast_layers,
            bfloat16=False,
            onednn=False,
        )
        own = [_own_tensors(cond, kept) for cond in conds]
        with context(), self.policy.checkpointed(self.inner, x, capture, context):
            return comfy.samplers.calc_cond_batch(self.inner, [own], x, sigma, options)[0]

    def with_less_memory(self, work: Callable[[], Result]) -> Result:
        """The result of work(), done again with passes that store less as long as memory does not suffice.

        Raises ValueError that names what is in the way of the gradient.
        """
        while True:
            try:
                return work()
            except UnreadablePass as error:
                names = names_on(self.options, self.inner.diffusion_model)
                raise ValueError(sentence(error, names)) from error
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not self.policy.store_less():
                    raise out_of_memory() from error
            # Outside of `except`, where the error no longer holds the tensors of the failed pass.
            comfy.model_management.soft_empty_cache()


def plain_options(options: dict) -> dict:
    """A copy of model options without what skips or replaces the forward pass."""
    made = comfy.model_patcher.create_model_options_clone(options)
    made.pop("multigpu_clones", None)  # that path runs in threads without gradients
    transformer = made.setdefault("transformer_options", {})
    for table in transformer.get("wrappers", {}).values():
        for key in SKIPS_THE_MODEL:
            table.pop(key, None)
    return made


def _own_tensors(cond: dict, kept: Sequence[Tensor]) -> dict:
    """The entry with copies of the tensors that its encoders made in inference mode, but for `kept`."""
    made = {
        name: c if any(c.cond is one for one in kept) else c._copy_with(without_inference_flag(c.cond))
        for name, c in cond["model_conds"].items()
    }
    return {**cond, "model_conds": made}
