"""Samplers of other packs: an update arrives in the state that they really continue from (F4, F10)."""

import pytest
import torch

from ..support import foreign_samplers
from ..support.demo_model import recording

N = 6


@pytest.fixture(scope="module")
def delta():
    """A known displacement in z."""
    return 0.2 * torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))


def shift_by(delta):
    return lambda step, model, x, sigma, extra: x + delta.to(x) * (1 + float(sigma[0]) ** 2) ** 0.5


def sampler(name, **options):
    import comfy.samplers

    return comfy.samplers.KSAMPLER(getattr(foreign_samplers, name), options)


def run(tiny, inner, sigmas, model=None, **more):
    """On the formula, since only the sampler counts."""
    return tiny.sample_with(inner, sigmas, model or tiny.light, **more)


def right(tiny, name, sigmas, k, delta, **options):
    """The same sampler run to step k, displaced by hand, and resumed."""
    state = run(tiny, sampler(name, **options), sigmas[: k + 1])
    shifted = state + delta * (1 + float(sigmas[k]) ** 2) ** 0.5
    return run(tiny, sampler(name, **options), sigmas[k:], latent=shifted, noise=torch.zeros_like(shifted))


@pytest.mark.parametrize("k", (1, 3))
@pytest.mark.parametrize("name", ("keeps_a_double", "gives_copies", "plain_euler"))
def test_f4_an_update_is_what_the_sampler_continues_from(tiny, delta, name, k):
    sigmas, missed = tiny.sigmas(steps=N), []
    watched = tiny.watch(sampler(name), [k], shift_by(delta), missed.extend)
    ours = run(tiny, watched, sigmas)
    assert missed == []
    assert torch.allclose(ours, right(tiny, name, sigmas, k, delta), atol=2e-4)
    assert (ours - run(tiny, sampler(name), sigmas)).abs().mean() > 1e-3


@pytest.mark.parametrize("name", ("keeps_a_double", "gives_copies", "multistep_of_copies", "plain_euler"))
def test_f4_at_step_0_it_is_a_run_from_displaced_noise(tiny, delta, name):
    import comfy.sample

    from ..support.demo_model import empty

    noise, sigmas = comfy.sample.prepare_noise(empty(), 3), tiny.sigmas(steps=N)
    expected = run(tiny, sampler(name), sigmas, noise=noise + delta)
    ours = run(tiny, tiny.watch(sampler(name), [0], shift_by(delta)), sigmas, noise=noise)
    assert (ours - expected).abs().max() < 5e-3
    assert (ours - run(tiny, sampler(name), sigmas, noise=noise)).abs().mean() > 1e-3


def test_f4_with_noise_of_its_own_too(tiny, delta):
    """Its noise comes from a stream of its own, so the split run differs: the states are compared instead."""
    seen, plain, sigmas = [], [], tiny.sigmas(steps=N)
    run(tiny, sampler("keeps_a_double", noise=0.5), sigmas, recording(tiny.light, plain))
    watched = tiny.watch(sampler("keeps_a_double", noise=0.5), [2], shift_by(delta))
    run(tiny, watched, sigmas, recording(tiny.light, seen))
    assert torch.equal(seen[3][1], plain[3][1]) and seen[4][0] == pytest.approx(float(sigmas[2]))
    displaced = shift_by(delta)(2, None, plain[4][1], sigmas[2:3], {})
    assert torch.allclose(seen[4][1], displaced, atol=1e-4)


def test_f4_multistep_and_without_a_callback(tiny, delta):
    """k > 0 of a sampler without a callback: found by its first call at that level, carried along."""
    sigmas, told = tiny.sigmas(steps=N), []
    watcher = tiny.module("gsn_ops.host.sampling.sampler_watcher")
    what = watcher.Watch([1], shift_by(delta), lambda missed: told.append(missed), None, told.append)
    ours = run(tiny, watcher.watch(sampler("multistep_of_copies"), what), sigmas)
    plain = run(tiny, sampler("multistep_of_copies"), sigmas)
    assert told == [[1]] and torch.equal(ours, plain)  # said, not claimed


