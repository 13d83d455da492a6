"""A tiny network of every text-to-image architecture of ComfyUI, made by ComfyUI's own classes with random
weights.

Beside each, what a reader of ComfyUI's code would say about its attention, written down here as plain
numbers and not by the pack's own rules: which modules let the image look at the text, where the text's first
row is among the keys, where the first image token is among the queries, how long the keys are, and the grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

ROWS = 11  # of the conditioning: odd, and unlike any side of a grid below
PLANE = (9, 14)  # latent height and width: not square, and with patches of 2 the height is padded


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Architecture:
    """config: class in ComfyUI's supported_models. unet: its settings. channels, plane: of the latent;
    frames: 5-D with one.

    width, rows: of the conditioning. tensor: the name of another one that has the words. more: its other
    entries. attends: the modules that look at the text, as a pattern. text, image, keys: the first text row
    among the keys (other: rows of other text before the conditioning's), the first image token among the
    queries, the number of keys. grid: image tokens, h x w. scale: c of x = c z as a function of sigma.
    """

    config: str
    unet: dict
    attends: str
    text: int = 0
    other: int = 0
    image: int = 0
    keys: int = ROWS
    grid: tuple[int, int] = (5, 7)
    channels: int = 4
    plane: tuple[int, int] = PLANE
    frames: bool = False
    width: int = 24
    rows: int = ROWS
    tensor: str = ""
    more: Callable[[], dict[str, Any]] = dict
    sigma: float = 0.7
    scale: Callable[[float], float] = lambda sigma: 1.0
    settings: dict = field(default_factory=dict)  # what ComfyUI reads from a checkpoint and not from `unet`

    @property
    def queries(self) -> int:
        """Of a text-to-image call of joint attention."""
        return self.keys

    @property
    def convolves(self) -> bool:
        """Is it a UNet, in which a place also changes its neighbours?"""
        return self.attends == UNETS["attends"]

    def latent(self, batch: int = 1) -> Tensor:
        return torch.zeros(batch, self.channels, *([1] if self.frames else []), *self.plane)

    def conditioning(self, louder: int | None = None) -> tuple[Tensor, dict[str, Any]]:
        """The rows [1, rows, width] and the other entries; `louder`: one row is another one."""
        rows = random(1, self.rows, self.width)
        if louder is not None:
            rows[:, louder] = 2 * random(self.width, seed=9)
        return rows, self.more()

    def build(self, dtype: torch.dtype = torch.float32, computes_in: torch.dtype | None = None):
        """ComfyUI's model with small random weights. In inference mode its weights are what a loader node
        makes.

        computes_in: another type than that of the stored weights, so that layers cast theirs for each call.
        """
        import comfy.supported_models

        config = getattr(comfy.supported_models, self.config)(dict(self.unet))
        config.unet_config.update(self.settings)
        if "num_res_blocks" not in self.unet:
            for name in ("num_heads", "num_head_channels"):  # for UNets only
                if name not in self.unet:
                    config.unet_config.pop(name, None)
        config.set_inference_dtype(dtype, computes_in)
        model = config.get_model({}, device=torch.device("cpu"))
        for seed, (name, p) in enumerate(model.diffusion_model.named_parameters()):
            gain = 0.5 / max(p.shape[-1], 1) ** 0.5 if p.ndim > 1 else 0.1
            offset = 1.0 if p.ndim == 1 and name.endswith(("norm.weight", "scale")) else 0.0
            p.data = (gain * random(*p.shape, seed=seed) + offset).to(p.dtype)
        for seed, (name, p) in enumerate(model.diffusion_model.named_buffers()):
            if name.endswith("pos_embed"):  # not initialised before a checkpoint is loaded
                p.data = random(*p.shape, seed=seed).to(p.dtype)
        return model.eval().requires_grad_(False)


def vp(sigma: float) -> float:
    return (1 + sigma**2) ** 0.5


def pooled(width: int) -> Callable[[], dict]:
    return lambda: {"pooled_output": random(1, width, seed=1)}


def mask_of(rows: int, padding: int = 0) -> Callable[[], dict]:
    return lambda: {"attention_mask": (torch.arange(rows) < rows - padding).long()[None]}  # [1, rows]


def mt5() -> dict:
    return {
        **mask_of(77)(),
        "conditioning_mt5xl": random(1, 256, 40, seed=2),
        "attention_mask_mt5xl": torch.ones(1, 256, dtype=torch.long),
    }


def references(base: Architecture, *planes: tuple[int, int], tokens: int, **changes) -> Architecture:
    """The editing variant: reference latents in the conditioning, which make `tokens` more keys."""
    frame = [1] if base.frames else []
    more = base.more
    return replace(
        base,
        keys=base.keys + tokens,
        more=lambda: {
            **more(),
            "reference_latents": [random(1, base.channels, *frame, *plane, seed=3) for plane in planes],
        },
        **changes,
    )


UNET = {
    "use_checkpoint": False,
    "image_size": 32,
    "use_spatial_transformer": True,
    "legacy": False,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2],
    "transformer_depth": [1, 1, 1],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 24,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "num_heads": 2,
}
UNET_HEADS = {**{k: v for k, v in UNET.items() if k != "num_heads"}, "use_linear_in_transformer": True}
XL = {
    **UNET_HEADS,
    "adm_in_channels": 1536 + 20,
    "num_classes": "sequential",
    "transformer_depth": [0, 1, 2],
    "transformer_depth_output": [0, 0, 1, 1, 2, 2],
    "transformer_depth_middle": 2,
}
CASCADE = {
    "stable_cascade_stage": "c",
    "c_cond": 32,
    "c_hidden": [32, 32],
    "nhead": [2, 2],
    "blocks": [[1, 1], [1, 1]],
    "c_clip_text": 24,
    "c_clip_text_pooled": 20,
}
SD3 = {
    "in_channels": 4,
    "patch_size": 2,
    "depth": 2,
    "num_blocks": 3,
    "adm_in_channels": 20,
    "qk_norm": "rms",
    "num_patches": 64,
    "pos_embed_max_size": 8,
    "pos_embed_scaling_factor": None,
    "x_block_self_attn_layers": [0],
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": 24, "out_features": 128},
    },
}
AURA = {
    "dim": 32,
    "n_layers": 4,
    "n_double_layers": 2,
    "n_heads": 2,
    "global_conddim": 16,
    "cond_seq_dim": 24,
    "max_seq": 64,
}
PIXART = {
    "hidden_size": 48,
    "depth": 2,
    "num_heads": 2,
    "caption_channels": 24,
    "input_size": 16,
    "pe_interpolation": 1,
}
HUNYUAN_DIT = {
    "hidden_size": 32,
    "depth": 4,
    "num_heads": 2,
    "text_states_dim": 24,
    "text_states_dim_t5": 40,
    "text_len": 77,
    "text_len_t5": 256,
    "learn_sigma": True,
}
FLUX = {
    "in_channels": 4,
    "out_channels": 4,
    "vec_in_dim": 12,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [4, 6, 6],
    "theta": 100,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
    "yak_mlp": False,
    "txt_norm": False,
}
SCHNELL = {**FLUX, "guidance_embed": False}
FLUX2 = {
    **FLUX,
    "in_channels": 8,
    "out_channels": 8,
    "patch_size": 1,
    "vec_in_dim": None,
    "axes_dim": [4, 4, 4, 4],
    "global_modulation": True,
    "mlp_silu_act": True,
    "qkv_bias": False,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
    "txt_ids_dims": [3],
}
CHROMA = {
    "in_channels": 16,
    "out_channels": 16,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [4, 6, 6],
    "theta": 100,
    "patch_size": 2,
    "qkv_bias": True,
    "in_dim": 64,
    "out_dim": 32,
    "hidden_dim": 16,
    "n_layers": 1,
    "txt_ids_dims": [],
    "vec_in_dim": None,
}
RADIANCE = {
    **CHROMA,
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 4,
    "nerf_hidden_size": 8,
    "nerf_mlp_ratio": 1,
    "nerf_depth": 1,
    "nerf_max_freqs": 2,
    "nerf_tile_size": 512,
    "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": None,
    "use_x0": False,
    "use_sequential_txt_ids": False,
}
HUNYUAN_IMAGE = {
    "in_channels": 4,
    "out_channels": 4,
    "vec_in_dim": None,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 1,
    "axes_dim": [8, 8],
    "theta": 256,
    "patch_size": [1, 1],
    "qkv_bias": True,
    "guidance_embed": False,
    "byt5": True,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
HUNYUAN_VIDEO = {
    **HUNYUAN_IMAGE,
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 12,
    "axes_dim": [4, 6, 6],
    "patch_size": [1, 2, 2],
    "guidance_embed": True,
    "byt5": False,
}
HUNYUAN_VIDEO_15 = {
    **HUNYUAN_IMAGE,
    "in_channels": 9,  # those of the latent, of a given image, and a mask
    "axes_dim": [4, 6, 6],
    "patch_size": [1, 1, 1],
    "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
}
LUMINA = {
    "patch_size": 2,
    "in_channels": 4,
    "dim": 32,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 1,
    "multiple_of": 8,
    "ffn_dim_multiplier": 1.0,
    "qk_norm": True,
    "cap_feat_dim": 24,
    "axes_dims": [4, 6, 6],
    "axes_lens": [64, 64, 64],
}
Z_IMAGE = {
    **LUMINA,
    "dim": 256,
    "axes_dims": [32, 48, 48],
    "n_kv_heads": 2,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
Z_PIXEL = {
    **Z_IMAGE,
    "patch_size": 4,
    "in_channels": 3,
    "decoder_in_channels": 48,
    "decoder_hidden_size": 16,
    "decoder_num_res_blocks": 1,
    "decoder_max_freqs": 2,
}
QWEN = {
    "patch_size": 2,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": [4, 6, 6],
}
MAGE = {**{k: v for k, v in QWEN.items() if k != "patch_size"}, "in_channels": 8, "out_channels": 8}
OMNI = {
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 48,
    "num_layers": 2,
    "num_refiner_layers": 1,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "multiple_of": 8,
    "axes_dim_rope": [4, 4, 4],
    "axes_lens": [64, 64, 64],
    "timestep_scale": 1000.0,
}
HIDREAM = {
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "caption_channels": [24, 20],
    "text_emb_dim": 12,
    "num_routed_experts": 2,
    "num_activated_experts": 1,
    "axes_dims_rope": [4, 6, 6],
    "max_resolution": [32, 32],
    "llama_layers": [0, 1, 2, 2],
}
HIDREAM_O1 = {
    "text_config_overrides": {
        "vocab_size": 151936,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "rope_dims": [4, 2, 2],
    },
    "vision_config_overrides": {"hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "depth": 1},
}
KANDINSKY = {
    "in_visual_dim": 4,
    "out_visual_dim": 4,
    "in_text_dim": 24,
    "in_text_dim2": 12,
    "time_dim": 16,
    "model_dim": 32,
    "ff_dim": 32,
    "visual_embed_dim": 16,
    "num_text_blocks": 1,
    "num_visual_blocks": 2,
    "axes_dims": (4, 6, 6),
}
COSMOS = {
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "concat_padding_mask": True,
    "model_channels": 64,
    "num_blocks": 2,
    "num_heads": 2,
    "crossattn_emb_channels": 24,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "pos_emb_interpolation": "crop",
    "use_adaln_lora": True,
    "adaln_lora_dim": 8,
    "mlp_ratio": 2.0,
    "extra_per_block_abs_pos_emb": False,
    "rope_enable_fps_modulation": False,
}
COSMOS_VIDEO = {
    **{name: value for name, value in COSMOS.items() if name != "rope_enable_fps_modulation"},
    "block_config": "FA-CA-MLP",
    "block_x_format": "THWBD",
    "affline_emb_norm": True,
    "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}
WAN = {
    "in_dim": 16,
    "out_dim": 16,
    "dim": 64,
    "ffn_dim": 64,
    "freq_dim": 16,
    "text_dim": 24,
    "num_heads": 2,
    "num_layers": 2,
    "model_type": "t2v",
}
ERNIE = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_layers": 2,
    "ffn_hidden_size": 48,
    "in_channels": 8,
    "out_channels": 8,
    "patch_size": 1,
    "text_in_dim": 24,
    "rope_axes_dim": (4, 6, 6),
}
KREA = {
    "features": 64,
    "tdim": 16,
    "txtdim": 12,
    "heads": 4,
    "kvheads": 2,
    "multiplier": 2,
    "layers": 2,
    "patch": 2,
    "channels": 16,
    "txtlayers": 2,
    "txtheads": 2,
    "txtkvheads": 2,
}
LENS = {
    "in_channels": 8,
    "out_channels": 2,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "enc_hidden_dim": 12,
    "axes_dims_rope": (4, 6, 6),
    "selected_layer_index": (0, 1),
}
PIXELDIT = {
    "num_groups": 2,
    "hidden_size": 32,
    "pixel_hidden_size": 4,
    "pixel_attn_hidden_size": 32,
    "pixel_num_groups": 2,
    "patch_depth": 2,
    "pixel_depth": 1,
    "patch_size": 4,
    "txt_embed_dim": 24,
    "txt_max_length": 300,
}

FIRST_T = {"image": ROWS, "keys": ROWS + 35}  # [text, image]
FIRST_I = {"text": 35, "keys": ROWS + 35}  # [image, text]
PACKED = {"channels": 8, "plane": (5, 7)}  # latents whose cells are tokens
UNETS = {"attends": r"attn2$", "plane": (18, 24), "grid": (5, 6), "sigma": 5.0, "scale": vp}
DOUBLE, SINGLE_TOO = r"double_blocks\.\d+$", r"(double|single)_layers\.\d+\.attn$"


@dataclass(frozen=True)
class HiDreamO1(Architecture):
    """Its conditioning is token ids; the rows are a stand-in of ComfyUI's own text node. The text but its
    last token attends by itself.
    """

    @property
    def queries(self) -> int:
        return self.keys - (ROWS - 1)

    def conditioning(self, louder: int | None = None) -> tuple[Tensor, dict[str, Any]]:
        ids = torch.randint(0, 1000, (1, self.rows), generator=torch.Generator().manual_seed(4))
        if louder is not None:
            ids[:, louder] = 77
        return ids.unsqueeze(-1).float() + 1, {"text_input_ids": ids}


@dataclass(frozen=True)
class Anima(Architecture):
    """An adapter turns T5's ids, which look up the conditioning's rows, into what the network reads."""

    def conditioning(self, louder: int | None = None) -> tuple[Tensor, dict[str, Any]]:
        rows, ids = random(1, self.rows, self.width), torch.arange(100, 100 + ROWS, dtype=torch.int)
        if louder is not None:
            ids[louder] = 77
        return rows, {"t5xxl_ids": ids, "t5xxl_weights": torch.ones(ROWS)}


ARCHITECTURES: dict[str, Architecture] = {
    "SD1": Architecture("SD15", UNET, **UNETS),
    "SD2": Architecture("SD20", UNET_HEADS, settings={"num_head_channels": 16}, **UNETS),
    "SDXL": Architecture("SDXL", XL, more=pooled(20), settings={"num_head_channels": 16}, **UNETS),
    "KOALA": Architecture("KOALA_700M", XL, more=pooled(20), settings={"num_head_channels": 16}, **UNETS),
    "SSD-1B": Architecture("SSD1B", XL, more=pooled(20), settings={"num_head_channels": 16}, **UNETS),
    "Segmind": Architecture("Segmind_Vega", XL, more=pooled(20), settings={"num_head_channels": 16}, **UNETS),
    "Cascade": Architecture(
        "Stable_Cascade_C",
        CASCADE,
        r"attention\.attn$",
        text=48,
        keys=48 + ROWS + 8,
        grid=(6, 8),
        channels=16,
        plane=(6, 8),
        more=pooled(20),
        sigma=5.0,
        scale=vp,
    ),
    "SD3": Architecture("SD3", SD3, r"joint_blocks\.\d+$", more=pooled(20), **FIRST_T),
    "AuraFlow": Architecture("AuraFlow", AURA, SINGLE_TOO, text=8, image=8 + ROWS, keys=8 + ROWS + 35),
    "PixArt-alpha": Architecture(
        "PixArtAlpha",
        {**PIXART, "model_max_length": 120, "micro_condition": True},
        r"cross_attn$",
        grid=(16, 18),
        plane=(32, 36),
        more=lambda: {"width": 288, "height": 256},
        sigma=5.0,
        scale=vp,
    ),
    "PixArt-sigma": Architecture(
        "PixArtSigma",
        {**PIXART, "model_max_length": 300, "micro_condition": False},
        r"cross_attn$",
        grid=(16, 18),
        plane=(32, 36),
        sigma=5.0,
        scale=vp,
    ),
    "HunyuanDiT": Architecture(
        "HunyuanDiT",
        HUNYUAN_DIT,
        r"blocks\.\d+\.attn2$",
        keys=77 + 256,
        rows=77,
        sigma=5.0,
        scale=vp,
        more=mt5,
    ),
    "HunyuanDiT 1.0": Architecture(
        "HunyuanDiT1",
        {**HUNYUAN_DIT, "size_cond": True, "use_style_cond": True},
        r"blocks\.\d+\.attn2$",
        keys=77 + 256,
        rows=77,
        sigma=5.0,
        scale=vp,
        more=mt5,
    ),
    "Flux": Architecture("Flux", FLUX, DOUBLE, more=pooled(12), **FIRST_T),
    "Flux schnell": Architecture("FluxSchnell", SCHNELL, DOUBLE, more=pooled(12), **FIRST_T),
    "Ovis": Architecture(
        "FluxSchnell",
        {**SCHNELL, "vec_in_dim": None, "yak_mlp": True, "txt_norm": True, "txt_ids_dims": [1, 2]},
        DOUBLE,
        **FIRST_T,
    ),
    "LongCat": Architecture(
        "LongCatImage", {**SCHNELL, "vec_in_dim": None, "txt_ids_dims": [1, 2]}, DOUBLE, **FIRST_T
    ),
    "Flux 2": Architecture("Flux2", FLUX2, DOUBLE, text=512 - ROWS, image=512, keys=512 + 35, **PACKED),
    "Chroma": Architecture("Chroma", CHROMA, DOUBLE, **FIRST_T),
    "Radiance": Architecture("ChromaRadiance", RADIANCE, DOUBLE, channels=3, plane=(18, 28), **FIRST_T),
    "HunyuanImage": Architecture(
        "HunyuanImage21",
        HUNYUAN_IMAGE,
        DOUBLE,
        image=ROWS + 6,
        keys=ROWS + 6 + 35,
        plane=(5, 7),
        more=lambda: {"conditioning_byt5small": random(1, 6, 1472, seed=2)},
    ),
    "HunyuanVideo": Architecture(
        "HunyuanVideo",
        HUNYUAN_VIDEO,
        DOUBLE,
        channels=16,
        frames=True,
        plane=(10, 14),
        more=pooled(12),
        **FIRST_T,
    ),
    "HunyuanVideo 1.5": Architecture(
        "HunyuanVideo15",
        HUNYUAN_VIDEO_15,
        DOUBLE,
        other=6,
        image=6 + ROWS,
        keys=6 + ROWS + 35,
        frames=True,
        plane=(5, 7),
        more=lambda: {**pooled(12)(), "conditioning_byt5small": random(1, 6, 1472, seed=2)},
    ),
    "Lumina 2": Architecture("Lumina2", LUMINA, r"^layers\.\d+\.attention$", **FIRST_T),
    "NewBie": Architecture(
        "Lumina2", {**LUMINA, "clip_text_dim": 20}, r"^layers\.\d+\.attention$", more=pooled(20), **FIRST_T
    ),
    "Z-Image": Architecture("ZImage", Z_IMAGE, r"^layers\.\d+\.attention$", image=32, keys=32 + 64),
    "Z-Image pixel": Architecture(
        "ZImagePixelSpace",
        Z_PIXEL,
        r"^layers\.\d+\.attention$",
        image=32,
        keys=32 + 64,
        channels=3,
        plane=(20, 28),
    ),
    "Qwen-Image": Architecture(
        "QwenImage",
        QWEN,
        r"transformer_blocks\.\d+\.attn$",
        channels=16,
        frames=True,
        more=mask_of(ROWS),
        **FIRST_T,
    ),
    "MageFlow": Architecture("MageFlow", MAGE, r"transformer_blocks\.\d+\.attn$", **PACKED, **FIRST_T),
    "OmniGen 2": Architecture(
        "Omnigen2",
        {**OMNI, "text_feat_dim": 24, "ffn_dim_multiplier": None, "out_channels": None},
        r"^layers\.\d+\.attn$",
        more=mask_of(ROWS),
        **FIRST_T,
    ),
    "Boogu": Architecture(
        "Boogu",
        {**OMNI, "instruction_feat_dim": 24, "num_double_stream_layers": 1},
        r"(img_instruct_attn\.processor|single_stream_layers\.\d+\.attn)$",
        more=mask_of(ROWS),
        **FIRST_T,
    ),
    "HiDream": Architecture(
        "HiDream",
        HIDREAM,
        r"attn1$",
        text=35,
        keys=35 + ROWS + 2 * 9,
        more=lambda: {**pooled(12)(), "conditioning_llama3": random(1, 3, 9, 20, seed=2)},
    ),
    "HiDream O1": HiDreamO1(
        "HiDreamO1",
        HIDREAM_O1,
        r"self_attn$",
        image=1,
        keys=ROWS + 15,
        grid=(3, 5),
        channels=3,
        plane=(96, 160),
    ),
    "Kandinsky 5": Architecture(
        "Kandinsky5Image",
        KANDINSKY,
        r"visual_transformer_blocks\.\d+\.cross_attention$",
        frames=True,
        plane=(10, 14),
        more=pooled(12),
    ),
    "Kandinsky 5 video": Architecture(
        "Kandinsky5",
        {**KANDINSKY, "visual_embed_dim": 4 * 9},  # those of the latent, of a given image, and a mask
        r"visual_transformer_blocks\.\d+\.cross_attention$",
        frames=True,
        plane=(10, 14),
        more=pooled(12),
    ),
    "Wan": Architecture("WAN21_T2V", WAN, r"blocks\.\d+\.cross_attn$", channels=16, frames=True),
    "Cosmos": Architecture(
        "CosmosT2V",
        COSMOS_VIDEO,
        r"blocks\.block\d+\.blocks\.1\.block\.attn$",
        channels=16,
        plane=(10, 14),
        frames=True,
        scale=lambda sigma: (sigma**2 + 0.25) ** 0.5,
    ),
    "Cosmos-Predict2": Architecture(
        "CosmosT2IPredict2", COSMOS, r"cross_attn$", channels=16, frames=True, scale=lambda sigma: 1 + sigma
    ),
    "Anima": Anima(
        "Anima",
        {**COSMOS, "crossattn_emb_channels": 1024},
        r"^blocks\.\d+\.cross_attn$",
        keys=512,
        channels=16,
        frames=True,
        width=1024,
        tensor="t5xxl_ids",
    ),
    "ERNIE": Architecture("ErnieImage", ERNIE, r"self_attention$", **PACKED, **FIRST_I),
    "Ideogram 4": Architecture(
        "Ideogram4",
        {"in_channels": 8, "num_layers": 2},
        r"attention$",
        **PACKED,
        **FIRST_T,
        settings={
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "intermediate_size": 32,
            "adaln_dim": 8,
            "llm_features_dim": 24,
            "rope_theta": 1000,
            "mrope_section": [4, 2, 2],
            "norm_eps": 1e-5,
        },
    ),
    "Krea 2": Architecture("Krea2", KREA, r"^blocks\.\d+\.attn$", channels=16, frames=True, **FIRST_T),
    "Lens": Architecture("Lens", LENS, r"attn$", **PACKED, **FIRST_I),
    "JoyImage": Architecture(
        "JoyImage",
        {
            "patch_size": [1, 2, 2],
            "in_channels": 16,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "text_dim": 24,
            "num_layers": 2,
        },
        r"attn$",
        channels=16,
        frames=True,
        settings={"theta": 100, "rope_dim_list": [4, 6, 6]},
        **FIRST_I,
    ),
    "PixelDiT": Architecture(
        "PixelDiTT2I", PIXELDIT, r"patch_blocks\.\d+\.attn$", channels=3, plane=(18, 28), **FIRST_T
    ),
}
ARCHITECTURES |= {  # a prompt that ends in padding, for those that then use a mask
    f"{name} with padding": replace(ARCHITECTURES[name], more=mask_of(ROWS, padding=2))
    for name in ("Qwen-Image", "Ideogram 4", "Lens")
}
REFERENCES = ((6, 8), (4, 4))  # with patches of 2: 12 and 4 tokens
ARCHITECTURES |= {
    "Flux with references": references(ARCHITECTURES["Flux"], *REFERENCES, tokens=16),
    "Flux 2 with a reference": references(ARCHITECTURES["Flux 2"], (4, 6), tokens=24),
    "Qwen-Image with references": references(ARCHITECTURES["Qwen-Image"], *REFERENCES, tokens=16),
    "MageFlow with references": references(ARCHITECTURES["MageFlow"], (6, 8), (4, 4), tokens=64),
    "OmniGen 2 with references": references(
        ARCHITECTURES["OmniGen 2"], *REFERENCES, tokens=16, image=ROWS + 16
    ),
    "Boogu with references": references(ARCHITECTURES["Boogu"], *REFERENCES, tokens=16, image=ROWS + 16),
    "JoyImage with references": references(ARCHITECTURES["JoyImage"], *REFERENCES, tokens=16, text=35 + 16),
    "Krea 2 with references": references(
        replace(ARCHITECTURES["Krea 2"], more=lambda: {"reference_latents_method": "index_timestep_zero"}),
        *REFERENCES,
        tokens=16,
    ),
}
