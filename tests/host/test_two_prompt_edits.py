"""FlowEdit, RF-Inversion and DiffEdit Mask: what they change, what they keep, and what they refuse."""

import pytest
import torch

from gsn_ops.judge.demo_detector import detect
from tools.study.embedded import images_of
from tools.study.inversion import pictures

from ..support.demo_model import Tiny
from ..support.model_state import state_of
from .test_inversion import SOURCE, TARGET, apart, denoiser, image
from .test_inversion import models as models
from .test_inversion import nodes as nodes

BLACK = "a black heart"
KINDS = pytest.mark.parametrize("kind", ("eps", "flow"))


@pytest.fixture(scope="module")
def flow_edit(nodes):
    """A function: a SamplerCustomAdvanced run with FlowEdit's outputs."""

    def run(
        demo: Tiny,
        latent,
        target=TARGET,
        source=SOURCE,
        steps=6,
        strength=0.66,
        cfgs=(1.0, 1.0),
        mask=None,
        seed=1,
        model=None,
        guider=None,
        **more,
    ):
        import comfy.samplers

        model = model or demo.known
        with torch.inference_mode():
            made = nodes["GSNFlowEdit"].EXECUTE_NORMALIZED(
                model, demo.encode(source), demo.encode(target), demo.encode(""), *cfgs, **more
            )
            ours, sampler = made.args
            total = int(steps / strength)
            sampling = model.get_model_object("model_sampling")
            sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", total)[-(steps + 1) :]
            zero = torch.zeros_like(latent)
            return (guider or ours).sample(
                zero, latent, sampler, sigmas, denoise_mask=mask, disable_pbar=True, seed=seed
            )

    return run


@pytest.fixture(scope="module")
def rf_inversion(nodes):
    """A function: a SamplerCustomAdvanced run with RF-Inversion's outputs."""

    def run(demo: Tiny, latent, target=TARGET, steps=6, mask=None, seed=1, model=None, source="", **more):
        import comfy.samplers

        model = model or demo.known
        with torch.inference_mode():
            prompts = demo.encode(source), demo.encode(target), demo.encode("")
            made = nodes["GSNRFInversion"].EXECUTE_NORMALIZED(model, *prompts, **more)
            guider, sampler = made.args
            sampling = model.get_model_object("model_sampling")
            sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps)
            zero = torch.zeros_like(latent)
            return guider.sample(
                zero, latent, sampler, sigmas, denoise_mask=mask, disable_pbar=True, seed=seed
            )

    return run


@pytest.fixture(scope="module")
def diff_mask(nodes):
    """A function: what DiffEdit Mask gives."""

    def run(demo: Tiny, latent, target=TARGET, source=SOURCE, seed=0, model=None, **more):
        with torch.inference_mode():
            given = latent if isinstance(latent, dict) else {"samples": latent}
            prompts = demo.encode(source), demo.encode(target)
            node = nodes["GSNDiffEditMask"]
            return node.EXECUTE_NORMALIZED(model or demo.known, *prompts, given, seed, **more).args

    return run


@KINDS
def test_equal_prompts_give_the_image_back_bit_for_bit(models, flow_edit, kind):
    picture = image(2, 16, 24)
    assert torch.equal(flow_edit(models[kind], picture, SOURCE, cfgs=(3.0, 3.0)), picture)


@KINDS
def test_the_edit_goes_where_the_target_is_and_by_how_much_its_cfg_says(models, flow_edit, kind):
    """The known field draws pictures towards the mean of their prompt, which is a number of the text."""
    demo, picture = models[kind], image()
    means = {text: demo.encode(text)[0][0].std((1, 2)).sin().item() for text in (SOURCE, TARGET, BLACK)}
    for target in (TARGET, BLACK):
        runs = [flow_edit(demo, picture, target, cfgs=(1.0, cfg)) for cfg in (1.0, 3.0)]
        moved = [(out - picture).mean().item() for out in runs]
        assert moved[0] * (means[target] - means[SOURCE]) > 0 and abs(moved[1] - moved[0]) > 1e-4