@pytest.mark.parametrize("steps", ([0, 1, 2, 3], [1, 2], [2, 3, 4]))
@pytest.mark.parametrize("name", ("keeps_a_double", "gives_copies"))
def test_f4_updates_at_several_steps_add_up(tiny, delta, name, steps):
    """With a prediction that never changes, what is left of an update fades with sigma alone."""
    target, sigmas = torch.full((1, 4, 16, 16), 0.3), tiny.sigmas(steps=8)[:6]
    model = tiny.light.clone()
    model.set_model_sampler_cfg_function(lambda args: args["input"] - target)
    plain = run(tiny, sampler(name), sigmas, model)
    ours = run(tiny, tiny.watch(sampler(name), steps, shift_by(delta)), sigmas, model)
    left = sum(delta * (1 + float(sigmas[k]) ** 2) ** 0.5 * sigmas[-1] / sigmas[k] for k in steps)
    assert torch.allclose(ours - plain, left, atol=1e-3)


@pytest.mark.parametrize("name", ("plain_euler", "noisy_euler"))
def test_f4_a_sampler_that_takes_updates_is_not_given_them_twice(tiny, delta, name):
    sigmas, notes = tiny.sigmas(steps=N), []
    watcher = tiny.module("gsn_ops.host.sampling.sampler_watcher")
    for scale in (1.0, 0.05):
        what = watcher.Watch(range(N), shift_by(scale * delta), lambda missed: None, None, notes.append)
        tiny.sample_with(watcher.watch(sampler(name), what), sigmas)
    assert notes == []


@pytest.mark.parametrize("name", ("keeps_a_double", "gives_copies", "noisy_euler", "altered_levels"))
def test_f4_an_update_of_nothing_changes_no_bit(tiny, name):
    import comfy.samplers

    options = {"inside": comfy.samplers.sampler_object("heun")} if name == "altered_levels" else {}
    sigmas, shown = tiny.sigmas(steps=4), []

    def nothing(step, model, x, sigma, extra):
        shown.append(step)
        return x.clone()

    plain = run(tiny, sampler(name, **options), sigmas)
    ours = run(tiny, tiny.watch(sampler(name, **options), range(4), nothing), sigmas)
    assert shown == [0, 1, 2, 3] and torch.equal(ours, plain)


def test_f4_the_report_of_a_refinement_is_true(tiny):
    """What a whole recipe does to such a sampler is what it does to the same one that takes updates in
    place.
    """
    results = {}
    for name in ("gives_copies", "plain_euler"):
        patched, book = tiny.attach(step=2, shifts=3)
        out = tiny.sample_with(sampler(name), tiny.sigmas(steps=N), patched)
        run = book.find(out)
        assert run.recipes[0].updates == (3,)
        results[name] = out
        carried = any("its own copy" in warning for warning in run.warnings)
        assert carried == (name == "gives_copies")
    assert torch.allclose(*results.values(), atol=1e-3)


@pytest.mark.parametrize("share", (0.02, 0.1, 0.5))
@pytest.mark.parametrize("inside", ("euler", "heun", "dpmpp_2m", "uni_pc"))
@pytest.mark.parametrize("k", (0, 3))
def test_f10_steps_are_those_of_the_schedule_whatever_the_model_is_told(tiny, delta, inside, share, k):
    import comfy.samplers

    sigmas, missed, levels = tiny.sigmas(inside, steps=N), [], []
    options = {"inside": comfy.samplers.sampler_object(inside), "share": share}

    def shift(step, model, x, sigma, extra):
        levels.append(float(sigma[0]))
        assert isinstance(model, comfy.samplers.KSamplerX0Inpaint)  # inpainting masks are blended there
        return shift_by(delta)(step, model, x, sigma, extra)

    watched = tiny.watch(sampler("altered_levels", **options), [k], shift, missed.extend)
    ours = run(tiny, watched, sigmas)
    assert missed == [] and levels == [pytest.approx(float(sigmas[k]))]
    assert (ours - run(tiny, sampler("altered_levels", **options), sigmas)).abs().mean() > 1e-3


def test_f10_a_refinement_behind_altered_noise_levels_acts(tiny):
    import comfy.samplers

    options = {"inside": comfy.samplers.sampler_object("euler")}
    patched, book = tiny.attach(step=2)
    out = tiny.sample_with(sampler("altered_levels", **options), tiny.sigmas(steps=N), patched)
    assert book.find(out).recipes[0].updates == (2,) and book.find(out).warnings == ()
