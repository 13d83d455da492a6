"""Tencent's picture models: Hunyuan-DiT (cross-attention to BERT, then mT5) and HunyuanImage 2.1 (a Flux-like [text, image])."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, refuse, register_family
from .transformer import cross, joint, text_rows


def bert_then_mt5(inputs: Inputs) -> AttentionLayout:
    return cross(inputs, text_rows(inputs) + inputs.conds["encoder_hidden_states_t5"].shape[1])


def qwen_then_byt5(inputs: Inputs) -> AttentionLayout:
    quoted = inputs.conds.get("txt_byt5")  # text in quotes, letter by letter
    return joint(inputs, "TI", text_rows(inputs) + (0 if quoted is None else quoted.shape[1]))


HUNYUAN_DIT = ModelFamily(
    "Hunyuan-DiT",
    bert_then_mt5,
    text=("", "conditioning_mt5xl"),
    encoders=("hydit_clip", "mt5xl"),
    drops_options=("comfy.ldm.hydit.attn_layers",),
)
HUNYUAN_IMAGE = ModelFamily(
    "HunyuanImage 2.1",
    qwen_then_byt5,
    text=("", "conditioning_byt5small"),
    blocks="double_blocks",
    source="ours: as on Flux",
    rope_kernels=True,
    in_place=True,
)

register_family(HUNYUAN_DIT, "HunyuanDiT", "HunyuanDiT1")
register_family(HUNYUAN_IMAGE, "HunyuanImage21")
refuse(
    "it is the HunyuanImage refiner, which only sharpens a picture. Connect this node to the base model.",
    "HunyuanImage21Refiner",
)
