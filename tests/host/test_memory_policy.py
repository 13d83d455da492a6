"""Activation checkpointing: passes that compute blocks twice give the same maps and gradients from less, and
a run finds its level.
"""

import functools
import gc
import weakref
from dataclasses import replace

import pytest
import torch

from ..support.allocation_meter import peak_of
from ..support.architectures import ARCHITECTURES, SD3
from ..support.model_state import difference, state_of, tensors_with_a_graph
from ..support.networks import contents, graphs_in, loaded, make, one_pass
from ..support.probe_oracle import weighted

STEP, SHIFTS = 1, 3


@pytest.fixture(scope="module")
def memory(pack_module):
    return pack_module("gsn_ops.host.attention.memory_policy")


def on_level(memory, probe, level: int):
    probe.checkpoint_policy = memory.CheckpointPolicy(level)
    return probe


def assert_the_same_gradient(a, b):
    """To the rounding of a sum: where a tensor goes several ways, as in skip connections, gradients are added
    in another order.
    """
    assert (a - b).abs().max() <= 2e-6 * b.abs().max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_level_gives_the_same_maps_and_gradients(tiny, memory, name):
    made = make(name, tiny)

    def look(probe, z, conds):
        return [
            one_pass(on_level(memory, probe, level), z) for level in (0, 0, *range(1, len(memory.LEVELS)))
        ]

    before = contents(made.model)
    _, stored, *others = made.at_state(look, {"heads": True, "self_rows": True}, batch=2)
    assert contents(made.model) == before and not graphs_in(made.model)
    for other in others:
        assert torch.equal(other.maps, stored.maps) and torch.equal(other.rows, stored.rows)
        assert all(torch.equal(a, b) for a, b in zip(other.heads, stored.heads, strict=True))
        assert_the_same_gradient(other.gradient, stored.gradient)


def test_a_deep_network_needs_less_on_every_level(tiny, memory):
    arch = replace(ARCHITECTURES["SD3"], unet={**SD3, "num_blocks": 16}, plane=(32, 32), grid=(16, 16))
    made = loaded(replace(arch, unet={**arch.unet, "pos_embed_max_size": 16, "num_patches": 256}), tiny)

    def look(probe, z, conds):
        def shift(level: int) -> None:
            leaf = z.clone().requires_grad_(True)
            torch.autograd.grad(weighted(on_level(memory, probe, level).maps_of(leaf).cross).sum(), leaf)

        shift(0)
        return [peak_of(functools.partial(shift, level)) for level in range(len(memory.LEVELS))]

    everything, half, least = made.at_state(look)
    assert half < 0.65 * everything and least < 0.25 * everything


def test_the_level_follows_from_what_is_free_and_what_a_pass_stores(memory):
    policy = memory.CheckpointPolicy()
    policy.choose(free=memory.CERTAIN_UNITS * 10, estimate=10)
    assert (policy.level, policy.chosen) == (0, True)
    for free, level in ((1100 + 10, 0), (1100, 1), (640, 1), (600, memory.LAST_LEVEL)):
        policy = memory.CheckpointPolicy()
        policy.choose(free=free - 900, estimate=100)
        assert (policy.level, policy.chosen) == (memory.LAST_LEVEL, False)  # one pass that measures
        policy.block_bytes, policy.input_bytes = [100] * 10, 20
        policy.choose(free=free, estimate=10)
        assert (policy.level, policy.chosen) == (level, True)
    assert not policy.store_less()


def test_a_pass_that_measures_tells_what_its_blocks_would_store(tiny, memory, monkeypatch):
    """Then the next one stores it all: there is room."""
    monkeypatch.setattr(memory, "CERTAIN_UNITS", float("inf"))
    made = loaded(ARCHITECTURES["SD3"], tiny)

    def look(probe, z, conds):
        first = one_pass(probe, z)
        levels = [probe.checkpoint_policy.level]
        second = one_pass(probe, z)
        return first, second, [*levels, probe.checkpoint_policy.level], probe.checkpoint_policy

    first, second, levels, policy = made.at_state(look, {"heads": True, "self_rows": True})
    assert levels == [memory.LAST_LEVEL, 0] and torch.equal(first.maps, second.maps)
    assert_the_same_gradient(first.gradient, second.gradient)
    assert len(policy.block_bytes) == 3 and 0 < policy.input_bytes < min(policy.block_bytes)
    weights = sum(p.nbytes for p in made.model.model.diffusion_model.joint_blocks.parameters())
    assert sum(policy.block_bytes) < weights  # they are not counted


