"""A small convolution as one matrix product: its numbers and its gradient, for every option of a layer."""

import pytest
import torch

from gsn_ops.torch_ops import bfloat16, onednn, small_conv

LAYERS = {
    "3 x 3": {"kernel_size": 3, "padding": 1},
    "downwards": {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
    "1 x 1": {"kernel_size": 1},
    "uneven": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (0, 1)},
}


@pytest.fixture(params=("onednn", "bfloat16"))
def products(request, monkeypatch):
    """(context of a pass, tolerance of its numbers, one entry for each convolution made as a matrix
    product).
    """
    made = []
    module = onednn if request.param == "onednn" else bfloat16
    conv2d_gemm = module.conv2d_gemm
    monkeypatch.setattr(bfloat16, "MIN_ROWS", 1)
    monkeypatch.setattr(module, "conv2d_gemm", lambda *args: made.append(1) or conv2d_gemm(*args))
    if module is onednn:
        return onednn.OneDNNProducts, 1e-5, made
    return bfloat16.BFloat16Products, 0.03, made


def results(layer, x, g, context=None):
    leaf = x.clone().requires_grad_(True)
    if context is None:
        y = layer(leaf)
    else:
        with context():
            y = layer(leaf)
    return y.detach(), torch.autograd.grad(y, leaf, g)[0], y


@pytest.mark.parametrize("how", LAYERS)
@pytest.mark.parametrize("batch", (1, 3))
def test_numbers_and_gradient_are_those_of_the_convolution(products, how, batch):
    context, tolerance, made = products
    layer = torch.nn.Conv2d(8, 12, **LAYERS[how]).requires_grad_(False)
    x = torch.randn(batch, 8, 9, 7, generator=torch.Generator().manual_seed(0))
    g = torch.randn(layer(x).shape, generator=torch.Generator().manual_seed(1))
    right, gradient, _ = results(layer, x, g)
    found, again, y = results(layer, x, g, context)
    assert made == [1] and y.is_contiguous()
    assert torch.allclose(found, right, atol=tolerance) and torch.allclose(
        again, gradient, atol=3 * tolerance
    )
    y += 1  # ComfyUI writes into what a layer gave it
    assert torch.equal(results(layer, x, g, context)[1], again)


def test_no_weight_is_copied_into_the_graph(products):
    layer = torch.nn.Conv2d(8, 12, 3, padding=1).requires_grad_(False)
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t),
        products[0](),
    ):
        layer(torch.ones(1, 8, 8, 8, requires_grad=True))
    assert saved == [layer.weight.data_ptr()]


def test_large_images_groups_named_padding_and_single_images_are_left_to_the_convolution(products):
    context, _, made = products
    with context():
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
    assert not small_conv.is_small_conv(elsewhere, torch.ones(4, 4, 3, 3, device="meta"))
