"""ComfyUI's own detectors, tiny and with random weights, as its loaders hand them on."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import patch

import torch


def _as_model(network: torch.nn.Module):
    """A MODEL around a detector's network, with random weights that keep its numbers finite."""
    import comfy.model_patcher

    generator = torch.Generator().manual_seed(5)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point() and "anchors" not in name and "freqs" not in name:
            tensor.data = _weights(name, tensor, generator)
    cpu = torch.device("cpu")
    wrapped = torch.nn.Module()
    wrapped.diffusion_model = network.eval()
    wrapped.get_dtype = lambda: torch.float32
    wrapped.model_config = SimpleNamespace()
    wrapped.device = cpu
    return comfy.model_patcher.ModelPatcher(wrapped, load_device=cpu, offload_device=cpu)


def _weights(name: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if "norm" in name or ".bn." in name or "running" in name:
        return torch.full_like(tensor, 0.0 if name.endswith(("bias", "mean")) else 1.0)
    if name.endswith(("up", "reg_scale")):
        return tensor.data
    fan = max(tensor[0].numel() if tensor.ndim > 1 else 16, 1)
    return torch.randn(tensor.shape, generator=generator) * fan**-0.5


def rt_detr():
    """RT-DETR's network with few channels inside its stages."""
    import comfy.ops
    from comfy.ldm.rt_detr.rtdetr_v4 import HGNetv2, RTv4

    stages = [[64, 4, 128, 1, False, False, 3, 1], [128, 4, 512, 1, True, False, 3, 1],
              [512, 4, 1024, 1, True, True, 5, 1], [1024, 4, 2048, 1, True, True, 5, 1]]  # fmt: skip
    with patch.object(HGNetv2, "_STAGE_CFGS", stages):
        network = RTv4(
            num_queries=30, enc_h=32, dec_h=32, enc_ff=32, dec_ff=32, dtype=torch.float32,
            operations=comfy.ops.disable_weight_init,
        )  # fmt: skip
    network.load_device = torch.device("cpu")
    return _as_model(network)


def sam3():
    """SAM 3's network: one layer of a vision transformer on patches of 56 pixels."""
    import comfy.ops
    from comfy.ldm.sam3.detector import SAM3Model

    network = SAM3Model(
        embed_dim=128, depth=1, patch_size=56, num_queries=20, window_size=24, global_att_blocks=(),
        dtype=torch.float32, operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    return _as_model(network)


def sam3_clip(width: int = 128):
    """SAM 3's text encoder, `width` wide, as a CLIP."""
    import comfy.sd
    from comfy.text_encoders import sam3_clip as module

    config = {**module.SAM3_CLIP_CONFIG, "hidden_size": width, "intermediate_size": 2 * width,
              "num_attention_heads": 2, "num_hidden_layers": 1}  # fmt: skip
    target = SimpleNamespace(
        clip=module.SAM3ClipModelWrapper, tokenizer=module.SAM3TokenizerWrapper, params={}
    )
    with patch.object(module, "SAM3_CLIP_CONFIG", config):
        clip = comfy.sd.CLIP(target, embedding_directory=None, tokenizer_data={})
    generator = torch.Generator().manual_seed(6)
    for tensor in clip.cond_stage_model.parameters():
        tensor.data = torch.randn(tensor.shape, generator=generator, dtype=torch.float32) * 0.1
    return clip
