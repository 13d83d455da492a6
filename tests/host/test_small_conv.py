"""Small convolutions as matrix products in ComfyUI's own UNet."""

import pytest
import torch
import torch.nn.functional as F

from ..support.architectures import ARCHITECTURES
from ..support.networks import loaded


@pytest.mark.parametrize("name, tolerance", (("onednn", 1e-5), ("bfloat16", 0.03)))
def test_a_unets_inner_levels_are_matrix_products(tiny, pack_module, monkeypatch, name, tolerance):
    """Forward and backward; maps and gradient stay what they are."""
    module, made = pack_module(f"gsn_ops.torch_ops.{name}"), []
    conv2d_gemm = module.conv2d_gemm
    monkeypatch.setattr(pack_module("gsn_ops.torch_ops.bfloat16"), "MIN_ROWS", 1)
    monkeypatch.setattr(module, "conv2d_gemm", lambda *args: made.append(1) or conv2d_gemm(*args))
    probed = loaded(ARCHITECTURES["SD1"], tiny)

    def look(probe, z, conds):
        found = []
        for on in (False, True):
            probe.onednn, probe.bfloat16 = on and name == "onednn", on and name == "bfloat16"
            leaf = z.clone().requires_grad_(True)
            (maps,) = probe.maps_of(leaf).cross.values()
            found.append((maps.detach(), torch.autograd.grad(maps.square().sum(), leaf)[0]))
        return found

    (maps, gradient), (fast_maps, fast) = probed.at_state(look, batch=2)
    assert len(made) > 10
    assert (fast_maps - maps).abs().max() < tolerance * maps.max()
    assert F.cosine_similarity(fast.flatten(), gradient.flatten(), 0) > 1 - tolerance
