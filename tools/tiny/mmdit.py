"""ComfyUI's MM-DiT in the demo model's size, with weights we initialise ourselves, and SD3's rectified
flow.
"""

import torch
from torch import nn

from . import denoiser

STEPS = 1000  # the network is told 1000 t
SHIFT = 3.0  # SD3's
CONTEXT, SIDE = 64, 16  # width of the text; image tokens per side at 32x32 latents
BLOCKS, HEADS = 5, 2  # SD3's heads have 64 channels each, so the network is 128 wide
CONFIG = dict(
    input_size=None,
    patch_size=2,
    in_channels=4,
    out_channels=4,
    depth=HEADS,
    num_blocks=BLOCKS,
    qk_norm="rms",
    num_patches=SIDE * SIDE,
    pos_embed_max_size=SIDE,
    context_embedder_config={
        "target": "torch.nn.Linear",
        "params": {"in_features": CONTEXT, "out_features": 64 * HEADS},
    },
)


def build(second_attention: bool = False) -> nn.Module:
    """ComfyUI's MMDiT as DiT is initialised: gates and the last layer zero; positions start as sines and are
    trained.

    second_attention: another one in every block, of the image alone, as in SD3.5 medium.
    """
    denoiser.use_host()
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.mmdit import (
        DismantledBlock,
        OpenAISignatureMMDITWrapper,
        RMSNorm,
        get_2d_sincos_pos_embed_torch,
    )

    second = list(range(BLOCKS)) if second_attention else []
    network = OpenAISignatureMMDITWrapper(
        **CONFIG,
        x_block_self_attn_layers=second,
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.Conv2d.reset_parameters(module)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)
    for layer in (network.t_embedder.mlp[0], network.t_embedder.mlp[2]):
        nn.init.normal_(layer.weight, std=0.02)
    quiet = [m.adaLN_modulation[-1] for m in network.modules() if isinstance(m, DismantledBlock)]
    for layer in (*quiet, network.final_layer.adaLN_modulation[-1], network.final_layer.linear):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    waves = get_2d_sincos_pos_embed_torch(64 * HEADS, SIDE, SIDE)  # (256, 128)
    del network.pos_embed  # a buffer in ComfyUI, which only reads it
    network.pos_embed = nn.Parameter(waves[None].clone())
    return network


def times(n: int, generator: torch.Generator) -> torch.Tensor:
    """n times in (0, 1), one from each of n equal strata of SD3's shifted schedule 3u / (1 + 2u) -> [n]
    float32.
    """
    u = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return (SHIFT * u / (1 + (SHIFT - 1) * u))[torch.randperm(n, generator=generator)]


def middle_times(n: int, generator: torch.Generator, mean: float = 0.5) -> torch.Tensor:
    """The same of a logit-normal distribution (Esser et al., 2024, section 3.1) around t = 0.62 -> [n]
    float32.
    """
    u = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    normal = 2**0.5 * torch.erfinv(2 * u.clamp(1e-4, 1 - 1e-4) - 1)
    return torch.sigmoid(mean + normal)[torch.randperm(n, generator=generator)]


def signal(t: torch.Tensor) -> torch.Tensor:
    """What sqrt(abar) is to a variance-preserving model of the same noise: (1 - t) / sqrt(t^2 + (1 -
    t)^2).
    """
    return (1 - t) / (t.square() + (1 - t).square()).sqrt()


@torch.no_grad()
def euler(network, context, empty, noise, steps: int = 20, cfg: float = 4.0, **options) -> torch.Tensor:
    """Euler steps of the flow with classifier-free guidance, for looking at a model while it trains.

    context [n, 154, 64], empty [1, 154, 64], noise [n, 4, 32, 32] -> latents [n, 4, 32, 32].
    """
    x, n = noise, len(noise)
    u = torch.linspace(1, 0, steps + 1)
    grid = SHIFT * u / (1 + (SHIFT - 1) * u)
    both = torch.cat([context, empty.expand(n, -1, -1)])  # (2n, 154, 64)
    for now, after in zip(grid[:-1], grid[1:]):
        positive, negative = (
            network(torch.cat([x, x]), (now * STEPS).repeat(2 * n), both, **options).float().chunk(2)
        )
        x = x + (after - now) * (negative + cfg * (positive - negative))
    return x
