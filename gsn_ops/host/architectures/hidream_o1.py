"""HiDream O1: a language model that draws pixels, [text, image]; queries without the text, which attends elsewhere."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, register_family
from .transformer import joint


def token_ids(inputs: Inputs) -> AttentionLayout:
    return joint(inputs, "TI", inputs.conds["input_ids"].shape[1])


def without_cache(options: dict) -> dict:
    """Any patch of its blocks keeps the model from storing keys and values of a pass, graph and all, in itself."""
    replace = options.get("patches_replace", {})
    return {
        **options,
        "patches_replace": {**replace, "dit": replace.get("dit") or {("double_block", -1): None}},
    }


HIDREAM_O1 = ModelFamily("HiDream O1", token_ids, options=without_cache)

register_family(HIDREAM_O1, "HiDreamO1")
