"""Layers with a constant weight: the gradient of the input alone, and what the graph keeps for it."""

import torch

from gsn_ops.torch_ops.frozen_weight import frozen_weight


def product(x, weight, keep: bool):
    """x W^T by `frozen_weight`; keep: the graph saves the weight, instead of its being at hand later."""
    saved = (weight,) if keep else ()
    return frozen_weight(x, lambda x, *_: x @ weight.t(), lambda g, *kept: g @ (*kept, weight)[0], *saved)


def test_result_and_gradient_are_those_of_autograd_and_the_weight_alone_is_saved():
    x, weight, g = (
        torch.randn(size, generator=torch.Generator().manual_seed(n))
        for n, size in enumerate(((5, 3), (4, 3), (5, 4)))
    )
    leaf = x.clone().requires_grad_(True)
    right = leaf @ weight.t()
    (gradient,) = torch.autograd.grad(right, leaf, g)
    for keep, expected in ((True, [weight.data_ptr()]), (False, [])):
        saved: list[int] = []

        def pack(t, saved=saved):
            saved.append(t.data_ptr())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y = product(leaf, weight, keep)
        assert saved == expected and torch.equal(y, right)
        assert torch.equal(torch.autograd.grad(y, leaf, g)[0], gradient)


def test_a_weight_that_requires_a_gradient_gets_none():
    leaf, weight = torch.ones(2, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    constant = weight.detach()
    y = frozen_weight(leaf, lambda x, _: x @ constant.t(), lambda g, _: g @ constant, weight)
    assert torch.autograd.grad(y.sum(), (leaf, weight), allow_unused=True)[1] is None


def test_the_result_may_be_written_into():
    leaf, weight = torch.ones(2, 3, requires_grad=True), torch.ones(4, 3)
    y = product(leaf, weight, True)
    y += 1
    assert torch.equal(torch.autograd.grad(y.sum(), leaf)[0], torch.full((2, 3), 4.0))
