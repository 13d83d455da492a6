"""Models in their real sizes with random weights, made on the device itself: those of `bench`, and two
more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tools.bench.models import DTYPES, MODELS, SMOKE, Size

from .device import device

Z_IMAGE = {
    "patch_size": 2,
    "in_channels": 16,
    "dim": 3840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "multiple_of": 256,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "rope_theta": 256.0,
    "cap_feat_dim": 2560,
    "ffn_dim_multiplier": 8.0 / 3.0,
    "qk_norm": True,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
QWEN = {
    "patch_size": 2,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 60,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 3584,
    "axes_dims_rope": [16, 56, 56],
}
SMALL_Z = {
    **Z_IMAGE,
    "dim": 256,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "cap_feat_dim": 24,
}
SMALL_QWEN = {
    **QWEN,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": [4, 6, 6],
}


@dataclass(frozen=True)
class Framed(Size):
    """A model whose latents are videos of one frame."""

    def latent(self) -> Tensor:
        return super().latent().unsqueeze(2)


_Z = Size("z_image", "ZImage", Z_IMAGE, {"text": 0}, 128, 2560, 1024, channels=16, cfg=1.0, joint=True)
_QWEN = Framed("qwen", "QwenImage", QWEN, {"text": 0}, 128, 3584, 1024, channels=16, cfg=4.0, joint=True)
ALL: dict[str, Size] = {**MODELS, "z_image": _Z, "qwen": _QWEN}
SMALL: dict[str, Size] = {
    **SMOKE,
    "z_image": replace(_Z, unet=SMALL_Z, rows=64, width=24, size=256),
    "qwen": replace(_QWEN, unet=SMALL_QWEN, rows=64, width=24, size=256),
}


def size_of(name: str, smoke: bool, dtype: str | None = None, stored: str | None = None) -> Size:
    found = (SMALL if smoke else ALL)[name]
    return replace(found, dtype=dtype or ("fp32" if smoke else found.dtype), stored=stored)


def build(size: Size, on: torch.device | None = None):
    """ComfyUI's model as a loader makes it, with small random weights that keep a pass in range; on the
    device unless said.
    """
    on = on or device()
    model = config_of(size).get_model({}, device=on)
    model.diffusion_model.to(on)
    made = torch.Generator(on).manual_seed(0)
    with torch.no_grad():
        for name, p in (*model.diffusion_model.named_parameters(), *model.diffusion_model.named_buffers()):
            if p.is_floating_point():
                p.copy_(_filled(name, p, made))
    return model.eval().requires_grad_(False)


def config_of(size: Size):
    """The class of ComfyUI's supported_models with this model's settings and precision."""
    import comfy.supported_models

    config = getattr(comfy.supported_models, size.config)(dict(size.unet))
    config.unet_config.update(size.settings)
    config.set_inference_dtype(DTYPES[size.stored or size.dtype], DTYPES[size.dtype] if size.stored else None)
    return config


def _filled(name: str, p: Tensor, made: torch.Generator) -> Tensor:
    if p.ndim > 1:
        return torch.randn(p.shape, generator=made, device=p.device, dtype=torch.float32) * (
            0.7 * p[0].numel() ** -0.5
        )
    # A vector that is called a weight or a scale belongs to a norm. With zeros there, queries and keys are
    # zero, maps are flat
    # and every gradient is zero.
    return torch.full(p.shape, float(name.endswith(("weight", "scale"))), device=p.device)


def weights_gib(model) -> float:
    network = model.diffusion_model
    return sum(p.numel() * p.element_size() for p in (*network.parameters(), *network.buffers())) / 2**30
