"""Networks that compute in float16: gradients too small for it arrive all the same."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tools.host_env.inprocess import pack_module
from tools.study.embedded import Demo, Sampling
from tools.tiny.prompts import prompts
from tools.workflows.demo import shipped_settings

from ..support.architectures import ARCHITECTURES
from ..support.networks import loaded
from ..support.probe_oracle import weighted

NAMES = ("SDXL", "SD3", "HunyuanDiT", "PixArt-sigma")
CELLS = torch.tensor([[0, 5]])


def gradients_of(made, tiny, size: float, scale: float | None = None, memory=None) -> list:
    """Of a loss of the maps, and of one of self-attention, each `size` times what would be usual."""

    def look(probe, z, conds):
        probe.gradient_scale = probe.gradient_scale if scale is None else scale
        probe.checkpoint_policy = memory or probe.checkpoint_policy
        found = [probe.gradient_scale]
        for rows in (False, True):
            leaf = z.clone().requires_grad_(True)
            maps = probe.maps_of(leaf)
            ((level, m),) = maps.cross.items()
            loss = weighted({1: maps.self_rows[level](CELLS.expand(len(z), -1)) if rows else m})
            found.append(torch.autograd.grad(loss.sum() * size, leaf)[0] / size)
        return found

    return made.at_state(look, needs={"self_rows": True}, batch=2)


def cosine(a, b) -> float:
    return float(F.cosine_similarity(a.flatten().double(), b.flatten().double(), 0))


@pytest.mark.parametrize("name", NAMES)
def test_small_gradients_arrive(tiny, pack, name):
    scale = pack_module("gsn_ops.host.attention.probe").GRADIENT_SCALE
    full, half = (loaded(ARCHITECTURES[name], tiny, dtype) for dtype in (torch.float32, torch.float16))
    none, *right = gradients_of(full, tiny, 1)
    chosen, *usual = gradients_of(half, tiny, 1)
    assert (none, chosen) == (1, scale)
    for kind, (gradient, at_one) in enumerate(zip(right, usual, strict=True)):
        assert gradient.dtype == at_one.dtype == torch.float32 and cosine(gradient, at_one) > 0.999
        assert float(at_one.norm() / gradient.norm()) == pytest.approx(1, abs=0.02)
        small = 2e-7 / float(gradient.abs().mean())  # below what float16 can say
        kept, plain = (gradients_of(half, tiny, small, s)[1 + kind] for s in (None, 1.0))
        assert cosine(gradient, kept) > 0.975 and cosine(gradient, kept) - cosine(gradient, plain) > 0.02


def test_blocks_that_run_twice_scale_once(tiny, pack):
    half, memory = (
        loaded(ARCHITECTURES["SD3"], tiny, torch.float16),
        pack_module("gsn_ops.host.attention.memory_policy"),
    )
    once, twice = (
        gradients_of(half, tiny, 1, memory=policy)[1:]
        for policy in (None, memory.CheckpointPolicy(memory.LAST_LEVEL))
    )
    for a, b in zip(once, twice, strict=True):
        assert torch.allclose(a, b, atol=1e-3 * float(a.abs().max()))


@pytest.mark.slow
def test_a_refinement_in_float16_is_that_in_float32(pack):
    """Of the demo model, as its workflow has it: each update goes where it goes in full precision."""
    recipe, some = shipped_recipe(shifts=4), prompts(3, 1, "test", seed=4)
    outs, runs = [], []
    for dtype in (torch.float32, torch.float16):
        demo = Demo()
        demo.model.set_model_compute_dtype(dtype)
        runs.append(demo.refine([recipe], some, Sampling(steps=5)))
        outs.append(runs[-1].latents)
    full, half = runs
    assert full.last_loss[0] < full.first_loss[0] - 0.01
    assert full.last_loss != half.last_loss == pytest.approx(full.last_loss, abs=0.002)
    assert (outs[1] - outs[0]).abs().mean() < 0.1 * outs[0].std()


def shipped_recipe(**changes):
    node, settings = shipped_settings(), pack_module("gsn_ops.optimise.overrides")
    method = settings.override(
        pack_module("gsn_ops.optimise.methods").preset(node["method"]), node["overrides"]
    )
    (recipe,) = settings.moved(method, pack_module("gsn_ops.schedule").Moment(percent=node["at_percent"]))
    return replace(recipe, report="curve", **changes)
