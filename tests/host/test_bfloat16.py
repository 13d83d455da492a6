"""Products in bfloat16 where the machine is fast at them: agreement is measured, everything else stays in
float32.
"""

import dataclasses

import pytest
import torch

from ..support.networks import contents, graphs_in, make
from ..support.probe_oracle import weighted

STEP, SHIFTS = 1, 4


@pytest.fixture(scope="module")
def agreement_check(pack_module):
    return pack_module("gsn_ops.optimise.gradient_agreement")


@pytest.fixture(scope="module")
def precision(pack_module):
    return pack_module("gsn_ops.torch_ops.bfloat16")


@pytest.fixture(autouse=True)
def few_rows_are_enough(precision, monkeypatch):
    """Networks here are small."""
    monkeypatch.setattr(precision, "MIN_ROWS", 1)


def gradient_of(probe, z, half: bool):
    probe.bfloat16, leaf = half, z.clone().requires_grad_(True)
    maps = probe.maps_of(leaf).cross
    (gradient,) = torch.autograd.grad(weighted(maps).sum(), leaf)
    (maps,) = maps.values()
    return maps.detach(), gradient


@pytest.mark.parametrize(
    "name",
    (
        "SD1",
        "SDXL",
        "SD3",
        "Flux",
        "PixArt-sigma",
        "HunyuanDiT",
        "Qwen-Image",
        "Z-Image",
        "Cosmos-Predict2",
        "HiDream",
    ),
)
def test_maps_and_gradients_stay_float32_and_nearly_the_same(
    tiny, precision, agreement_check, pack_module, name
):
    made, memory = make(name, tiny), pack_module("gsn_ops.host.attention.memory_policy")

    def look(probe, z, conds):
        exact, half = (gradient_of(probe, z, h) for h in (False, True))
        probe.checkpoint_policy = memory.CheckpointPolicy(memory.LAST_LEVEL)
        return exact, half, gradient_of(probe, z, True)

    before = contents(made.model)
    (maps, gradient), (half_maps, half), (again_maps, again) = made.at_state(look, batch=2)
    assert contents(made.model) == before and not graphs_in(made.model)
    assert half_maps.dtype == half.dtype == torch.float32
    assert not torch.equal(half, gradient) and agreement_check.agreement(half, gradient) > 0.98
    assert (half_maps - maps).abs().max() < 0.05 * maps.max()
    assert (
        torch.equal(again_maps, half_maps) and (again - half).abs().max() <= 1e-5 * half.abs().max()
    )  # blocks computed twice


def test_small_models_are_left_in_full_precision(tiny):
    model, book = tiny.attach(step=STEP, shifts=SHIFTS)
    assert "bfloat16" not in book.find(tiny.sample(model, steps=4)).recipes[0].status


def run(tiny, **changes):
    said = []
    model, book = tiny.attach(on_status=said.append, step=STEP, shifts=SHIFTS, **changes)
    out = tiny.sample(model, steps=4)
    (action,) = book.find(out).recipes
    assert said[-1].startswith(action.line) and "bfloat16" not in said[-1]
    return out, action


def test_a_run_in_bfloat16_counts_its_comparison_and_says_how_well_they_agree(
    tiny, precision, pack_module, monkeypatch
):
    monkeypatch.setattr(pack_module("gsn_ops.host.sampling.gradient_precision"), "AGREEMENT", 0.99)
    full, exact = run(tiny, precision="full")
    half, action = run(tiny, precision="bfloat16")
    assert (
        "products in bfloat16 (the gradient in bfloat16 agrees to a cosine of 0.999" in action.status
        and "bfloat16" not in exact.status
    )
    assert (action.forwards, action.backwards) == (exact.forwards + 1, exact.backwards + 1)
    assert (
        action.losses[0] == exact.losses[0] and action.losses[1] != exact.losses[1]
    )  # the first one is in full
    assert not torch.equal(half, full) and (half - full).abs().mean() < 0.05 * full.std()
    assert torch.equal(run(tiny, precision="bfloat16")[0], half)


def test_a_gradient_that_does_not_agree_leaves_the_run_in_full_precision(tiny, pack_module, monkeypatch):
    monkeypatch.setattr(pack_module("gsn_ops.host.sampling.gradient_precision"), "AGREEMENT", 1.1)
    half, action = run(tiny, precision="bfloat16")
    assert torch.equal(half, run(tiny, precision="full")[0])
    assert "full precision (the gradient in bfloat16 agrees to a cosine of 0.999" in action.status


def test_guidance_compares_at_its_first_step(tiny, pack_module, monkeypatch):
    monkeypatch.setattr(pack_module("gsn_ops.host.sampling.gradient_precision"), "AGREEMENT", 0.99)
    guidance, sampling = pack_module("gsn_ops.optimise.guidance"), pack_module("gsn_ops.host.sampling.patch")
    actions = []
    for name in ("full", "bfloat16"):
        guide = dataclasses.replace(guidance.Guide(), precision=name, report="curve")
        model, book = sampling.attach(tiny.model, guide)
        actions += book.find(tiny.sample(model, steps=6)).recipes
    full, half = actions
    assert half.forwards == full.forwards + 1 and len(half.steps) == len(full.steps) > 1
    assert half.losses[0] == full.losses[0] and half.losses[1] != full.losses[1]


def test_a_shift_that_is_not_needed_compares_nothing(tiny):
    _, action = run(tiny, precision="bfloat16", only_if_needed=True, present_at=0.0, report="curve")
    assert (action.forwards, action.updates) == (1, (0,)) and "bfloat16" not in action.status
