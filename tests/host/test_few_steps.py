"""Runs of few steps: a run that passes the wanted noise level acts at its nearest step and says so (B9)."""

import pytest
import torch


@pytest.mark.parametrize(
    "steps, scheduler",
    ((4, "normal"), (4, "karras"), (6, "beta"), (1, "sgm_uniform"), (2, "sgm_uniform"), (3, "exponential")),
)
def test_b9_it_acts_and_says_how_far_off_it_is(tiny, steps, scheduler):
    schedule = tiny.module("gsn_ops.schedule")
    lines = []
    patched, book = tiny.attach(on_status=lines.append, moment=schedule.Moment())
    sigmas = tiny.sigmas(scheduler=scheduler, steps=steps)
    out = tiny.sample(patched, steps=steps, scheduler=scheduler, cfg=1.0)
    recipe = book.find(out).recipes[0]
    assert recipe.updates == (2,) and not torch.equal(
        out, tiny.sample(steps=steps, scheduler=scheduler, cfg=1.0)
    )
    wanted = float(tiny.model.get_model_object("model_sampling").percent_to_sigma(0.18))
    apart = max(recipe.sigma, wanted) / min(recipe.sigma, wanted)
    nearest = min(sigmas[:-1].tolist(), key=lambda s: max(s, wanted) / min(s, wanted))
    assert recipe.sigma == pytest.approx(nearest)
    assert ("is the nearest" in lines[-1]) == (apart > schedule.NEAR_FACTOR)


def test_b9_checkpoints_of_a_guidance_too(tiny):
    guidance, schedule, patch = (
        tiny.module(f"gsn_ops.{name}") for name in ("optimise.guidance", "schedule", "host.sampling.patch")
    )
    checkpoint = guidance.Checkpoint(schedule.Moment(percent=0.3), None)
    recipe = guidance.Guide(start_percent=0.0, end_percent=0.0, checkpoints=(checkpoint,), max_rounds=2)
    patched, book = patch.attach(tiny.model, recipe)
    out = tiny.sample(patched, steps=3, scheduler="karras")
    assert sum(book.find(out).recipes[0].updates) == 2


@pytest.mark.parametrize("steps", (1, 2, 3))
def test_b9_a_schedule_that_begins_below_the_wanted_level_is_refined_at_its_first_state(tiny, steps):
    """ddim_uniform with few steps; the same noise levels behind an image are a second pass."""
    patched, book = tiny.attach(moment=tiny.module("gsn_ops.schedule").Moment())
    run = {"steps": steps, "scheduler": "ddim_uniform", "cfg": 1.0}
    out = tiny.sample(patched, **run)
    recipe = book.find(out).recipes[0]
    assert (recipe.step, recipe.updates) == (0, (2,)) and not torch.equal(out, tiny.sample(**run))
    begins = float(tiny.sigmas(scheduler="ddim_uniform", steps=steps)[0])
    wanted = float(tiny.model.get_model_object("model_sampling").percent_to_sigma(0.18))
    assert ("step 0 is the nearest" in recipe.status) == (wanted / begins > 1.5)
    if wanted / begins > 1.5:
        image = torch.full_like(out, 0.1)
        assert "raise denoise" in book.find(tiny.sample(patched, latent=image, **run)).recipes[0].status
