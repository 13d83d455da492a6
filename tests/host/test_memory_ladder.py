"""The memory ladder: passes that compute blocks twice give the same maps and gradients from less, and a run finds its rung."""

import pytest
import torch

from .architectures import ARCHITECTURES
from .test_architectures import contents, graphs_in, loaded, one_pass


@pytest.fixture(scope="module")
def memory(pack_module):
    return pack_module("gsn_ops.host.memory")


@pytest.fixture(scope="module")
def recompute(pack_module):
    return pack_module("gsn_ops.host.recompute")


def on_rung(probe, rung: int):
    probe.ladder.rung, probe.ladder.chosen = rung, True
    return probe


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_rung_gives_the_same_maps_and_gradients(tiny, memory, name):
    made = loaded(ARCHITECTURES[name], tiny)

    def look(probe, z, conds):
        return [one_pass(on_rung(probe, rung), z) for rung in (0, 0, *range(1, len(memory.RUNGS)))]
    before = contents(made.model)
    _, stored, *others = made.at_state(look, {"heads": True, "self_rows": True}, batch=2)
    assert contents(made.model) == before and not graphs_in(made.model)
    for other in others:
        assert torch.equal(other.maps, stored.maps) and torch.equal(other.rows, stored.rows)
        assert all(torch.equal(a, b) for a, b in zip(other.heads, stored.heads, strict=True))
        assert_the_same_gradient(other.gradient, stored.gradient)


def assert_the_same_gradient(a, b):
    """To the rounding of a sum: where a tensor goes several ways, as in skip connections, gradients are added in another order."""
    assert (a - b).abs().max() <= 2e-6 * b.abs().max()