def out_of_memory(model, times: int):
    """The MODEL on a device that has no room for the first passes with gradients."""
    import comfy.model_management as management

    failed = []

    def patch(n, context, value, extra):
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled() and len(failed) < times:
            failed.append(True)
            raise management.OOM_EXCEPTION("out of memory, for this test")
        return n, context, value

    model = model.clone()
    model.set_model_attn2_patch(patch)
    return model


@pytest.mark.parametrize("times", (0, 1, 2))
def test_a_run_out_of_memory_goes_on_one_level_lower_and_says_so(tiny, memory, times):
    model, book = tiny.attach(out_of_memory(tiny.model, times), step=STEP, shifts=SHIFTS)
    out = tiny.sample(model, steps=4)
    (action,) = book.find(out).recipes
    plain, plain_book = tiny.attach(step=STEP, shifts=SHIFTS)
    right = tiny.sample(plain, steps=4)
    assert torch.allclose(out, right, atol=1e-4) and not torch.equal(out, tiny.sample(steps=4))
    assert (
        action.updates == (SHIFTS,) and action.forwards == plain_book.find(right).recipes[0].forwards + times
    )
    for level, words in enumerate(memory.LEVELS[1:], 1):
        assert (words in action.status) == (level == times)


def test_out_of_memory_on_the_last_level_names_the_cure_and_leaves_everything_clean(tiny, memory):
    import comfy.model_management as management

    model = tiny.load()[0]
    stock = tiny.sample(model, steps=4)
    before = state_of(model)
    with pytest.raises(management.OOM_EXCEPTION, match="smaller.*--lowvram"):
        tiny.sample(tiny.attach(out_of_memory(model, 99), step=STEP, shifts=SHIFTS)[0], steps=4)
    gc.collect()
    assert difference(before, state_of(model)) == {}
    assert torch.equal(tiny.sample(model, steps=4), stock)


def test_a_patch_that_counts_its_calls_is_an_error_or_has_the_right_gradient(tiny, memory):
    made = loaded(ARCHITECTURES["SD1"], tiny)
    calls = []

    def patch(n, context, value, extra):
        calls.append(True)
        return n.exp() if len(calls) % 2 else n, context, value

    made.model = made.model.clone()
    made.model.set_model_attn2_patch(patch)

    def look(probe, z, conds):
        right = one_pass(on_level(memory, probe, 0), z)
        calls.clear()
        try:
            again = one_pass(on_level(memory, probe, memory.LAST_LEVEL), z)
        except RuntimeError as error:
            return str(error)
        wrong = float((again.gradient - right.gradient).abs().max() / right.gradient.abs().max())
        return "right" if wrong < 1e-3 else f"wrong by {wrong:.3g}"

    found = made.at_state(look, needs={"heads": True, "self_rows": True})
    assert found == "right" or "changes from call to call" in found, found


def test_no_graph_is_left_when_a_recomputed_pass_has_no_backward(tiny, memory):
    made = loaded(ARCHITECTURES["SD1"], tiny)

    def look(probe, z, conds):
        held, before = [], tensors_with_a_graph()
        for level in range(len(memory.LEVELS)):
            seen = on_level(memory, probe, level).maps_of(z.clone().requires_grad_(True))
            (maps,) = seen.cross.values()
            held.append(weakref.ref(maps))
            del seen, maps
        gc.collect()
        return [maps() is None for maps in held] + [tensors_with_a_graph() == before]

    assert all(made.at_state(look))


def test_the_host_is_asked_for_what_a_pass_needs(tiny, memory):
    """The lowest level at least; all of it where the device has room for that beside the weights."""
    network = tiny.model.model
    for batch in (1, 3):
        shape = [batch, 4, 64, 64]
        own = memory.host_estimate_bytes(network, shape)
        for room, units in ((0, memory.MINIMUM_UNITS), (2 * memory.FULL_UNITS * own, memory.FULL_UNITS / 2)):
            asked = network.memory_required([memory.reported_batch_size(network, shape, room), *shape[1:]])
            assert asked >= max(units * own, network.memory_required(shape))
