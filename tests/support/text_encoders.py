"""ComfyUI's text encoders, each with its own tokenizer and code, tiny and with random weights, as a CLIP
loader node hands them on.

Tokenizers that ComfyUI does not ship (they are inside published checkpoints) are made here, of the same
kind, from a few words.
"""

from __future__ import annotations

import base64
import functools
import importlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from .architectures import ARCHITECTURES, Architecture

PROMPT = "a red fire truck and a blue dog"
SUBJECT = "fire truck"
INSTEAD = (
    "gold",
    "milk",
    "stone",
    "glass",
    "chair",
    "house",
    "table",
    "bottle",
    "tomato",
)  # of "fire", of "truck"
INSTRUCTIONS = (
    "You are an assistant designed to generate superior images with a degree of "
    "image-text alignment based on prompts. <Prompt Start>"
)
WORDS = 300  # an embedding table with more rows is one of words


def clip(width: int, heads: int = 2) -> dict:
    return {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 3,
        "num_attention_heads": heads,
    }


def t5(width: int) -> dict:
    return {"d_model": width, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}


def llama(width: int, layers: int = 3) -> dict:
    return {
        "hidden_size": width,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }


@functools.cache
def spiece(pad: int, start: int, end: int, unknown: int) -> Tensor:
    """A sentencepiece model, as the bytes that checkpoints carry, with these numbers of its special pieces
    (start -1: none).
    """
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"{PROMPT} or with {' '.join(INSTEAD)}", INSTRUCTIONS] * 20),
        model_writer=out,
        vocab_size=110,
        model_type="bpe",
        pad_id=pad,
        bos_id=start,
        eos_id=end,
        unk_id=unknown,
        character_coverage=1.0,
        minloglevel=2,
        num_threads=1,
    )
    return torch.frombuffer(bytearray(out.getvalue()), dtype=torch.uint8)


def gemma() -> Tensor:
    return spiece(0, 2, 1, 3)


def mt5() -> Tensor:
    return spiece(0, -1, 1, 2)


def jina() -> Tensor:
    return spiece(1, 0, 2, 3)


@functools.cache
def tekken() -> Tensor:
    """Mistral's tokenizer file: bytes, whole words, and some words in two pieces."""
    words = [" a", " red", " fire", " and", " blue", " dog", " or", " with", " gold", " milk", " chair"]
    parts = [
        " t",
        " tr",
        " tru",
        "ck",
        " h",
        " ho",
        " hou",
        "se",
        "ta",
        " ta",
        "bl",
        "ble",
        " b",
        " bo",
        " bot",
        "tl",
        "tle",
    ]
    vocabulary = [bytes([n]) for n in range(256)] + [w.encode() for w in words + parts]
    special = [
        "<unk>",
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
        "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
        "<s2>",
        "<s3>",
        "<s4>",
        "<s5>",
        "<pad>",
    ]
    data = {
        "config": {"default_vocab_size": len(special) + len(vocabulary)},
        "vocab": [
            {"rank": n, "token_bytes": base64.b64encode(token).decode()} for n, token in enumerate(vocabulary)
        ],
        "special_tokens": [{"rank": n, "token_str": token} for n, token in enumerate(special)],
    }
    return torch.frombuffer(bytearray(json.dumps(data).encode()), dtype=torch.uint8)


@functools.cache
def gpt_oss() -> Tensor:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.train_from_iterator(
        [f"{PROMPT} or with {' '.join(INSTEAD)}"] * 3,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<|start|>", "<|message|>", "<|end|>", "<|channel|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return torch.frombuffer(bytearray(t.to_str().encode()), dtype=torch.uint8)


@dataclass(frozen=True)
class Setup:
    """tokenizer, model: "module.name" under `comfy`; a model that is not a class is made by its function's
    call.

    configs: sizes by ComfyUI's names. both_ways: keys of the encoders that are not causal. unseen: those
    that are only pooled. blind: those whose rows the network does not attend to. data: what comes with a
    checkpoint. network: which tiny network reads it, and changed how. starts: keys whose columns in the
    network's attention begin elsewhere than at its first text row, as a function of the sizes of the tensors.
    """

    tokenizer: str
    model: str
    configs: dict[str, dict]
    network: str
    changes: dict[str, Any] = field(default_factory=dict)
    both_ways: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    data: dict[str, Callable[[], Tensor]] = field(default_factory=dict)
    prompt: str = PROMPT
    options: dict[str, Any] = field(default_factory=dict)
    starts: Callable[[dict[str, int]], dict[str, int]] = lambda sizes: {}

    @property
    def architecture(self) -> Architecture:
        arch = ARCHITECTURES[self.network]
        unet = {name: value for name, value in self.changes.items() if name in arch.unet}
        settings = {name: value for name, value in self.changes.items() if name in arch.settings}
        assert len(unet) + len(settings) == len(self.changes)
        return replace(arch, unet={**arch.unet, **unet}, settings={**arch.settings, **settings})

    def build(self, embeddings: str | None = None, **which: bool):
        """ComfyUI's CLIP. which: encoders that a loader was given or not, by ComfyUI's names
        (`t5=False`).
        """
        model = _found(self.model)
        data = {name: make() for name, make in self.data.items()}
        return build(
            _found(self.tokenizer),
            model if isinstance(model, type) else model(**which),
            self.configs,
            embeddings,
            data,
            self.options,
        )


def _found(path: str):
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(f"comfy.{module}"), name)


