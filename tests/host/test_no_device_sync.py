"""A shift never makes the CPU wait for the device, which would run dry meanwhile: no hidden `item()`
from shift to shift.
"""

import contextlib

import pytest
import torch

from ..support.architectures import ARCHITECTURES
from ..support.demo_model import empty
from ..support.device_sync import Waiting
from ..support.networks import make
from ..support.probe_oracle import weighted


def test_the_count_sees_every_way_of_asking():
    x = torch.arange(4.0)
    with Waiting() as waiting:
        own = torch.arange(4) + 1
        own.tolist(), own[0].item(), own.cpu(), own.to(torch.float64), own.to(x, non_blocking=True)
        assert waiting.times == 0
        x.tolist(), x.cpu(), x.numpy(), own.to(x), own.to(x.device), torch.tensor([1], device=x.device)
        assert waiting.times == 6
        x.sum().item(), int(x[0]), x[x > 1], x.nonzero(), (own * x).sum().item()
        assert waiting.times == 11
        bool(x[0] > 1)
        own.to(x.device, non_blocking=True).sum().item()
    assert waiting.times in (13, 14)  # bool() is one operator or two


@pytest.fixture
def waits(tiny):
    """How often a run of this Latent Refine waits, the words' columns being known from a run before."""

    def of(**changes) -> int:
        for times in (contextlib.nullcontext(), Waiting()):
            model, _ = tiny.attach(step=1, **changes)
            with times as waiting:
                tiny.sample(model, steps=2, latent=empty(1, 8, 8))
        return waiting.times

    return of


@pytest.mark.parametrize(
    "changes",
    (
        {"report": "full"},
        {"report": "curve"},
        {"report": "curve", "adaptive": "image", "max_displacement": 0.1},
        {"report": "curve", "precision": "bfloat16"},
        {"report": "curve", "only_if_needed": True, "present_at": 2.0},
    ),
)
def test_more_shifts_wait_no_more(waits, changes):
    assert waits(shifts=2, **changes) == waits(shifts=4, **changes) > 0


def test_a_run_that_stops_when_all_is_well_waits_twice_a_shift(waits):
    """After its look: are all images well? And after the backward pass: are all broken?"""
    assert (
        waits(shifts=4, report="curve", stop_at_presence=2.0)
        - waits(shifts=2, report="curve", stop_at_presence=2.0)
        == 2 * 2
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_pass_waits_no_more_than_the_hosts_own(tiny, name):
    """Forward and backward, in every family; some networks of ComfyUI ask for numbers themselves."""
    made = make(name, tiny)

    def look(probe, z, conds):
        found = []
        for times in (contextlib.nullcontext(), Waiting()):  # the first learns the number of layers
            leaf = z.clone().requires_grad_(True)
            with times as ours:
                maps = probe.maps_of(leaf).cross
                torch.autograd.grad(weighted(maps).sum(), leaf)
        with Waiting() as host, torch.no_grad():
            probe.model(z * probe.c, probe.sigma, **probe.arguments)
        found = ours.times, host.times
        return found

    ours, host = made.at_state(look)
    assert (
        ours <= 3 * host
    )  # 0 where ComfyUI's pass has none; what it asks for forward is asked for backward again