@KINDS
def test_a_mask_keeps_the_rest_and_every_image_has_its_own_noise(models, flow_edit, kind):
    demo, pair = models[kind], image(1).repeat(2, 1, 1, 1)
    mask = torch.zeros(1, 16, 16)
    mask[:, :8] = 1
    out = flow_edit(demo, pair, mask=mask)
    assert torch.equal(out[:, :, 9:], pair[:, :, 9:]) and apart(out[:, :, :7], pair[:, :, :7]) > 1e-4
    real = flow_edit(demo, pair, model=demo.model, steps=2)
    assert apart(real[0], real[1]) > 1e-4
    assert torch.equal(real, flow_edit(demo, pair, model=demo.model, steps=2))
    assert apart(real, flow_edit(demo, pair, model=demo.model, steps=2, seed=2)) > 1e-4


@KINDS
def test_plain_steps_and_averages_act_and_end_at_a_clean_image(models, flow_edit, kind):
    demo, picture = models[kind], image()
    mask = torch.zeros(1, 16, 16)
    mask[:, :8] = 1
    out = flow_edit(demo, picture, plain_steps=2, mask=mask)
    assert apart(out[:, :, 9:], picture[:, :, 9:]) < 1e-5 and out.isfinite().all()
    whole = flow_edit(demo, picture, plain_steps=100)
    assert apart(whole, picture) < 10 and apart(whole, flow_edit(demo, picture)) > 1e-3
    assert apart(flow_edit(demo, picture, model=demo.model, steps=2, averages=2), picture) > 1e-4


def test_flow_edit_refuses_what_cannot_work(models, flow_edit, nodes):
    import comfy.samplers

    demo, node = models["eps"], nodes["GSNFlowEdit"]
    with pytest.raises(ValueError, match="connect VAE Encode"):
        flow_edit(demo, torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match="has 16 channels, and this model works on 4: encode the image"):
        flow_edit(demo, torch.ones(1, 16, 16, 16))
    stock = comfy.samplers.CFGGuider(demo.known)
    stock.set_conds(demo.encode(SOURCE), demo.encode(""))
    with pytest.raises(ValueError, match="the GUIDER of the same FlowEdit node"):
        flow_edit(demo, image(), guider=stock)
    with pytest.raises(ValueError, match=r"target_cfg is 13\.5, and guidance needs a negative prompt"):
        node.EXECUTE_NORMALIZED(demo.model, demo.encode(SOURCE), demo.encode(TARGET), source_cfg=1.0)


def test_rf_inversion_keeps_the_image_by_eta_and_by_how_long_it_acts(models, rf_inversion):
    demo, picture = models["flow"], image(2, 16, 24)
    assert apart(rf_inversion(demo, picture, eta=1.0, stop=1.0), picture) < 1e-5
    ways = ({"eta": 0.95, "stop": 0.9}, {"eta": 0.95, "stop": 0.5}, {"eta": 0.5, "stop": 0.5}, {"eta": 0.0})
    errors = [apart(rf_inversion(demo, picture, **way), picture) for way in ways]
    assert errors == sorted(errors) and errors[0] < 0.5 * errors[-1]
    late = apart(rf_inversion(demo, picture, eta=0.95, start=0.5, stop=0.9), picture)
    falling = apart(rf_inversion(demo, picture, eta=0.95, stop=0.9, decay=2.0), picture)
    assert late > errors[0] < falling


def test_rf_inversion_without_pulls_is_plain_inversion(models, nodes, rf_inversion):
    """gamma and eta 0 under one prompt: Euler up and down."""
    import comfy.samplers

    demo, picture = models["flow"], image()
    out = rf_inversion(demo, picture, SOURCE, source=SOURCE, gamma=0.0, eta=0.0)
    sigmas = comfy.samplers.calculate_sigmas(demo.known.get_model_object("model_sampling"), "normal", 6)
    x = picture
    (sampler,) = nodes["GSNInversionSampler"].EXECUTE_NORMALIZED("euler").args
    guider = comfy.samplers.CFGGuider(demo.known)
    guider.inner_set_conds({"positive": demo.encode(SOURCE)})
    for levels in (sigmas.flip(0), sigmas):
        x = guider.sample(torch.zeros_like(x), x, sampler, levels, disable_pbar=True, seed=0)
    assert apart(out, x) < 1e-4 < apart(out, picture)


