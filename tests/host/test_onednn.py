"""Matrix products by oneDNN in ComfyUI's own networks: the same maps and gradients."""

import pytest
import torch
import torch.nn.functional as F

from ..support.networks import contents, graphs_in, make
from ..support.probe_oracle import weighted


@pytest.fixture
def products(pack_module, monkeypatch) -> list:
    """One entry for every product that oneDNN makes."""
    module, made = pack_module("gsn_ops.torch_ops.onednn"), []
    multiply = module._product
    monkeypatch.setattr(module, "_product", lambda *args: made.append(1) or multiply(*args))
    return made


@pytest.mark.parametrize(
    "name", ("SD1", "SDXL", "SD3", "Flux", "PixArt-sigma", "Qwen-Image", "Cosmos-Predict2")
)
def test_maps_and_gradients_are_the_same(tiny, pack_module, products, name):
    made, memory = make(name, tiny), pack_module("gsn_ops.host.attention.memory_policy")

    def gradient_of(probe, z):
        leaf = z.clone().requires_grad_(True)
        ((_, maps),) = probe.maps_of(leaf).cross.items()
        return maps.detach(), torch.autograd.grad(weighted({0: maps}).sum(), leaf)[0]

    def look(probe, z, conds):
        slow = gradient_of(probe, z)
        assert products == [] and not probe.onednn
        probe.onednn = True
        fast, forward_and_backward = gradient_of(probe, z), len(products)
        probe.checkpoint_policy = memory.CheckpointPolicy(memory.LAST_LEVEL)
        return slow, fast, gradient_of(probe, z), forward_and_backward

    before = contents(made.model)
    (maps, gradient), (fast_maps, fast), (again_maps, again), count = made.at_state(look, batch=2)
    assert contents(made.model) == before and not graphs_in(made.model)
    assert count > 0 and len(products) > 2 * count  # blocks computed twice
    assert (fast_maps - maps).abs().max() < 1e-5 and torch.equal(again_maps, fast_maps)
    for other in (fast, again):
        assert F.cosine_similarity(other.flatten(), gradient.flatten(), 0) > 0.9999
