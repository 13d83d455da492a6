"""Small networks in the place of people's files: of the same classes, with the text encoders that belong to
them and a VAE of their latents, as loader nodes hand them on.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from .architectures import Architecture, random
from .text_encoders import SETUPS

CPU = torch.device("cpu")
WAN_KEY = "diffusion_model.blocks.0.cross_attn.k"
PICTURE = "InstructPix2Pix"
"""Beside the names of SETUPS: its network sees a picture."""
LORAS = {
    "Qwen-Image-Lightning-8steps-V1.0.safetensors": ("transformer_blocks.0.attn.to_k", 32, 32),
    "anima-turbo-lora-v0.2.safetensors": ("diffusion_model.blocks.0.cross_attn.k_proj", 64, 1024),
    "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors": (WAN_KEY, 64, 64),
    "wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors": (WAN_KEY, 64, 64),
}
"""Files of the templates: the layer of the small network that the stand-in changes, what comes out of it and
what goes in.
"""
KL = {"double_z": True, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1, 1, 1],
      "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}  # fmt: skip
"""ComfyUI's most common VAE with few channels."""


def architecture(name: str) -> Architecture:
    """The small network of a set-up, with as many channels as its latents have."""
    import comfy.supported_models

    arch = SETUPS["SD1" if name == PICTURE else name].architecture
    if name == PICTURE:
        return replace(arch, config="SD15_instructpix2pix", unet={**arch.unet, "in_channels": 8})
    channels = getattr(comfy.supported_models, arch.config).latent_format().latent_channels
    sizes = {
        key: arch.unet[key] * channels // arch.channels
        for key in ("in_channels", "out_channels")
        if channels != arch.channels and arch.unet.get(key)
    }
    return replace(arch, unet={**arch.unet, **sizes}, channels=channels)


def model(name: str, number: int, disable_dynamic: bool = False):
    """MODEL; another number has other weights. disable_dynamic: Train LoRA makes its model anew with it."""
    import comfy.model_patcher

    made = architecture(name).build()
    for p in made.diffusion_model.parameters():
        p.data *= 1 + 0.1 * number
    patcher = comfy.model_patcher.ModelPatcher(made, load_device=CPU, offload_device=CPU)
    patcher.cached_patcher_init = (model, (name, number))
    return patcher


@cache
def clip(name: str):
    """CLIP. A tokenizer that ComfyUI does not ship has learnt the letters of these templates."""
    return SETUPS["SD1" if name == PICTURE else name].build()


@cache
def vae(name: str):
    """VAE with random weights, of the class that fits the network's latents."""
    import comfy.ldm.models.autoencoder
    import comfy.ldm.wan.vae
    import comfy.sd
    import comfy.supported_models

    latents = getattr(comfy.supported_models, architecture(name).config).latent_format()
    if latents.latent_dimensions == 3:
        network = comfy.ldm.wan.vae.WanVAE(
            8, latents.latent_channels, temperal_downsample=[False, True, True]
        )
        return comfy.sd.VAE(sd=filled(network).state_dict())
    packed = latents.spacial_downscale_ratio == 16
    channels = latents.latent_channels // (4 if packed else 1)
    sizes = {"ddconfig": {**KL, "z_channels": channels, "batch_norm_latent": packed}, "embed_dim": channels}
    network = comfy.ldm.models.autoencoder.AutoencoderKL(**sizes)
    made = comfy.sd.VAE(sd=filled(network).state_dict(), config={"params": sizes})
    made.latent_channels = latents.latent_channels
    made.upscale_ratio = made.downscale_ratio = latents.spacial_downscale_ratio
    return made


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """The network with random weights that keep its numbers finite."""
    generator = torch.Generator().manual_seed(0)
    for name, p in network.named_parameters():
        fan = max(p[0].numel(), 1)
        flat = p.ndim < 2 or "norm" in name or name.endswith("gamma")
        p.data = torch.ones_like(p) if flat else torch.randn(p.shape, generator=generator) * fan**-0.5
        p.requires_grad_(False)
    return network


def write_pictures(folder: Path) -> None:
    """Five pictures of a person, of different shapes, in a folder of ComfyUI's input."""
    folder.mkdir(parents=True)
    for n in range(5):
        pixels = (255 * random(40 + 8 * n, 64, 3, seed=n).clamp(0, 1)).byte()
        Image.fromarray(pixels.numpy()).save(folder / f"{n}.png")


def write_loras(folder: Path) -> None:
    """Files that LoraLoaderModelOnly reads, under the names that the templates ask for."""
    folder.mkdir()
    for name, (layer, rows, columns) in LORAS.items():
        down, up = random(2, columns), random(rows, 2, seed=1)
        save_file(
            {f"{layer}.lora_down.weight": 0.1 * down, f"{layer}.lora_up.weight": 0.1 * up}, folder / name
        )
