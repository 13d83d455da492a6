"""The benchmark, on narrow models: what a shift does and keeps, by counting; never how long it takes."""

import json
import subprocess
import sys

import pytest
import torch

from tools.bench import models
from tools.bench.bench import bench
from tools.bench.op_counts import count_ops
from tools.bench.show import as_json, as_text
from tools.host_env import paths

READ = {
    "sd15": 3,
    "sdxl": 8,
    "sd35m": 3,
    "flux": 2,
}  # layers with 16x16 maps of SD1.5 and so on; every block of SD3, Flux's double blocks
UNETS = ("sd15", "sdxl")


@pytest.fixture(scope="module")
def counts(pack):
    """Accounts of a narrow model by name and side, made once."""
    made = {}

    def of(name, size=256):
        if (name, size) not in made:
            levels = (0, 1, 2) if (name, size) in (("flux", 256), ("sd15", 256)) else (0,)
            made[name, size] = count_ops(models.size_of(name, smoke=True, size=size), levels)
        return made[name, size]

    return of


@pytest.mark.parametrize("name", models.MODELS)
def test_a_shift_is_one_pass_and_reads_the_wanted_layers(counts, name):
    found = counts(name)
    for count in (found.published, *found.ours.values()):
        assert count.forwards == 1
    assert {count.layers for count in found.ours.values()} == {READ[name]}


@pytest.mark.parametrize("name", UNETS)
def test_a_shift_of_a_unet_is_exactly_the_arithmetic_it_needs(counts, name):
    """No gradient of a weight, nothing after the last layer that is read, nothing twice."""
    found = counts(name)
    assert found.ours[0].flops == found.needed.total < 0.6 * found.published.flops


@pytest.mark.parametrize("name", models.MODELS)
def test_a_shift_takes_less_than_half_the_memory_of_the_published_way(counts, name):
    assert counts(name).published.peak > 2 * counts(name).ours[0].peak


def test_lower_rungs_take_less_memory_and_more_arithmetic(counts):
    counts = [count for _, count in sorted(counts("flux").ours.items())]
    assert counts[0].peak > 1.2 * counts[-1].peak and counts[0].peak > counts[1].peak >= counts[2].peak
    assert counts[0].flops < counts[1].flops < counts[2].flops


@pytest.mark.parametrize("name", ("sd15", "flux"))  # a UNet, a transformer
def test_weights_stored_in_another_type_are_no_second_model_in_the_graph(counts, pack, name):
    stored = count_ops(models.size_of(name, smoke=True, size=256, stored="fp8"), (0,))
    assert stored.weights < 0.3 * counts(name).weights
    assert stored.ours[0].peak < counts(name).ours[0].peak + stored.weights
    assert stored.published.peak > counts(name).published.peak + stored.weights  # as autograd keeps them


@pytest.mark.parametrize("name", ("sd35m", "flux"))
def test_memory_of_a_shift_is_linear_in_the_image(counts, name):
    """Four times the image: about four times the memory, and more in the published way."""
    small, large = counts(name), counts(name, 512)
    assert large.ours[0].peak < 4.3 * small.ours[0].peak
    assert large.published.peak > 5 * small.published.peak


@pytest.mark.parametrize("name", models.MODELS)
def test_the_models_are_the_published_ones(host, name):
    """By the number of their parameters (in millions)."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    published = {"sd15": 860, "sdxl": 2567, "sd35m": 2243, "flux": 11901}
    with FakeTensorMode():
        network = models.build(models.size_of(name), fill=False).diffusion_model
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == published[name]


def test_a_side_that_a_latent_cannot_have_is_refused():
    with pytest.raises(ValueError, match="--size 500 is not a multiple of 64"):
        models.size_of("sd15", size=500)


@pytest.mark.slow
def test_measured_memory_is_what_counting_says(counts, monkeypatch):
    """By torch's allocator, with real tensors, in a run of ComfyUI's sampler."""
    monkeypatch.setattr("tools.bench.bench.count_ops", lambda size: counts(size.name))
    found = bench(models.size_of("sd15", smoke=True), torch.device("cpu"), rounds=1)
    numbers = json.loads(as_json(found))
    assert {"speedup_vs_published", "memory_vs_published", "time_vs_floor", "update_vs_cfg_step"} <= set(
        numbers
    )
    assert {"precision", "machine", "threads", "torch", "comfyui", "date"} <= set(numbers)
    assert set(numbers["seconds"]) == {"step", "published", "ours", "floor"} and {
        len(s) for s in numbers["seconds"].values()
    } == {1}
    assert numbers["peak_bytes"]["published"] == pytest.approx(found.counts.published.peak, rel=0.05)
    assert numbers["peak_bytes"]["ours"] == pytest.approx(found.counts.ours[0].peak, rel=0.05)
    assert numbers["memory_vs_published"] < 0.2
    assert "5 forward and 5 backward passes" in numbers["status"]  # one each, in every round
    text = as_text(found)
    assert "where the time of one update step goes" in text and "convolutions" in text


@pytest.mark.slow
def test_the_command_answers_for_a_model_that_fits_no_machine_here():
    command = [
        sys.executable,
        "-m",
        "tools.bench",
        "--smoke",
        "--model",
        "flux",
        "--count-only",
        "--device",
        "cpu",
        "--json",
        "-",
    ]
    done = subprocess.run(
        command, cwd=paths.CLONE, env=paths.environment(), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert (
        found["model"] == "flux"
        and found["speedup_vs_published"] is None
        and 0 < found["memory_vs_published"] < 1
    )
    # Torch, numpy, PIL and ComfyUI are there before any pack; spaCy comes when somebody asks for it.
    assert found["imported_modules"] == []
