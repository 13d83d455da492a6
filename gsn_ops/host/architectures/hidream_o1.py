"""HiDream O1: a language model that generates pixels, [text, image]; the text attends separately."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, register_family
from .transformer import joint


def token_ids(inputs: Inputs) -> AttentionLayout:
    """Its text enters as token ids."""
    return joint(inputs, "TI", inputs.conds["input_ids"].shape[1])


def without_cache(options: dict) -> dict:
    """With any patch of its blocks, the model does not store the keys and values of a pass.

    Stored, they would keep its graph.
    """
    replace = options.get("patches_replace", {})
    return {
        **options,
        "patches_replace": {**replace, "dit": replace.get("dit") or {("double_block", -1): None}},
    }


HIDREAM_O1 = ModelFamily("HiDream O1", token_ids, options=without_cache)

register_family(HIDREAM_O1, "HiDreamO1")
