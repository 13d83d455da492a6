"""Off is stock, bit for bit: no shifts, a moment outside the run, or a shift of nothing give the very image
of a run without our nodes.

"off" installs nothing; "outside" installs the wrapper and finds nothing due; a shift of nothing watches every
call of the sampler. Where a way of sampling is run for the first time here, "on" must change its image: a
test of nothing would pass too. What depends on the sampler alone is run on a formula (`Tiny.light`).
"""

import pytest
import torch

from ..support.demo_model import NEVER, PROMPT, SAMPLERS, empty

SCHEDULERS = ("normal", "karras", "simple")
SOME = ("euler", "dpmpp_sde", "uni_pc")
WAYS = sorted(
    {(name, SCHEDULERS[i % len(SCHEDULERS)]) for i, name in enumerate(SAMPLERS)}
    | {(name, scheduler) for name in SOME for scheduler in SCHEDULERS}
)
"""Every sampler with one scheduler, and three with all."""
OFF = {"off": {"shifts": 0}, "outside": {"step": NEVER}}
SECOND = "a yellow star"


@pytest.fixture(scope="module")
def off_models(tiny):
    """The two ways of doing nothing. "off" has the options of the plain model: it is not run again here."""
    return {name: tiny.attach(**changes)[0] for name, changes in OFF.items()}


@pytest.fixture
def start():
    """A latent that is not empty."""
    return 0.5 * torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def check(tiny, off_models):
    """A function: `run(model)` (None = stock) gives the same bits with "outside", and others with a
    refinement. Returns the stock run.
    """

    def checked(run):
        stock = run(None)
        assert torch.equal(run(off_models["outside"]), stock)
        assert not torch.equal(run(tiny.attach(step=1)[0]), stock)
        return stock

    return checked


def test_the_list_of_samplers_here_is_the_hosts(tiny):
    import comfy.samplers

    assert set(SAMPLERS) == set(comfy.samplers.KSampler.SAMPLERS), (
        "a new sampler: add it to tiny.SAMPLERS (and to sampling/sampler_facts.py if it needs it)"
    )


def test_zero_shifts_install_nothing(tiny, off_models):
    assert off_models["off"].wrappers == tiny.model.wrappers
    assert off_models["off"].model_options == tiny.model.model_options
    assert off_models["outside"].wrappers != tiny.model.wrappers


@pytest.mark.parametrize("name, scheduler", WAYS)
def test_every_sampler_and_scheduler(tiny, name, scheduler):
    stock = tiny.sample(tiny.light, name, scheduler, steps=4)
    model, book = tiny.attach(tiny.light, **OFF["outside"])
    assert torch.equal(tiny.sample(model, name, scheduler, steps=4), stock) and book.last()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_shift_of_nothing_at_every_step(tiny, name):
    import comfy.samplers

    sigmas, shown = tiny.sigmas(name, steps=4), []

    def nothing(step, model, x, sigma, extra):
        shown.append(step)
        return x.clone()

    stock, ours = (
        tiny.sample_with(sampler, sigmas, tiny.light)
        for sampler in (
            comfy.samplers.sampler_object(name),
            tiny.watch(comfy.samplers.sampler_object(name), range(4), nothing),
        )
    )
    assert shown and torch.equal(ours, stock)


@pytest.mark.parametrize("name", SOME)
def test_inpainting_mask(tiny, check, start, name):
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 2:9] = 1
    out = check(lambda model: tiny.sample(model, name, latent=start, noise_mask=mask, steps=4))
    assert torch.allclose(out[..., :4, :], start[..., :4, :], atol=1e-2)  # the mask was in force


@pytest.mark.parametrize("name", SOME)
def test_denoise(tiny, check, start, name):
    check(lambda model: tiny.sample(model, name, latent=start, denoise=0.6, steps=3))


@pytest.mark.parametrize("name", SOME)
def test_batch_of_2(tiny, check, name):
    check(lambda model: tiny.sample(model, name, latent=empty(2), steps=3))


