"""A small random ControlNet and a LoRA of ComfyUI's kinds for the embedded UNet."""

from __future__ import annotations

import torch
from torch import Tensor

LORA_PLACE = "input_blocks.3.1.transformer_blocks.0.attn2"
"""The layer that the LoRA changes: the first cross-attention, before all maps."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    """The same numbers for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_control_net(model, kind: str):
    """A small random ControlNet of ComfyUI's class; "lora" borrows the UNet's weights when a run begins."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    config = {
        **model.model.model_config.unet_config,
        "hint_channels": 3,
        "operations": comfy.ops.disable_weight_init,
    }
    config.pop("out_channels")
    net = comfy.cldm.cldm.ControlNet(**config)
    weights = {
        name: 0.2 * noise(*p.shape, seed=i) / p[0].numel() ** 0.5
        for i, (name, p) in enumerate(net.named_parameters())
    }
    if kind == "lora":
        own = ("input_hint_block", "zero_convs", "middle_block_out")
        return comfy.controlnet.ControlLora({name: w for name, w in weights.items() if name.startswith(own)})
    net.load_state_dict(weights, strict=False)
    return comfy.controlnet.ControlNet(net, load_device=torch.device("cpu"))


def random_lora() -> tuple[dict[str, Tensor], Tensor]:
    """A LoRA file for one layer, and the change it makes."""
    up, down, name = (
        noise(64, 4, seed=1),
        noise(4, 64, seed=2),
        "lora_unet_" + LORA_PLACE.replace(".", "_") + "_to_k",
    )
    return {
        f"{name}.lora_up.weight": up,
        f"{name}.lora_down.weight": down,
        f"{name}.alpha": torch.tensor(2.0),
    }, up @ down * 2.0 / 4
