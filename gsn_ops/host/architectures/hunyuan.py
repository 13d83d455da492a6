"""Hunyuan-DiT (cross-attention to [BERT, mT5]), HunyuanImage 2.1, HunyuanVideo (Flux-like, [text, image])."""

from __future__ import annotations

from dataclasses import replace

from ...attention_layout import AttentionLayout
from .family import Inputs, ModelFamily, TextStream, refuse, register_family
from .transformer import cross, joint, text_rows


def bert_then_mt5(inputs: Inputs) -> AttentionLayout:
    """Hunyuan-DiT: two text encoders in one sequence of keys."""
    return cross(inputs, text_rows(inputs) + inputs.conds["encoder_hidden_states_t5"].shape[1])


def qwen_then_byt5(inputs: Inputs) -> AttentionLayout:
    """HunyuanImage: the prompt, then the text in quotes, letter by letter."""
    quoted = inputs.conds.get("txt_byt5")
    n_quoted = 0 if quoted is None else quoted.shape[1]
    return joint(inputs, "TI", text_rows(inputs) + n_quoted)


def text_then_image(inputs: Inputs) -> AttentionLayout:
    """HunyuanVideo: one sequence."""
    return joint(inputs, "TI")


def byt5_then_qwen(inputs: Inputs) -> AttentionLayout:
    """HunyuanVideo 1.5: the text in quotes, letter by letter, then the prompt."""
    quoted = inputs.conds.get("txt_byt5")
    n_quoted = 0 if quoted is None else quoted.shape[1]
    return joint(inputs, "TI", n_quoted + text_rows(inputs))


HUNYUAN_DIT = ModelFamily(
    "Hunyuan-DiT",
    bert_then_mt5,
    cross=True,
    text=("", "conditioning_mt5xl"),
    encoders=("hydit_clip", "mt5xl"),
    drops_options=("comfy.ldm.hydit.attn_layers",),
)
HUNYUAN_IMAGE = ModelFamily(
    "HunyuanImage 2.1",
    qwen_then_byt5,
    text=("", "conditioning_byt5small"),
    blocks="double_blocks",
    text_stream=TextStream("double_blocks", "txt", "single_blocks"),
    source="ours: as on Flux",
    rope_kernels=True,
    in_place=True,
)

HUNYUAN_VIDEO = replace(HUNYUAN_IMAGE, name="HunyuanVideo", layout=text_then_image, text=("",))
HUNYUAN_VIDEO_15 = replace(
    HUNYUAN_IMAGE, name="HunyuanVideo 1.5", layout=byt5_then_qwen, text=("conditioning_byt5small", "")
)

register_family(HUNYUAN_DIT, "HunyuanDiT", "HunyuanDiT1")
register_family(HUNYUAN_IMAGE, "HunyuanImage21")
register_family(HUNYUAN_VIDEO, "HunyuanVideo")
register_family(HUNYUAN_VIDEO_15, "HunyuanVideo15")
refuse(
    "it makes videos of a given image. Connect the text-to-video model of the same kind, with a latent of 1 "
    "frame.",
    "HunyuanVideoI2V",
    "HunyuanVideoSkyreelsI2V",
    "HunyuanVideo15_SR_Distilled",
)
refuse(
    "it is the HunyuanImage refiner, which only sharpens an image. Connect this node to the base model.",
    "HunyuanImage21Refiner",
)
