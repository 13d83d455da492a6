"""Beside packs that skip a transformer's blocks where they would change little: small ones of our own."""

import pytest
import torch

from ..support import block_caches
from ..support.architectures import ARCHITECTURES
from ..support.networks import loaded

STEPS = 3


@pytest.fixture
def flux(tiny):
    return loaded(ARCHITECTURES["Flux"], tiny)


def refined(made, model, lines=None, **changes):
    patched, book = made.tiny.attach(
        model, step=1, on_status=None if lines is None else lines.append, **changes
    )
    out = made.sample(patched, steps=STEPS)
    return out, book.find(out)


@pytest.mark.parametrize("rewrites", (True, False))
def test_f11_updates_are_made_without_a_cache_that_skips_the_blocks(flux, rewrites):
    model = block_caches.residual_cache(flux.model, rewrites)
    out, report = refined(flux, model)
    print(report.recipes[0].status)
    assert report.recipes[0].updates == (2,), report.recipes[0].status
    assert "these passes leave out residual_cache" in report.recipes[0].status


@pytest.mark.parametrize("rewrites", (True, False))
def test_f11_a_cache_of_blocks_remembers_nothing_of_our_passes(tiny, rewrites):
    runs = []
    for nursed in (False, True):
        made = loaded(ARCHITECTURES["Flux"], tiny)
        model = block_caches.residual_cache(made.model, rewrites)
        runs.append(
            refined(made, model, only_if_needed=True, present_at=0.0)[0]
            if nursed
            else made.sample(model, steps=STEPS)
        )
    assert torch.equal(*runs)


def test_f11_blocks_that_are_skipped_in_comfyuis_own_places_are_named(flux):
    model, lines = block_caches.cached_blocks(flux.model), []
    out, report = refined(flux, model, lines)
    assert torch.equal(out, flux.sample(model, steps=STEPS))
    print(report.recipes[0].status)
    assert report.recipes[0].step is None and report.recipes[0].line in lines[-1]
    assert "cached_blocks" in lines[-1] and "bypass it" in lines[-1]