def test_a_mask_of_rf_inversion_keeps_the_rest_and_each_image_has_its_noise(models, rf_inversion):
    demo, pair = models["flow"], image(1).repeat(2, 1, 1, 1)
    mask = torch.zeros(1, 16, 16)
    mask[:, :8] = 1
    out = rf_inversion(demo, pair, mask=mask, eta=0.3)
    assert apart(out[:, :, 9:], pair[:, :, 9:]) < 1e-5 < apart(out[:, :, :7], pair[:, :, :7])
    run = {"model": demo.model, "steps": 2, "target_cfg": 3.0}
    real = rf_inversion(demo, pair, **run)
    assert apart(real[0], real[1]) > 1e-4
    assert torch.equal(real, rf_inversion(demo, pair, **run))
    assert apart(real, rf_inversion(demo, pair, seed=2, **run)) > 1e-4
    odd = image(1, 17, 13)
    assert rf_inversion(demo, odd).shape == odd.shape


def test_rf_inversion_refuses_what_cannot_work(models, nodes, rf_inversion):
    import comfy.samplers

    with pytest.raises(ValueError, match="this model predicts noise: use Invert Image or FlowEdit"):
        rf_inversion(models["eps"], image())
    demo = models["flow"]
    with pytest.raises(ValueError, match="RF-Inversion edits an image, and its latent is empty"):
        rf_inversion(demo, torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match="has 16 channels, and this model works on 4: encode the image"):
        rf_inversion(demo, torch.ones(1, 16, 16, 16))
    prompts = demo.encode(""), demo.encode(TARGET)
    with pytest.raises(ValueError, match="target_cfg is 4, and guidance needs a negative prompt"):
        nodes["GSNRFInversion"].EXECUTE_NORMALIZED(demo.model, *prompts, target_cfg=4.0)
    _, sampler = nodes["GSNRFInversion"].EXECUTE_NORMALIZED(demo.model, *prompts).args
    stock = comfy.samplers.CFGGuider(demo.known)
    stock.set_conds(demo.encode(SOURCE), demo.encode(""))
    with pytest.raises(ValueError, match="the GUIDER of the same RF-Inversion node"):
        stock.sample(torch.zeros(1, 4, 16, 16), image(), sampler, torch.tensor([1.0, 0.0]), disable_pbar=True)


def test_the_guider_of_flow_edit_is_a_cfg_guider_of_the_target(models, nodes):
    import comfy.samplers

    demo = models["eps"]
    prompts = [demo.encode(text) for text in (SOURCE, TARGET, "")]
    with torch.inference_mode():
        guider, _ = nodes["GSNFlowEdit"].EXECUTE_NORMALIZED(demo.known, *prompts, 2.0, 5.0).args
        noise, empty = torch.randn(1, 4, 16, 16), torch.zeros(1, 4, 16, 16)
        run = (noise, empty, comfy.samplers.sampler_object("euler"), demo.sigmas(steps=3))
        ours = guider.sample(*run, disable_pbar=True, seed=1)
        theirs = comfy.samplers.CFGGuider(demo.known)
        theirs.set_conds(*prompts[1:])
        theirs.set_cfg(5.0)
        assert torch.equal(ours, theirs.sample(*run, disable_pbar=True, seed=1))


def test_the_mask_is_where_the_object_is_on_the_network(models, diff_mask):
    demo, some = models["eps"], pictures(1)
    (colour, shape), other = some.scenes.objects(0)
    new = "green" if colour != "green" else "red"
    target = f"a {new} {shape} and a {other[0]} {other[1]}"
    mask, shown, text = diff_mask(demo, some.latents, target, some.texts[0], model=demo.model, copies=3)
    assert mask.shape == (1, 256, 256) and shown.shape == (1, 256, 256, 3)
    assert set(mask.unique().tolist()) == {0, 1}
    small = mask[0, ::8, ::8].numpy() > 0.5
    place, ground = some.masks[0, 0] > 0.5, some.masks[0].max(0) == 0
    assert small[place].mean() > 0.5 > small[ground].mean()
    assert text == f"the mask covers {100 * small.mean():.0f} % of the image"


@KINDS
def test_equal_prompts_have_no_mask_and_a_batch_has_one_for_each(models, diff_mask, kind):
    demo = models[kind]
    mask, _, text = diff_mask(demo, image(2, 16, 24), SOURCE)
    assert mask.shape == (2, 128, 192) and not mask.any() and "write another target" in text
    pair = image(2, 17, 13)
    both = diff_mask(demo, pair, copies=2, model=demo.model)[0]
    alone = diff_mask(demo, pair[:1], copies=2, model=demo.model)[0]
    assert both.shape == (2, 136, 104) and (both[:1] != alone).float().mean() < 0.02
    assert (both[0] != both[1]).any()
    assert not torch.equal(alone, diff_mask(demo, pair[:1], seed=5, copies=2, model=demo.model)[0])


