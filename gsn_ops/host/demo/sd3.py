"""A second demo model in SD3's layout: 3.6 M parameters, an MM-DiT with a CLIP and a T5, rectified flow.

The same training images, latent and VAE as `demo/sd.py`. Tokenizers, encoders, network and schedule (shift 3)
are ComfyUI's own; this file says how small they are. A prompt is CLIP's 77 rows, then 77 or more of T5, as in
SD3. There is no CLIP-G, and no pooled text.
"""

from __future__ import annotations

from pathlib import Path

import comfy.sd
import comfy.supported_models
import comfy.text_encoders.sd3_clip as sd3_clip
import torch
from comfy.model_patcher import ModelPatcher
from comfy.supported_models_base import ClipTarget

from . import sd

PATH = sd.PATH.with_name("tiny_sd3_shapes.safetensors")
FORMAT = "gsn-tiny-sd3-shapes-1"
SHAPES_DIGEST = "1adee903092b84ec"
WIDTH = 64  # channels of both encoders
SD3_WIDTH = 4096  # to which ComfyUI pads those of CLIP
BLOCKS = 5  # ComfyUI would build as many as there are heads: two
CLIP = "text_encoders.clip_l.transformer.text_model."
CLIP_TABLE = f"{CLIP}embeddings.token_embedding.weight"
T5_TABLE = "text_encoders.t5xxl.transformer.shared.weight"
T5_VOCABULARY = 32128
# SD3 uses the output of CLIP's second-to-last layer. The last one is not in the file: its zero weights make
# it the identity; its output is unused.
CLIP_MODEL = {**sd.TEXT_MODEL, "num_hidden_layers": 3}
T5_MODEL = {"d_model": WIDTH, "num_layers": 2, "num_heads": 2, "d_kv": 32, "d_ff": 128}


class _WideT5(sd3_clip.T5XXLModel):
    """T5 with its rows padded to the width to which ComfyUI's SD3 pads those of CLIP."""

    def encode_token_weights(self, token_weight_pairs):
        rows, *rest = super().encode_token_weights(token_weight_pairs)
        return torch.nn.functional.pad(rows, (0, SD3_WIDTH - WIDTH)), *rest


class DemoText(sd3_clip.SD3ClipModel):
    """ComfyUI's text encoder of SD3; the channels that are always zero are cut off again."""

    def __init__(self, device="cpu", dtype=None, model_options=None):
        model_options = model_options or {}
        super().__init__(clip_g=False, t5=False, device=device, dtype=dtype, model_options=model_options)
        self.t5_attention_mask = False
        self.t5xxl = _WideT5(device=device, dtype=dtype, model_options=model_options)

    def encode_token_weights(self, token_weight_pairs):
        rows, pooled, extra = super().encode_token_weights(token_weight_pairs)
        return rows[..., :WIDTH], pooled, extra


class DemoSD3(comfy.supported_models.SD3):
    """SD3 with two heads, four latent channels and a text width of 64. demo_name: in reports."""

    demo_name = "demo model (MM-DiT)"
    unet_config = {"in_channels": 4, "pos_embed_scaling_factor": None, "depth": 2}
    unet_extra_config = {"num_blocks": BLOCKS}
    latent_format = sd.DemoLatent

    def clip_target(self, state_dict=None):
        return ClipTarget(sd3_clip.SD3Tokenizer, DemoText)

    def process_clip_state_dict(self, state_dict):
        """Expand the token tables, and add a last layer to CLIP."""
        for table, ids, vocabulary in (
            (CLIP_TABLE, sd.TOKEN_IDS, sd.VOCABULARY),
            (T5_TABLE, "tiny.piece_ids", T5_VOCABULARY),
        ):
            state_dict[table] = sd.full_token_table(state_dict[table], state_dict.pop(ids), vocabulary)
        last = {
            name.replace(".layers.1.", ".layers.2."): torch.zeros_like(value)
            for name, value in state_dict.items()
            if name.startswith(f"{CLIP}encoder.layers.1.")
        }
        norm = {f"{CLIP}final_layer_norm.{name}": torch.zeros(WIDTH) for name in ("weight", "bias")}
        return super().process_clip_state_dict({**state_dict, **last, **norm})


def load_tensors(
    tensors: dict[str, torch.Tensor], config: type[DemoSD3] = DemoSD3
) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """The tensors of a file of this layout -> (MODEL, CLIP, VAE)."""
    return sd.load_as(config, tensors, {"clip_l_model_config": CLIP_MODEL, "t5xxl_model_config": T5_MODEL})


def load_demo_sd3(
    path: str | Path | None = None,
) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Load the SD3-like demo model -> (MODEL, CLIP, VAE).

    path: another file of the same kind. Errors: see `sd.read`.
    """
    loaded = load_tensors(sd.read(Path(path or PATH), FORMAT, SHAPES_DIGEST))
    return sd.reloadable(loaded, load_demo_sd3, path)
