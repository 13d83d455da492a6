"""A small random GLIGEN of ComfyUI's classes for a model."""

from __future__ import annotations

import torch


def random_gligen(model):
    """One gated layer for each transformer block of a MODEL, as GLIGENLoader hands it on."""
    import comfy.gligen
    import comfy.model_patcher
    from comfy.ldm.modules.attention import BasicTransformerBlock

    network = model.model.diffusion_model
    blocks = [m.attn2 for m in network.modules() if isinstance(m, BasicTransformerBlock)]
    widths, text = [b.to_q.weight.shape[1] for b in blocks], blocks[0].to_k.weight.shape[1]
    net = comfy.gligen.Gligen(
        [comfy.gligen.GatedSelfAttentionDense(width, text, 2, width // 2) for width in widths],
        comfy.gligen.PositionNet(text, text),
        text,
    )
    for seed, p in enumerate(net.parameters()):
        generator = torch.Generator().manual_seed(seed)
        random = torch.randn(p.shape, generator=generator)
        p.data = random / p.shape[-1] ** 0.5 if p.ndim else torch.tensor(0.7)
    cpu = torch.device("cpu")
    return comfy.model_patcher.CoreModelPatcher(net, load_device=cpu, offload_device=cpu)