def test_settings_of_the_mask_act(models, diff_mask):
    demo = models["eps"]
    run = {"copies": 2, "model": demo.model}
    usual = diff_mask(demo, image(), **run)[0].mean()
    assert diff_mask(demo, image(), threshold=0.2, **run)[0].mean() > usual
    assert "That is most of the image" in diff_mask(demo, image(), threshold=0.0, **run)[2]
    for strict in ({"threshold": 1.0}, {"clip": 100.0}):
        mask, _, text = diff_mask(demo, image(), **strict, **run)
        assert not mask.any() and "lower threshold, or clip" in text
    picture = torch.rand(1, 40, 40, 4)  # with alpha
    shown = diff_mask(demo, {"samples": image()}, image=picture, **run)[1]
    assert shown.shape == (1, 40, 40, 3)
    with pytest.raises(ValueError, match="connect VAE Encode"):
        diff_mask(demo, torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="encode the image with this model's VAE"):
        diff_mask(demo, torch.ones(1, 16, 8, 8))


def test_all_are_clean_afterwards_and_after_a_cancel(models, flow_edit, rf_inversion, diff_mask):
    import comfy.model_management as mm

    demo = models["eps"]
    before = state_of(demo.model)
    flow_edit(demo, image(), model=demo.model, steps=1)
    diff_mask(demo, image(), model=demo.model, copies=1)
    assert state_of(demo.model) == before
    for run, kind in ((flow_edit, "eps"), (diff_mask, "eps"), (rf_inversion, "flow")):
        demo = models[kind]
        before, known = state_of(demo.model), denoiser(kind == "flow")
        model, calls = demo.model.clone(), []

        def cancels(apply, args, calls=calls, known=known):
            calls.append(1)
            if len(calls) == 3:
                mm.interrupt_current_processing()
            return known(apply, args)

        model.set_model_unet_function_wrapper(cancels)
        with pytest.raises(mm.InterruptProcessingException):
            run(demo, image(), model=model)
        assert len(calls) == 3 and state_of(demo.model) == before


def test_nursing_and_weights_on_the_model_do_not_act(models, flow_edit, diff_mask):
    demo = models["eps"]
    nursed, book = demo.attach(step=1)
    assert torch.equal(
        flow_edit(demo, image(), model=nursed, steps=1), flow_edit(demo, image(), model=demo.model, steps=1)
    )
    masks = [diff_mask(demo, image(), model=model, copies=1)[0] for model in (nursed, demo.model)]
    assert torch.equal(*masks) and len(book) == 0


def test_the_drawn_circle_becomes_another_shape_and_the_rest_stays(models, nodes, diff_mask):
    """DiffEdit as a whole, by the nodes of its template."""
    import comfy.samplers

    demo, some = models["eps"], pictures(1)
    (_, shape), other = some.scenes.objects(0)
    target = f"a black {'cross' if shape != 'cross' else 'heart'} and a {other[0]} {other[1]}"
    given = {"samples": some.latents}
    mask = diff_mask(demo, some.latents, target, some.texts[0], model=demo.model, copies=3)[0]
    with torch.inference_mode():
        there = nodes["GSNInvert"].EXECUTE_NORMALIZED(
            demo.model, demo.encode(some.texts[0]), given, 6, "normal", denoise=0.8, check=False
        )
        noise, _, sigmas, trajectory, _ = there.args
        (sampler,) = nodes["GSNInversionSampler"].EXECUTE_NORMALIZED(trajectory=trajectory, mask=mask).args
        guider = comfy.samplers.CFGGuider(demo.model)
        guider.set_conds(demo.encode(target), demo.encode(""))
        guider.set_cfg(7.5)
        run = (noise.generate_noise(given), some.latents, sampler, sigmas)
        out = guider.sample(*run, disable_pbar=True, seed=0)
    outside = mask[0, ::8, ::8] == 0
    assert (out - some.latents).abs().amax((0, 1))[outside].max() < 1e-5
    assert (out - some.latents).abs().amax((0, 1))[~outside].max() > 0.3
    assert (other[0], other[1]) in {(f.colour, f.shape) for f in detect(images_of(out)[0])}
