"""Workflows with several sampler calls: what is shown tells of the one that acted (F1)."""

import pytest
import torch
import torch.nn.functional as F

from ..support.demo_model import NEVER, empty

STEPS = 6


@pytest.fixture
def nursed(tiny):
    """A patched model that acts near the start, its book, and the lines told to its node."""
    lines = []
    moment = tiny.module("gsn_ops.schedule").Moment(percent=0.05)
    patched, book = tiny.attach(on_status=lines.append, moment=moment)
    return patched, book, lines


def upscaled(latent):
    return F.interpolate(latent, scale_factor=1.5, mode="bicubic")


def decoded_and_encoded(tiny, latent):
    with torch.inference_mode():
        image = tiny.vae.decode(latent).movedim(-1, 1)
        larger = F.interpolate(image, scale_factor=2, mode="bilinear").movedim(1, -1)
        return tiny.vae.encode(larger.clamp(0, 1)[..., :3])


def second_pass(tiny, patched, latent):
    return tiny.sample(patched, latent=latent, denoise=0.4, seed=4)


@pytest.mark.parametrize("way", ("as it is", "latent upscale", "image upscale"))
def test_f1_a_second_pass_keeps_the_report_of_the_first(tiny, nursed, way):
    patched, book, lines = nursed
    first = tiny.sample(patched, steps=STEPS)
    line = lines[-1]
    change = {
        "as it is": lambda latent: latent,
        "latent upscale": upscaled,
        "image upscale": lambda latent: decoded_and_encoded(tiny, latent),
    }[way]
    start = change(first)
    final = second_pass(tiny, patched, start)
    assert torch.equal(final, second_pass(tiny, None, start))  # left alone
    run = book.find(final)
    assert run.recipes == book.find(first).recipes and run.recipes[0].updates == (2,)
    assert any(w.startswith("a later pass was left alone") and "raise denoise" in w for w in run.warnings)
    assert lines[-1].startswith(line) and lines[-1].endswith("; a later pass was left alone")
    maps = tiny.module("gsn_ops.report.views").attention_maps(run, None, (), True)
    assert maps is not None and len(maps.labels) == 3
    third = second_pass(tiny, patched, upscaled(final))
    assert book.find(third).recipes == run.recipes


def test_f1_split_sigmas_and_leftover_noise(tiny, nursed):
    import comfy.samplers

    patched, book, lines = nursed
    sigmas, sampler = tiny.sigmas(steps=STEPS), comfy.samplers.sampler_object("euler")
    half = tiny.sample_with(sampler, sigmas[:4], patched)
    final = tiny.sample_with(sampler, sigmas[3:], patched, latent=half, noise=torch.zeros_like(half))
    assert book.find(final).recipes[0].updates == (2,) and "left alone" in lines[-1]


def test_f1_another_picture_is_not_taken_for_a_continuation(tiny, nursed):
    patched, book, lines = nursed
    tiny.sample(patched, steps=STEPS)
    other = tiny.sample(steps=STEPS, seed=77, positive=tiny.encode("a yellow star"))
    final = second_pass(tiny, patched, other)
    assert book.find(final).recipes[0].step is None and "raise denoise" in lines[-1]


def test_f1_in_one_queued_prompt_the_line_tells_of_the_run_that_acted(tiny, nursed):
    """Tiles and crops of a picture do not look like it: the line is the prompt's, the report the run's."""
    from comfy_execution.utils import CurrentNodeContext

    patched, book, lines = nursed
    with CurrentNodeContext("prompt 1", "7"):
        first = tiny.sample(patched, steps=STEPS)
        tile = F.interpolate(first[..., :6, :6], size=(16, 16), mode="bicubic")
        final = second_pass(tiny, patched, tile)
    assert lines[-1].endswith("left alone") and not lines[-1].startswith("Skipped")
    with CurrentNodeContext("prompt 2", "7"):
        second_pass(tiny, patched, -tile)
    assert "raise denoise" in lines[-1]
    assert book.find(final) is not None


@pytest.mark.parametrize("idle", (9, 30))
def test_f1_idle_runs_never_evict_one_that_acted(tiny, nursed, idle):
    patched, book, _ = nursed
    report = tiny.module("gsn_ops.report.run_report")
    first = tiny.sample(patched, steps=STEPS)
    for n in range(idle):
        skipped = report.RecipeReport("Latent Refine", "skipped")
        book.add(report.RunReport("0", "m", "s", 1, (), (skipped,)), torch.full((1, 4, 8, 8), float(n)))
    assert book.find(first).recipes[0].updates == (2,) and book.last() is book.find(first)
    assert len(book) == 1 + 8


def test_f1_a_run_that_acts_again_tells_of_itself(tiny):
    lines = []
    patched, book = tiny.attach(step=0, on_status=lines.append)
    first = tiny.sample(patched, steps=STEPS)
    final = tiny.sample(patched, steps=STEPS, latent=first, denoise=0.5)
    assert book.find(final).recipes != book.find(first).recipes and "left alone" not in lines[-1]


def test_f1_two_nodes_each_tells_of_its_own_run(tiny):
    """The first node acts in the first pass only, the second in none."""
    lines = {"first": [], "second": []}
    moment = tiny.module("gsn_ops.schedule").Moment(percent=0.05)
    patched, book = tiny.attach(moment=moment, on_status=lines["first"].append)
    patched, later = tiny.attach(patched, step=NEVER, on_status=lines["second"].append)
    first = tiny.sample(patched, steps=STEPS)
    final = second_pass(tiny, patched, upscaled(first))
    for one in (book, later):
        assert [r.updates for r in one.find(final).recipes] == [(2,), ()]
    assert lines["first"][-1].endswith("left alone") and "at_step is 999" in lines["second"][-1]


def test_f1_likeness_is_of_every_image_of_the_batch(tiny):
    book = tiny.module("gsn_ops.report.book")
    a, b = (torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    small = book.in_small
    assert book.likeness(small(a), small(upscaled(a))) > 0.9
    mixed = torch.stack([a[0], b[1]])
    assert book.likeness(small(a), small(mixed)) < 0.5 and book.likeness(small(a), small(a[:1])) == 0
    assert small(empty()[:, :, None]).shape == (1, 4, 8, 8) and small(torch.zeros(1, 4, 3, 8, 8)) is None
