"""The numbers are those that were recorded: to the bit on an equal machine, closely on any other."""

import pytest
import torch

from ..support.same_numbers import HASHES, LATENTS, RUNS, digest, distance, environment, latents_of, recorded


def test_what_is_recorded_is_complete_small_and_one():
    kept, latents = recorded()
    assert list(kept["sha256"]) == list(RUNS) and latents.keys() == RUNS.keys()
    assert {name: digest(latents[name]) for name in RUNS} == kept["sha256"]
    assert len(set(kept["sha256"].values())) == len(RUNS) == 12
    assert LATENTS.stat().st_size + HASHES.stat().st_size < 300_000


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_the_recorded_numbers(pack, name):
    kept, latents = recorded()
    threads = torch.get_num_threads()
    found = latents_of(RUNS[name])
    assert torch.get_num_threads() == threads
    assert found.shape == latents[name].shape
    apart = distance(found, latents[name])
    if environment() == kept["environment"]:
        assert digest(found) == kept["sha256"][name], f"the relative error is {apart:.2g}"
    assert apart <= RUNS[name].close
