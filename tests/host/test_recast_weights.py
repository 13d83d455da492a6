"""Layers that make their weights for each call: same numbers, and no second model in the graph."""

import contextlib

import pytest
import torch

from ..support.architectures import ARCHITECTURES
from ..support.networks import contents, graphs_in, loaded, one_pass

STORED = (torch.float16, torch.float8_e4m3fn)


@pytest.fixture(scope="module")
def recast_weights(pack_module):
    module = pack_module("gsn_ops.host.autograd.recast_weights")
    return lambda *layers: module.recast_weights(
        module.recastable_layers(torch.nn.Sequential(*layers), torch.float32, torch.device("cpu"))
    )


def layers():
    from comfy import ops

    return (
        (lambda dtype: ops.manual_cast.Linear(16, 24, dtype=dtype), (2, 3, 5, 16)),
        (lambda dtype: ops.manual_cast.Linear(16, 24, bias=False, dtype=dtype), (4, 16)),
        (lambda dtype: ops.fp8_ops.Linear(16, 32, dtype=dtype), (2, 5, 16)),
        (lambda dtype: ops.manual_cast.Conv2d(8, 12, 3, stride=2, padding=1, dtype=dtype), (2, 8, 9, 7)),
        (
            lambda dtype: ops.manual_cast.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4, dtype=dtype),
            (2, 8, 6, 6),
        ),
    )


def filled(make, dtype):
    layer = make(dtype).requires_grad_(False)
    for seed, p in enumerate(layer.parameters()):
        p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return layer


def call(layer, x, around):
    """Result, gradient, and how many bytes the graph keeps that are not x's."""
    leaf, kept = x.clone().requires_grad_(True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t), around:
        y = layer(leaf)
    y.mul_(2)  # ComfyUI writes into what a layer gave it
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    (gradient,) = torch.autograd.grad(y, leaf, g)
    return y.detach(), gradient, [tuple(t.shape) for t in kept]


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("dtype", STORED)
def test_same_numbers_and_no_weight_in_the_graph(host, recast_weights, case, dtype):
    make, shape = layers()[case]
    layer, x = filled(make, dtype), torch.randn(shape, generator=torch.Generator().manual_seed(7))
    right, gradient, kept = call(layer, x, contextlib.nullcontext())
    found, again, nothing = call(layer, x, recast_weights(layer))
    assert torch.equal(found, right) and torch.equal(again, gradient)
    assert tuple(layer.weight.shape) in kept or tuple(layer.weight.T.shape) in kept
    assert nothing == [] and "forward_comfy_cast_weights" not in vars(layer)


def test_a_lora_that_is_applied_on_the_fly_is_applied_in_both_passes(host, recast_weights):
    from comfy import ops

    layer, applied = (
        filled(lambda dtype: ops.disable_weight_init.Linear(4, 4, dtype=dtype), torch.float32),
        [],
    )
    layer.weight_function = [lambda w: applied.append(1) or w * 3]
    x = torch.ones(2, 4)
    plain = call(layer, x, contextlib.nullcontext())
    applied.clear()
    found = call(layer, x, recast_weights(layer))
    assert (
        len(applied) == 2
        and torch.equal(found[0], plain[0])
        and torch.equal(found[1], plain[1])
        and found[2] == []
    )


def test_what_needs_no_gradient_and_weights_as_they_are_stay_the_hosts(host, recast_weights):
    from comfy import ops

    same, other = (
        filled(lambda dtype: ops.manual_cast.Linear(4, 4, dtype=dtype), d)
        for d in (torch.float32, torch.float16)
    )
    with recast_weights(same, other):
        assert type(same(torch.ones(2, 4, requires_grad=True)).grad_fn).__name__ == "AddmmBackward0"
        assert other(torch.ones(2, 4)).grad_fn is None
        with torch.no_grad():
            other(torch.ones(2, 4, requires_grad=True))
    with pytest.raises(RuntimeError, match="halfway"), recast_weights(other):
        raise RuntimeError("halfway")
    assert "forward_comfy_cast_weights" not in vars(other)


@pytest.mark.parametrize("name", ("SDXL", "SD3", "Flux", "Qwen-Image", "PixArt-sigma"))
@pytest.mark.parametrize("dtype", STORED)
def test_a_network_keeps_no_second_model(tiny, pack_module, monkeypatch, name, dtype):
    probes, memory = (
        pack_module("gsn_ops.host.attention.forward_context"),
        pack_module("gsn_ops.host.attention.memory_policy"),
    )
    made = loaded(ARCHITECTURES[name], tiny, dtype, torch.float32)
    sizes = {tuple(p.shape) for p in made.model.model.diffusion_model.parameters() if p.ndim > 1}
    kept: list[tuple] = []
    pack_saved = pack_module("gsn_ops.host.autograd.differentiable").pack_saved
    monkeypatch.setattr(
        pack_module("gsn_ops.host.autograd.differentiable"),
        "pack_saved",
        lambda t: kept.append((tuple(t.shape), t.nbytes)) or pack_saved(t),
    )

    def look(probe, z, conds):
        found = one_pass(probe, z)
        probe.checkpoint_policy = memory.CheckpointPolicy(memory.LAST_LEVEL)
        return found, one_pass(probe, z)

    before, bytes_of = contents(made.model), []
    results = []
    for around in (probes.recast_weights, lambda layers: contextlib.nullcontext()):
        monkeypatch.setattr(probes, "recast_weights", around)
        kept.clear()
        results += made.at_state(look, needs={"heads": True, "self_rows": True})
        bytes_of.append(sum(nbytes for shape, nbytes in kept if shape in sizes or shape[::-1] in sizes))
    assert contents(made.model) == before and not graphs_in(made.model)
    first, *others = results
    for other in others:
        assert torch.equal(first.maps, other.maps) and torch.allclose(
            first.gradient, other.gradient, rtol=1e-4, atol=1e-9
        )
    assert torch.equal(first.gradient, results[2].gradient)
    assert bytes_of[0] < 0.2 * bytes_of[1]


def test_layers_of_dynamic_vram_are_asked_again(pack_module):
    """Their weights are on the device for the time of a call, whatever type they have."""
    import comfy.ops

    module = pack_module("gsn_ops.host.autograd.recast_weights")
    plain, guest = (comfy.ops.disable_weight_init.Linear(4, 4) for _ in range(2))
    guest._v = object()
    found = module.recastable_layers(torch.nn.Sequential(plain, guest), torch.float32, torch.device("cpu"))
    assert found == [guest] and module.is_dynamic(guest) and not module.is_dynamic(plain)


@pytest.mark.parametrize("delegate", (True, False))
def test_a_model_with_dynamic_vram_is_replaced_where_comfyui_can_reload_it(pack_module, delegate):
    class Dynamic:
        def is_dynamic(self):
            return True

        def clone(self):
            return "clone"

        def get_non_dynamic_delegate(self):
            if not delegate:
                raise RuntimeError("cached_patcher_init is not initialized")
            return "delegate"

    assert pack_module("gsn_ops.host.autograd.differentiable").static_clone(Dynamic()) == (
        "delegate" if delegate else "clone"
    )
