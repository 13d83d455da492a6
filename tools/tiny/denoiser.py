"""ComfyUI's UNet in the demo model's size, with weights we initialise ourselves, and SD's noise schedule."""

import os
import sys
from pathlib import Path

import torch
from torch import nn

STEPS = 1000
HOST = Path(__file__).resolve().parents[2] / ".host" / "ComfyUI"
CONFIG = dict(
    image_size=32,
    in_channels=4,
    out_channels=4,
    model_channels=32,
    num_res_blocks=[1, 1, 1],
    channel_mult=[1, 2, 3],
    num_heads=2,
    use_spatial_transformer=True,
    transformer_depth=[0, 1, 1],
    transformer_depth_output=[0, 0, 1, 1, 1, 1],
    transformer_depth_middle=1,
    context_dim=64,
    legacy=False,
    use_linear_in_transformer=False,
)


def use_host() -> None:
    """Make `comfy` importable on the CPU: from COMFYUI_PATH, else from the prepared host of this clone."""
    path = Path(os.environ.get("COMFYUI_PATH") or HOST)
    if not (path / "comfy").is_dir():
        raise SystemExit(
            f"No ComfyUI at {path}. Prepare ComfyUI first (tools/dev.py host) or set COMFYUI_PATH."
        )
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    arguments, sys.argv = (
        sys.argv,
        [sys.argv[0], "--cpu"],
    )  # comfy reads the command line once, at this import
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.model_management  # noqa: F401  (decides on the device while --cpu is in place)
    finally:
        sys.argv = arguments


def build(**changes) -> nn.Module:
    """ComfyUI's UNetModel with torch's default initialisation, its residual branches ending in zeros.

    changes: of CONFIG.
    ComfyUI's layers skip initialisation (they expect a file), so every layer is asked for it here by name.
    """
    use_host()
    from comfy.ldm.modules.attention import SpatialTransformer
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel

    unet = UNetModel(**{**CONFIG, **changes}, dtype=torch.float32)
    for module in unet.modules():
        for kind in (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm):
            if isinstance(module, kind):
                kind.reset_parameters(module)
    last = [m.out_layers[-1] for m in unet.modules() if isinstance(m, ResBlock)]
    last += [m.proj_out for m in unet.modules() if isinstance(m, SpatialTransformer)] + [unet.out[-1]]
    for module in last:
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    return unet


def alphas_cumprod() -> torch.Tensor:
    """SD's scaled linear schedule, beta from 0.00085 to 0.012 -> [1000] float32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


def stratified_timesteps(n: int, generator: torch.Generator) -> torch.Tensor:
    """n timesteps in [0, 1000), one from each of n equal strata, in random order -> [n] int64."""
    strata = torch.arange(n) + torch.rand(n, generator=generator)
    return (strata / n * STEPS).long()[torch.randperm(n, generator=generator)]


def loss_weight(abar: torch.Tensor) -> torch.Tensor:
    """sqrt(1 + 1/snr) * min(1, 5/snr): more for the steps that decide the layout, less for the last
    polish.
    """
    snr = abar / (1 - abar)
    return (1 + 1 / snr).sqrt() * (5 / snr).clamp(max=1)


@torch.no_grad()
def ddim(unet, context, empty, noise, steps: int = 25, cfg: float = 7.5, **options) -> torch.Tensor:
    """Plain deterministic DDIM with classifier-free guidance, for looking at a model while it trains.

    context [n, 77, 64], empty [1, 77, 64], noise [n, 4, 32, 32] -> latents [n, 4, 32, 32].
    """
    abar, x, n = alphas_cumprod(), noise, len(noise)
    grid = torch.linspace(STEPS - 1, 0, steps + 1).round().long()
    both = torch.cat([context, empty.expand(n, -1, -1)])  # (2n, 77, 64)
    for now, after in zip(grid[:-1], grid[1:]):
        positive, negative = (
            unet(torch.cat([x, x]), now.repeat(2 * n).float(), both, **options).float().chunk(2)
        )
        eps = negative + cfg * (positive - negative)
        x0 = (x - (1 - abar[now]).sqrt() * eps) / abar[now].sqrt()
        x = abar[after].sqrt() * x0 + (1 - abar[after]).sqrt() * eps
    return x0