@pytest.mark.parametrize("name", SOME)
def test_not_square(tiny, check, name):
    check(lambda model: tiny.sample(model, name, latent=empty(1, 16, 24), steps=3))


@pytest.mark.parametrize("name", SOME)
def test_ksampler_node(tiny, check, host, name):
    @torch.inference_mode()
    def run(model):
        out = host.KSampler().sample(
            model or tiny.model,
            3,
            4,
            7.5,
            name,
            "normal",
            tiny.encode(PROMPT),
            tiny.encode(""),
            {"samples": empty()},
        )
        return out[0]["samples"]

    check(run)


@pytest.mark.parametrize("name", SOME)
def test_ksampler_advanced_with_leftover_noise(tiny, check, host, name):
    @torch.inference_mode()
    def part(model, latent, start, end, add_noise, leftover):
        return host.KSamplerAdvanced().sample(
            model or tiny.model,
            add_noise,
            3,
            8,
            7.5,
            name,
            "normal",
            tiny.encode(PROMPT),
            tiny.encode(""),
            latent,
            start,
            end,
            leftover,
        )[0]

    begun = part(None, {"samples": empty()}, 0, 3, "enable", "enable")
    check(lambda model: part(model, begun, 3, 6, "disable", "enable")["samples"])
    check(lambda model: part(model, begun, 3, NEVER, "disable", "disable")["samples"])


@pytest.mark.parametrize(
    "kind", ("basic", "cfg", "dual cfg regular", "dual cfg nested", "dual model", "perp neg")
)
def test_sampler_custom_advanced(tiny, check, kind):
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as custom
    from comfy_extras.nodes_perpneg import PerpNegGuider

    positive, second, negative = (tiny.encode(text) for text in (PROMPT, SECOND, ""))
    guiders = {
        "basic": lambda m: custom.BasicGuider.execute(m, positive),
        "cfg": lambda m: custom.CFGGuider.execute(m, positive, negative, 7.5),
        "dual cfg regular": lambda m: custom.DualCFGGuider.execute(
            m, positive, second, negative, 5.0, 3.0, "regular"
        ),
        "dual cfg nested": lambda m: custom.DualCFGGuider.execute(
            m, positive, second, negative, 5.0, 3.0, "nested"
        ),
        "dual model": lambda m: custom.DualModelGuider.execute(m, positive, 4.0, tiny.model, negative),
        "perp neg": lambda m: PerpNegGuider.execute(m, positive, second, negative, 7.5, 1.0),
    }

    @torch.inference_mode()
    def run(model):
        outputs = custom.SamplerCustomAdvanced.execute(
            custom.Noise_RandomNoise(3),
            guiders[kind](model or tiny.model)[0],
            comfy.samplers.sampler_object("dpmpp_sde"),
            tiny.sigmas(scheduler="karras", steps=4),
            {"samples": empty()},
        )
        return torch.cat([outputs[0]["samples"], outputs[1]["samples"]])  # final and denoised

    check(run)


@pytest.mark.parametrize(
    "text",
    (PROMPT, "", "(red:1.3) circle, [blue] \\(square\\)", "a star " * 60),
    ids=("caption", "empty", "weights", "long"),
)
def test_the_conditioning_of_the_remembering_clip(tiny, text):
    ours, stock = tiny.encode(text), tiny.encode(text, plain=True)
    assert len(ours) == len(stock) == 1
    assert torch.equal(ours[0][0], stock[0][0])
    extra = set(ours[0][1]) - set(stock[0][1])
    assert extra == {"gsn"}
    for key, value in stock[0][1].items():
        assert (
            torch.equal(value, ours[0][1][key])
            if isinstance(value, torch.Tensor)
            else value == ours[0][1][key]
        )


@pytest.mark.parametrize("name", SOME)
def test_a_remembered_prompt_alone_changes_no_image(tiny, name):
    plain = tiny.sample(
        sampler=name, positive=tiny.encode(PROMPT, plain=True), negative=tiny.encode("", plain=True)
    )
    assert torch.equal(tiny.sample(sampler=name), plain)
