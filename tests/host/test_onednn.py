"""Linear layers of large float32 models through oneDNN: the same products, and nothing where it does not pay."""

import pytest
import torch
import torch.nn.functional as F

from ..support.architectures import ARCHITECTURES
from ..support.networks import contents, graphs_in, loaded
from ..support.probe_oracle import weighted


@pytest.fixture(scope="module")
def linear(pack_module):
    return pack_module("gsn_ops.torch_ops.onednn")


@pytest.fixture
def products(linear, monkeypatch) -> list:
    """The shapes of every product that oneDNN makes."""
    made, multiply = [], linear._product

    def counted(x, weight, bias):
        made.append((tuple(x.shape), tuple(weight.shape)))
        return multiply(x, weight, bias)

    monkeypatch.setattr(linear, "_product", counted)
    return made


@pytest.mark.parametrize("shape", ((2, 9, 24), (16, 24), (1, 4, 4, 24)))
@pytest.mark.parametrize("bias", (True, False))
def test_product_and_gradient_are_those_of_torch_and_no_weight_is_copied(linear, products, shape, bias):
    layer = torch.nn.Linear(24, 40, bias=bias).requires_grad_(False)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    g = torch.randn(*shape[:-1], 40, generator=torch.Generator().manual_seed(1))
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t),
        linear.FastProducts(),
    ):
        y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, g)
    right = layer(x)
    assert torch.allclose(y, right, atol=1e-5) and torch.allclose(
        gradient, torch.autograd.grad(right, x, g)[0], atol=1e-5
    )
    rows = x.numel() // 24
    assert saved == [layer.weight.data_ptr()] and products == [((rows, 24), (40, 24)), ((rows, 40), (24, 40))]


def test_rows_that_are_not_side_by_side_in_memory(linear, products):
    layer = torch.nn.Linear(24, 40).requires_grad_(False)
    x = torch.randn(2, 24, 30, generator=torch.Generator().manual_seed(0)).transpose(1, 2)
    with linear.FastProducts():
        assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)
    assert len(products) == 2


def test_few_rows_half_precision_and_weights_of_a_kind_of_their_own_are_torchs_as_ever(linear, products):
    class Quantized(torch.Tensor):
        pass

    layer, many = torch.nn.Linear(24, 40).requires_grad_(False), torch.ones(64, 24)
    with linear.FastProducts():
        layer(torch.ones(15, 24))
        F.linear(many, layer.weight.as_subclass(Quantized))
        layer.bfloat16()(many.bfloat16())
    assert products == []


def test_small_models_other_devices_and_a_torch_without_the_operator_are_left_alone(
    tiny, linear, monkeypatch
):
    network, cpu = tiny.model.model.diffusion_model, torch.device("cpu")
    assert not linear.pays(network, cpu)
    monkeypatch.setattr(linear, "ENOUGH_PARAMETERS", 0)
    assert linear.pays(network, cpu) and not linear.pays(network, torch.device("cuda"))
    for missing in (
        (linear, "SIGNATURE", "another one"),
        (torch.backends.mkldnn, "is_available", lambda: False),
    ):
        with monkeypatch.context() as without:
            without.setattr(*missing)
            assert not linear.pays(network, cpu)


@pytest.mark.parametrize(
    "name", ("SD1", "SDXL", "SD3", "Flux", "PixArt-sigma", "Qwen-Image", "Cosmos-Predict2")
)
def test_maps_and_gradients_are_the_same(tiny, linear, pack_module, products, name):
    made, memory = loaded(ARCHITECTURES[name], tiny), pack_module("gsn_ops.host.attention.memory_policy")

    def gradient_of(probe, z):
        leaf = z.clone().requires_grad_(True)
        ((_, maps),) = probe.maps_of(leaf).cross.items()
        return maps.detach(), torch.autograd.grad(weighted({0: maps}).sum(), leaf)[0]

    def look(probe, z, conds):
        slow = gradient_of(probe, z)
        assert products == [] and not probe.fast
        probe.fast = True
        fast, forward_and_backward = gradient_of(probe, z), len(products)
        probe.checkpoint_policy = memory.CheckpointPolicy(memory.LAST)
        return slow, fast, gradient_of(probe, z), forward_and_backward

    before = contents(made.model)
    (maps, gradient), (fast_maps, fast), (again_maps, again), count = made.at_state(look, batch=2)
    assert contents(made.model) == before and not graphs_in(made.model)
    assert count > 0 and len(products) > 2 * count  # blocks computed twice
    assert (fast_maps - maps).abs().max() < 1e-5 and torch.equal(again_maps, fast_maps)
    for other in (fast, again):
        assert F.cosine_similarity(other.flatten(), gradient.flatten(), 0) > 0.9999
