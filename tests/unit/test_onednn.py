"""Linear layers of large float32 models through oneDNN: the same products, and nothing where it does not pay."""

import pytest
import torch
import torch.nn.functional as F

from gsn_ops.torch_ops import onednn


@pytest.fixture
def products(monkeypatch) -> list:
    """The shapes of every product that oneDNN makes."""
    made, multiply = [], onednn._product

    def counted(x, weight, bias):
        made.append((tuple(x.shape), tuple(weight.shape)))
        return multiply(x, weight, bias)

    monkeypatch.setattr(onednn, "_product", counted)
    return made


@pytest.mark.parametrize("shape", ((2, 9, 24), (16, 24), (1, 4, 4, 24)))
@pytest.mark.parametrize("bias", (True, False))
def test_product_and_gradient_are_those_of_torch_and_no_weight_is_copied(products, shape, bias):
    layer = torch.nn.Linear(24, 40, bias=bias).requires_grad_(False)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    g = torch.randn(*shape[:-1], 40, generator=torch.Generator().manual_seed(1))
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t),
        onednn.OneDNNProducts(),
    ):
        y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, g)
    right = layer(x)
    assert torch.allclose(y, right, atol=1e-5) and torch.allclose(
        gradient, torch.autograd.grad(right, x, g)[0], atol=1e-5
    )
    rows = x.numel() // 24
    assert saved == [layer.weight.data_ptr()] and products == [((rows, 24), (40, 24)), ((rows, 40), (24, 40))]


def test_rows_that_are_not_side_by_side_in_memory(products):
    layer = torch.nn.Linear(24, 40).requires_grad_(False)
    x = torch.randn(2, 24, 30, generator=torch.Generator().manual_seed(0)).transpose(1, 2)
    with onednn.OneDNNProducts():
        assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)
    assert len(products) == 2


def test_few_rows_half_precision_and_weights_of_a_kind_of_their_own_are_torchs_as_ever(products):
    class Quantized(torch.Tensor):
        pass

    layer, many = torch.nn.Linear(24, 40).requires_grad_(False), torch.ones(64, 24)
    with onednn.OneDNNProducts():
        layer(torch.ones(15, 24))
        F.linear(many, layer.weight.as_subclass(Quantized))
        layer.bfloat16()(many.bfloat16())
    assert products == []


def test_small_models_other_devices_and_a_torch_without_the_operator_are_left_alone(monkeypatch):
    network, cpu = torch.nn.Linear(4, 4), torch.device("cpu")
    assert not onednn.should_use_onednn(network, cpu)
    monkeypatch.setattr(onednn, "MIN_PARAMETERS", 0)
    assert onednn.should_use_onednn(network, cpu) and not onednn.should_use_onednn(
        network, torch.device("cuda")
    )
    for missing in (
        (onednn, "SIGNATURE", "another one"),
        (torch.backends.mkldnn, "is_available", lambda: False),
    ):
        with monkeypatch.context() as without:
            without.setattr(*missing)
            assert not onednn.should_use_onednn(network, cpu)
