"""The options of the network in one pass of ours: other nodes' patches, seen and made safe for gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import comfy.patcher_extension
from torch import Tensor

from .capture import Capture
from .isolation import with_fresh_tensors
from .replaced_attention import observe_replaced

KEY = "gsn_pass"
APPLY_MODEL = comfy.patcher_extension.WrappersMP.APPLY_MODEL


def install(
    transformer_options: dict, capture: Capture, controlled: bool, on_options: Callable[[dict], None]
):
    """Put a capture into a private copy of the options of one pass.

    Patches are changed at the last moment, for those of hooks on the prompt come late. controlled: the pass
    has a ControlNet. on_options: told the options that the network would get.
    """
    transformer_options["optimized_attention_override"] = capture
    wrapper = functools.partial(_call, capture, controlled, on_options)
    comfy.patcher_extension.add_wrapper_with_key(APPLY_MODEL, KEY, wrapper, transformer_options)


def _call(
    capture: Capture,
    controlled: bool,
    on_options: Callable[[dict], None],
    executor: Any,
    x: Tensor,
    t: Tensor,
    c_concat: Any = None,
    c_crossattn: Any = None,
    control: Any = None,
    transformer_options: dict | None = None,
    **kwargs: Any,
) -> Tensor:
    """ComfyUI's apply_model with the patches of this pass."""
    options = {**(transformer_options or {})}
    on_options(_of_others(options))
    options["patches"] = _patches(options.get("patches", {}), capture, controlled)
    replaced = with_fresh_tensors(options.get("patches_replace", {}))
    if "attn2" in replaced:
        replaced["attn2"] = observe_replaced(capture, replaced["attn2"])
    options["patches_replace"] = replaced
    return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)


def _of_others(options: dict) -> dict:
    """The options without what `install` has put there: who keeps them keeps no cycle."""
    wrappers = {
        kind: {key: added for key, added in of_kind.items() if key != KEY}
        for kind, of_kind in options.get("wrappers", {}).items()
    }
    own = options.get("optimized_attention_override")
    return {**options, "wrappers": wrappers, "optimized_attention_override": getattr(own, "previous", own)}


def _patches(table: dict, capture: Capture, controlled: bool) -> dict:
    patches = safe_patches(table, controlled)
    if "attn2_patch" in patches and capture.copies is not None:
        patches["attn2_patch"] = capture.copies.patches(patches["attn2_patch"])
    return patches


def safe_patches(table: dict, controlled: bool) -> dict:
    """A copy of the network's patches, which write into no tensor that autograd has saved."""
    patches = with_fresh_tensors(table)
    if controlled:
        # ComfyUI adds ControlNet residuals in place to tensors that autograd has saved.
        after_skip = patches.get("input_block_patch_after_skip", [])
        patches["input_block_patch_after_skip"] = [*after_skip, _copy_features]
    return patches


def _copy_features(h: Tensor, _options: dict) -> Tensor:
    return h.clone()
