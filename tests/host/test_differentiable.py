"""Autograd on a model whose weights were made in inference mode: aliases, not copies, and everything put
back.
"""

import pytest
import torch


@pytest.fixture(scope="module")
def gradients(pack_module):
    return pack_module("gsn_ops.host.autograd.differentiable")


@pytest.fixture
def network():
    """Made in inference mode, as ComfyUI's loaders do; with a buffer and a weight used twice."""
    with torch.inference_mode():
        net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.SiLU(), torch.nn.Linear(4, 4))
        net[2].weight = net[0].weight
        net.register_buffer("scale", torch.tensor(2.0))
    return net


def tables(net):
    return [
        {name: id(t) for name, t in table.items()}
        for m in net.modules()
        for table in (m._parameters, m._buffers)
    ]


def test_gradients_flow_to_the_input_only_and_no_weight_is_copied(gradients, network):
    before, places = tables(network), {p.data_ptr() for p in network.parameters()}
    with torch.inference_mode():
        x = torch.randn(2, 4)
        with gradients.differentiable(network):
            assert {p.data_ptr() for p in network.parameters()} == places
            assert not any(p.is_inference() or p.requires_grad for p in network.parameters())
            leaf = gradients.without_inference_flag(x).requires_grad_(True)
            (gradient,) = torch.autograd.grad((network(leaf) * network.scale).square().sum(), leaf)
        assert torch.is_inference_mode_enabled()
    assert gradient.norm() > 0 and tables(network) == before


class Packed(torch.Tensor):
    """A weight as packs for quantized checkpoints make it: bytes, and beside them what they mean."""

    def detach(self):
        return self


def test_weights_of_another_packs_kind_stay_of_their_kind_with_all_they_carry(gradients):
    with torch.inference_mode():
        net = torch.nn.Linear(4, 4, bias=False)
        packed = torch.arange(16, dtype=torch.uint8).view(4, 4).as_subclass(Packed)
        packed.scale = 0.25
        net.weight = torch.nn.Parameter(packed, requires_grad=False)
    before = tables(net)
    with torch.inference_mode(), gradients.differentiable(net):
        weight = net.weight
        assert (
            type(weight) is Packed
            and weight.scale == 0.25
            and not weight.is_inference()
            and weight.data_ptr() == packed.data_ptr()
        )
        x = torch.ones(1, 4, requires_grad=True)
        meant = weight.as_subclass(torch.Tensor) * weight.scale
        (gradient,) = torch.autograd.grad((x @ meant.T).sum(), x)
    assert (
        torch.equal(gradient, torch.tensor([[6.0, 7.0, 8.0, 9.0]]))
        and tables(net) == before
        and net.weight is packed
    )


def test_nesting_and_errors_put_everything_back(gradients, network):
    before = tables(network)
    with (
        pytest.raises(KeyError),
        torch.inference_mode(),
        gradients.differentiable(network),
        gradients.differentiable(network),
    ):
        raise KeyError
    assert tables(network) == before
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_a_weight_that_somebody_replaced_meanwhile_is_left_alone(gradients, network):
    old, new = network[0].bias, torch.nn.Parameter(torch.zeros(4))
    with torch.inference_mode(), gradients.differentiable(network):
        network[0].bias = new
    assert network[0].bias is new
    network[0].bias = old


def test_what_the_graph_saves_from_the_hosts_shared_cast_buffer_is_a_copy(gradients):
    """Partly offloaded models cast every layer into one buffer, so that the next layer overwrites what
    backward needs.
    """
    import comfy.model_management as management

    buffer = torch.empty(4)
    management.STREAM_CAST_BUFFERS["gsn test"] = buffer
    try:
        with torch.inference_mode(), gradients.differentiable():
            x = torch.ones(4, requires_grad=True)
            first = x * buffer[:].copy_(torch.full((4,), 2.0))
            second = first * buffer[:].copy_(torch.full((4,), 3.0))
            (gradient,) = torch.autograd.grad(second.sum(), x)
    finally:
        del management.STREAM_CAST_BUFFERS["gsn test"]
    assert torch.equal(gradient, torch.full((4,), 6.0))


def test_a_tensor_that_is_written_into_after_the_graph_has_saved_it_is_an_error_and_not_a_wrong_gradient(
    gradients,
):
    with torch.inference_mode(), gradients.differentiable():
        x = torch.ones(4, requires_grad=True)
        y = x.exp()
        y.add_(1)
        with pytest.raises(RuntimeError, match="writes into a tensor that the gradient still needs"):
            torch.autograd.grad(y.sum(), x)