def build(
    tokenizer: type,
    model: type,
    configs: dict[str, dict],
    embeddings: str | None = None,
    data: dict | None = None,
    options: dict | None = None,
):
    """A CLIP of ComfyUI with small random weights: a token's own row changes most when the token does."""
    import comfy.sd
    from transformers import Qwen2Tokenizer

    target = SimpleNamespace(params={}, tokenizer=tokenizer, clip=lambda **params: _fill(model(**params)))
    options = {
        **(options or {}),
        "dtype": torch.float32,
        **{f"{name}_model_config": dict(config) for name, config in configs.items()},
    }
    with (
        torch.inference_mode(),
        patch.object(Qwen2Tokenizer, "from_pretrained", partial(_read_once, Qwen2Tokenizer.from_pretrained)),
    ):
        return comfy.sd.CLIP(
            target,
            embedding_directory=embeddings,
            tokenizer_data=data or {},
            model_options=options,
            disable_dynamic=True,
        )


@functools.cache
def _read_once(read: Callable, path: str):
    """Qwen's tokenizer, which takes long to read and many have."""
    return read(path)


def _fill(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for path, module in list(model.named_modules()):
        if path.endswith(
            ".visual"
        ):  # a vision tower has no small sizes: one layer of it, and zeros, which need no memory
            module.blocks = module.blocks[:1]
    for path, module in model.named_modules():
        if (
            getattr(module, "weight", 0) is None
            or not hasattr(module, "weight")
            and hasattr(module, "in_features")
        ):  # made by loading
            shape = getattr(module, "_orig_shape", (module.out_features, module.in_features))
            module.load_state_dict({"weight": torch.zeros(shape)}, strict=False)
        for name, p in list(module._parameters.items()):
            if p is not None:
                values = (
                    torch.zeros(()).expand(p.shape) if ".visual" in path else _filled(module, p, generator)
                )
                module._parameters[name] = torch.nn.Parameter(values, requires_grad=False)
    return model


def _filled(module: torch.nn.Module, p: Tensor, generator: torch.Generator) -> Tensor:
    """Random values of this shape. A table of words is a walk through a short list of numbers, so that it
    takes no memory.
    """
    if p.ndim < 2:
        return torch.full(
            p.shape, -0.8 if getattr(module, "add", False) else 1.0
        )  # Gemma adds 1 to what scales a block's output
    if isinstance(module, torch.nn.Embedding) and len(p) > WORDS:
        return torch.randn(7 * len(p) + p.shape[1], generator=generator).as_strided(p.shape, (7, 1))
    return 0.3 * torch.randn(p.shape, generator=generator) / p.shape[-1] ** 0.5


CLIP_XL = {"clip_l": clip(4), "clip_g": clip(20)}
T5_ONLY = ("text_encoders.pixart_t5.PixArtTokenizer", "text_encoders.pixart_t5.pixart_te", {"t5xxl": t5(24)})
QWEN_VL_8B = {"qwen3vl_8b": llama(24)}

SETUPS: dict[str, Setup] = {
    "SD1": Setup("sd1_clip.SD1Tokenizer", "sd1_clip.SD1ClipModel", {"clip_l": clip(24)}, "SD1"),
    "SD2": Setup(
        "text_encoders.sd2_clip.SD2Tokenizer",
        "text_encoders.sd2_clip.SD2ClipModel",
        {"clip_h": clip(24)},
        "SD2",
    ),
    "SDXL": Setup("sdxl_clip.SDXLTokenizer", "sdxl_clip.SDXLClipModel", CLIP_XL, "SDXL"),
    "Cascade": Setup(
        "sdxl_clip.StableCascadeTokenizer",
        "sdxl_clip.StableCascadeClipModel",
        {"clip_g": clip(24)},
        "Cascade",
        {"c_clip_text_pooled": 24},
    ),
    "SD3": Setup(
        "text_encoders.sd3_clip.SD3Tokenizer",
        "text_encoders.sd3_clip.sd3_clip",
        {"clip_l": clip(4), "clip_g": clip(16), "t5xxl": t5(4096)},
        "SD3",
        both_ways=("t5xxl",),
        changes={
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 4096, "out_features": 128},
            }
        },
    ),
    "Flux": Setup(
        "text_encoders.flux.FluxTokenizer",
        "text_encoders.flux.flux_clip",
        {"clip_l": clip(12), "t5xxl": t5(24)},
        "Flux",
        both_ways=("t5xxl",),
        unseen=("l",),
    ),
    "AuraFlow": Setup(
        "text_encoders.aura_t5.AuraT5Tokenizer",
        "text_encoders.aura_t5.AuraT5Model",
        {"pile_t5xl": t5(24)},
        "AuraFlow",
        both_ways=("pile_t5xl",),
    ),
    "PixArt": Setup(*T5_ONLY, "PixArt-sigma", both_ways=("t5xxl",)),
    "Chroma": Setup(*T5_ONLY, "Chroma", both_ways=("t5xxl",)),
    "HunyuanDiT": Setup(
        "text_encoders.hydit.HyditTokenizer",
        "text_encoders.hydit.HyditModel",
        {"hydit_clip": clip(24), "mt5xl": t5(40)},
        "HunyuanDiT",
        both_ways=("hydit_clip", "mt5xl"),
        data={"mt5xl.spiece_model": mt5},
        starts=lambda n: {"mt5xl": n[""]},
    ),
    "Cosmos": Setup(
        "text_encoders.cosmos.CosmosT5Tokenizer",
        "text_encoders.cosmos.te",
        {"t5xxl": t5(24)},
        "Cosmos-Predict2",
        both_ways=("t5xxl",),
    ),
    "HiDream": Setup(
        "text_encoders.hidream.HiDreamTokenizer",
        "text_encoders.hidream.hidream_clip",
        {"clip_l": clip(4), "clip_g": clip(8), "t5xxl": t5(24), "llama": llama(20)},
        "HiDream",
        both_ways=("t5xxl",),
        unseen=("l", "g"),
        starts=lambda n: {"llama": n[""], "llama 2": n[""] + n["conditioning_llama3"]},
    ),
    "HiDream O1": Setup(
        "text_encoders.hidream_o1.HiDreamO1Tokenizer",
        "text_encoders.hidream_o1.HiDreamO1TE",
        {},
        "HiDream O1",
    ),
    "Lumina 2": Setup(
        "text_encoders.lumina2.LuminaTokenizer",
        "text_encoders.lumina2.te",
        {"gemma2_2b": llama(24)},
        "Lumina 2",
        data={"spiece_model": gemma},
    ),
    "NewBie": Setup(
        "text_encoders.newbie.NewBieTokenizer",
        "text_encoders.newbie.te",
        {"": clip(24, heads=4)},
        "NewBie",
        {"clip_text_dim": 24},
        unseen=("jina",),
        data={"gemma_spiece_model": gemma, "jina_spiece_model": jina},
    ),
    "PixelDiT": Setup(
        "text_encoders.pixeldit.PixelDiTGemma2Tokenizer",
        "text_encoders.pixeldit.pixeldit_te",
        {"gemma2_2b": llama(24)},
        "PixelDiT",
        data={"spiece_model": gemma},
    ),
    "Z-Image": Setup(
        "text_encoders.z_image.ZImageTokenizer",
        "text_encoders.z_image.te",
        {"qwen3_4b": llama(24)},
        "Z-Image",
    ),
    "Qwen-Image": Setup(
        "text_encoders.qwen_image.QwenImageTokenizer",
        "text_encoders.qwen_image.te",
        {"qwen25_7b": llama(24)},
        "Qwen-Image",
    ),
    "OmniGen 2": Setup(
        "text_encoders.omnigen2.Omnigen2Tokenizer",
        "text_encoders.omnigen2.te",
        {"qwen25_3b": llama(24)},
        "OmniGen 2",
    ),
    "HunyuanImage": Setup(
        "text_encoders.hunyuan_image.HunyuanImageTokenizer",
        "text_encoders.hunyuan_image.te",
        {"qwen25_7b": llama(24, 4), "": t5(1472)},
        "HunyuanImage",
        both_ways=("byt5",),
        prompt='a red "fire truck" and a blue dog',
        starts=lambda n: {"byt5": n[""]},
    ),
    "Kandinsky 5": Setup(
        "text_encoders.kandinsky5.Kandinsky5TokenizerImage",
        "text_encoders.kandinsky5.te",
        {"qwen25_7b": llama(24), "clip_l": clip(12)},
        "Kandinsky 5",
        unseen=("l",),
    ),
    "Kandinsky 5 video": Setup(
        "text_encoders.kandinsky5.Kandinsky5Tokenizer",
        "text_encoders.kandinsky5.te",
        {"qwen25_7b": llama(24), "clip_l": clip(12)},
        "Kandinsky 5 video",
        unseen=("l",),
    ),
    "HunyuanVideo": Setup(
        "text_encoders.hunyuan_video.HunyuanVideoTokenizer",
        "text_encoders.hunyuan_video.hunyuan_video_clip",
        {"llama": llama(24, 4), "clip_l": clip(12)},
        "HunyuanVideo",
        unseen=("l",),
    ),
    "HunyuanVideo 1.5": Setup(
        "text_encoders.hunyuan_video.HunyuanVideo15Tokenizer",
        "text_encoders.hunyuan_image.te",
        {"qwen25_7b": llama(24, 4), "": t5(1472)},
        "HunyuanVideo 1.5",
        both_ways=("byt5",),
        prompt='a red "fire truck" and a blue dog',
        starts=lambda n: {"qwen25_7b": n["conditioning_byt5small"]},
    ),
    "Wan": Setup(
        "text_encoders.wan.WanT5Tokenizer",
        "text_encoders.wan.te",
        {"umt5xxl": t5(24)},
        "Wan",
        both_ways=("umt5xxl",),
        data={"spiece_model": mt5},
    ),
    "Ovis": Setup(
        "text_encoders.ovis.OvisTokenizer", "text_encoders.ovis.te", {"qwen3_2b": llama(24)}, "Ovis"
    ),
    "LongCat": Setup(
        "text_encoders.longcat_image.LongCatImageTokenizer",
        "text_encoders.longcat_image.te",
        {"qwen25_7b": llama(24)},
        "LongCat",
    ),
    "Anima": Setup(
        "text_encoders.anima.AnimaTokenizer",
        "text_encoders.anima.te",
        {"qwen3_06b": llama(1024)},
        "Anima",
        blind=("qwen3_06b",),
    ),
    "Flux 2": Setup(
        "text_encoders.flux.Flux2Tokenizer",
        "text_encoders.flux.flux2_te",
        {"mistral3_24b": llama(8, 31)},
        "Flux 2",
        data={"tekken_model": tekken},
    ),
    "Klein": Setup(
        "text_encoders.flux.KleinTokenizer",
        "text_encoders.flux.klein_te",
        {"qwen3_4b": llama(8, 28)},
        "Flux 2",
    ),
    "ERNIE": Setup(
        "text_encoders.ernie.ErnieTokenizer",
        "text_encoders.ernie.te",
        {"ministral3_3b": llama(24)},
        "ERNIE",
        data={"tekken_model": tekken},
    ),
    "Boogu": Setup("text_encoders.boogu.BooguTokenizer", "text_encoders.boogu.te", QWEN_VL_8B, "Boogu"),
    "Ideogram 4": Setup(
        "text_encoders.ideogram4.Ideogram4Tokenizer",
        "text_encoders.ideogram4.te",
        {"qwen3vl_8b": llama(4, 36)},
        "Ideogram 4",
        {"llm_features_dim": 52},
    ),
    "Ideogram 4, with pictures": Setup(
        "text_encoders.ideogram4.Ideogram4Qwen3VLTokenizer",
        "text_encoders.ideogram4.te_qwen3vl",
        {"qwen3vl_8b": llama(4, 36)},
        "Ideogram 4",
        {"llm_features_dim": 52},
    ),
    "JoyImage": Setup(
        "text_encoders.joyimage.JoyImageTokenizer", "text_encoders.joyimage.te", QWEN_VL_8B, "JoyImage"
    ),
    "Krea 2": Setup(
        "text_encoders.krea2.Krea2Tokenizer",
        "text_encoders.krea2.te",
        {"qwen3vl_4b": llama(12, 36)},
        "Krea 2",
        {"txtlayers": 12},
    ),
    "MageFlow": Setup(
        "text_encoders.mage_flow.MageFlowTokenizer",
        "text_encoders.mage_flow.te",
        {"qwen3vl_4b": llama(24)},
        "MageFlow",
    ),
    "Lens": Setup(
        "text_encoders.gpt_oss.LensTokenizer",
        "text_encoders.gpt_oss.lens_te",
        {},
        "Lens",
        data={"tokenizer_json": gpt_oss},
        options={
            "gpt_oss_config": {
                **llama(12, 2),
                "head_dim": 16,
                "num_local_experts": 2,
                "num_experts_per_tok": 1,
            },
            "selected_layers": (0, 1),
        },
    ),
}
