"""A convolution over few places as one product: its numbers and its gradient, for every way a layer can ask for it."""

import pytest
import torch
import torch.nn.functional as F

from ..support.architectures import ARCHITECTURES
from ..support.networks import loaded

LAYERS = {
    "3 x 3": {"kernel_size": 3, "padding": 1},
    "downwards": {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
    "1 x 1": {"kernel_size": 1},
    "uneven": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (0, 1)},
}


@pytest.fixture(scope="module")
def few_places(pack_module):
    return pack_module("gsn_ops.torch_ops.small_conv")


@pytest.fixture(params=("onednn", "bfloat16"))
def products(request, pack_module, monkeypatch):
    """(what surrounds a pass, the tolerance of its numbers, how often it made a convolution as one product)."""
    module, made = pack_module(f"gsn_ops.torch_ops.{request.param}"), []
    monkeypatch.setattr(pack_module("gsn_ops.torch_ops.bfloat16"), "ENOUGH_ROWS", 1)
    conv2d_gemm = module.conv2d_gemm
    monkeypatch.setattr(module, "conv2d_gemm", lambda *args: made.append(1) or conv2d_gemm(*args))
    return (
        (module.FastProducts, 1e-5, made) if request.param == "onednn" else (module.HalfProducts, 0.03, made)
    )


def asked(layer, x, g, forward_context=None):
    leaf = x.clone().requires_grad_(True)
    if forward_context is None:
        y = layer(leaf)
    else:
        with forward_context():
            y = layer(leaf)
    return y.detach(), torch.autograd.grad(y, leaf, g)[0], y


@pytest.mark.parametrize("how", LAYERS)
@pytest.mark.parametrize("batch", (1, 3))
def test_numbers_and_gradient_are_those_of_the_convolution(products, how, batch):
    forward_context, tolerance, made = products
    layer = torch.nn.Conv2d(8, 12, **LAYERS[how]).requires_grad_(False)
    x = torch.randn(batch, 8, 9, 7, generator=torch.Generator().manual_seed(0))
    g = torch.randn(layer(x).shape, generator=torch.Generator().manual_seed(1))
    right, gradient, _ = asked(layer, x, g)
    found, again, y = asked(layer, x, g, forward_context)
    assert made == [1] and y.is_contiguous()
    assert torch.allclose(found, right, atol=tolerance) and torch.allclose(
        again, gradient, atol=3 * tolerance
    )
    y += 1  # the host writes into what a layer gave it
    assert torch.equal(asked(layer, x, g, forward_context)[1], again)


def test_no_weight_is_copied_into_the_graph(products):
    layer = torch.nn.Conv2d(8, 12, 3, padding=1).requires_grad_(False)
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t),
        products[0](),
    ):
        layer(torch.ones(1, 8, 8, 8, requires_grad=True))
    assert saved == [layer.weight.data_ptr()]


def test_many_places_groups_named_padding_and_single_pictures_are_left_to_the_convolution(
    products, few_places
):
    forward_context, _, made = products
    with forward_context():
        torch.nn.Conv2d(4, 4, 3, padding=1, groups=2)(torch.ones(1, 4, 8, 8))
        torch.nn.Conv2d(4, 4, 3, padding=2, dilation=2)(torch.ones(1, 4, 8, 8))
        torch.nn.Conv2d(4, 4, 3, padding="same")(torch.ones(1, 4, 8, 8))
        torch.nn.Conv2d(4, 4, 3, padding=1)(torch.ones(1, 4, 25, 24))
        torch.nn.Conv2d(4, 4, 3, padding=1)(torch.ones(2, 4, 24, 24))
        torch.nn.Conv2d(4, 4, 3, padding=1)(torch.ones(4, 8, 8))
        assert made == []
        torch.nn.Conv2d(4, 4, 3, padding=1)(torch.ones(1, 4, 24, 24))
        torch.nn.Conv2d(4, 4, 3, padding=1, stride=2)(torch.ones(4, 4, 24, 24))
    assert made == [1, 1]
    elsewhere = torch.ones(1, 4, 8, 8, device="meta")
    assert not few_places.is_one_product(elsewhere, torch.ones(4, 4, 3, 3, device="meta"))


def test_a_unets_inner_levels_are_made_so(tiny, products, pack_module):
    """In the host's own UNet, forward and backward; maps and gradient stay what they are."""
    _, tolerance, made = products
    probed = loaded(ARCHITECTURES["SD1"], tiny)
    half = tolerance > 0.01

    def look(probe, z, conds):
        found = []
        for on in (False, True):
            probe.fast, probe.half, leaf = on and not half, on and half, z.clone().requires_grad_(True)
            (maps,) = probe.maps_of(leaf).cross.values()
            found.append((maps.detach(), torch.autograd.grad(maps.square().sum(), leaf)[0]))
        return found

    (maps, gradient), (fast_maps, fast) = probed.at_state(look, batch=2)
    assert len(made) > 10
    assert (fast_maps - maps).abs().max() < tolerance * maps.max()
    assert F.cosine_similarity(fast.flatten(), gradient.flatten(), 0) > 1 - tolerance
