"""Matrix products in bfloat16: those of the rounded factors, and no copy of a weight in the graph."""

from copy import deepcopy

import pytest
import torch

from gsn_ops.torch_ops import bfloat16


@pytest.fixture(autouse=True)
def few_rows_are_enough(monkeypatch):
    """Layers here are small."""
    monkeypatch.setattr(bfloat16, "MIN_ROWS", 1)


def rounded(t):
    """What bfloat16 keeps of a tensor, in float64."""
    return t.detach().bfloat16().double()


def transposed(layer, x, g):
    """The vector-Jacobian product of a layer."""
    x = rounded(x).requires_grad_(True)
    return torch.autograd.grad(layer(x), x, g)[0]


@pytest.mark.parametrize(
    "kind, sizes, options, shape",
    (
        (torch.nn.Linear, (16, 24), {}, (2, 5, 16)),
        (torch.nn.Linear, (16, 24), {"bias": False}, (2, 16)),
        (torch.nn.Conv2d, (8, 12, 3), {"stride": 2, "padding": 1}, (2, 8, 9, 7)),
        (torch.nn.Conv2d, (8, 8, 3), {"padding": 2, "dilation": 2, "groups": 4}, (2, 8, 6, 6)),
    ),
)
def test_a_product_is_that_of_the_rounded_factors_and_keeps_no_copy_of_its_weight(
    kind, sizes, options, shape
):
    generator = torch.Generator().manual_seed(0)
    layer = kind(*sizes, **options).requires_grad_(False)
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    x = torch.randn(shape, generator=generator).requires_grad_(True)
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t),
        bfloat16.BFloat16Products(),
    ):
        y = layer(x)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(y, x, g)
    assert y.dtype == gradient.dtype == torch.float32 and saved == [layer.weight.data_ptr()]
    assert not torch.equal(y, layer(x))
    exact = deepcopy(layer).double()
    sums = deepcopy(exact)  # of the factors' sizes: bounds the error of any order of summing
    for parameter, size in zip(exact.parameters(), sums.parameters(), strict=True):
        size.copy_(parameter.copy_(rounded(parameter)).abs())
    for ours, right, bound in (
        (y, exact(rounded(x)), sums(rounded(x).abs())),
        (
            gradient,
            transposed(exact, rounded(x), rounded(g)),
            transposed(sums, rounded(x), rounded(g).abs()),
        ),
    ):
        assert ((ours - right).abs() <= bound * 2**-7).all()


def test_linear_layers_of_few_rows_multiply_in_full_precision(monkeypatch):
    monkeypatch.setattr(bfloat16, "MIN_ROWS", 20)
    layer, few, many = torch.nn.Linear(16, 24), torch.full((1, 19, 16), 1 / 3), torch.full((1, 20, 16), 1 / 3)
    right = layer(few), layer(many)
    with bfloat16.BFloat16Products():
        assert torch.equal(layer(few), right[0]) and not torch.equal(layer(many), right[1])


def test_it_is_tried_on_large_float32_networks_on_a_fast_cpu_alone():
    class Big(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.empty(bfloat16.MIN_PARAMETERS, device="meta"))

    big, cpu = Big(), torch.device("cpu")
    should_try = bfloat16.should_try_bfloat16
    assert not should_try(torch.nn.Linear(4, 4), torch.float32, cpu, 50)
    assert not should_try(big, torch.bfloat16, cpu, 50) and not should_try(big, torch.float32, cpu, 2)
    assert not should_try(big, torch.float32, torch.device("cuda"), 50)
    assert should_try(big, torch.float32, cpu, 50) == bfloat16.has_fast_bfloat16()
