"""Invert Image and Inversion Sampler: exact on both kinds of models, and refused with the cure."""

import pytest
import torch

from tools.study.inversion import pictures

from ..support.demo_model import Tiny
from ..support.model_state import state_of

SOURCE, TARGET = "a red circle and a blue square", "a green star and a blue square"
METHODS = ("euler", "midpoint", "fireflow")


class TinyFlow(Tiny):
    """The demo model of the flow kind."""

    def load(self):
        with torch.inference_mode():
            return self.module("gsn_ops.host.demo.sd3").load_demo_sd3()


def denoiser(flow: bool):
    """The best prediction for pictures of N(m, 0.8^2), m by the prompt: a field that is known and smooth."""

    def predict(apply, args: dict):
        x, sigma = args["input"], args["timestep"][:, None, None, None]
        mean = args["c"]["c_crossattn"].std((1, 2)).sin()[:, None, None, None].to(x.device)
        kept = 1 - sigma if flow else torch.ones_like(sigma)
        return mean + kept * 0.64 * (x - kept * mean) / (0.64 * kept**2 + sigma**2)

    return predict


@pytest.fixture(scope="module")
def models(tiny, host, pack_module):
    """The demo models; `known` of each has `denoiser` in place of its network."""
    found = {"eps": tiny, "flow": TinyFlow(host, pack_module)}
    for kind, demo in found.items():
        demo.known = demo.model.clone()
        demo.known.set_model_unet_function_wrapper(denoiser(kind == "flow"))
    return found


KINDS = pytest.mark.parametrize("kind", ("eps", "flow"))


@pytest.fixture(scope="module")
def nodes(pack):
    return {node.GET_SCHEMA().node_id: node for node in pack.NODES}


@pytest.fixture(scope="module")
def invert(nodes):
    """A function: what Invert Image gives."""

    def run(demo, latent, prompt=SOURCE, steps=6, scheduler="normal", model=None, **more):
        with torch.inference_mode():
            given = latent if isinstance(latent, dict) else {"samples": latent}
            return (
                nodes["GSNInvert"]
                .EXECUTE_NORMALIZED(model or demo.known, demo.encode(prompt), given, steps, scheduler, **more)
                .args
            )

    return run


@pytest.fixture(scope="module")
def sampler(nodes):
    """A function: the SAMPLER of Inversion Sampler."""
    return lambda **more: nodes["GSNInversionSampler"].EXECUTE_NORMALIZED(**more).args[0]


def image(batch=1, height=16, width=16, seed=1):
    """Something like an image: smooth, of a latent's size."""
    rough = torch.randn(batch, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(rough, (height, width), mode="bilinear")


def back(demo, noise, latent, sampler, sigmas, prompt=SOURCE, cfg=1.0, model=None, **more):
    """A SamplerCustom run: with Invert Image's NOISE, or without noise for None."""
    with torch.inference_mode():
        given = torch.zeros_like(latent) if noise is None else noise.generate_noise({"samples": latent})
    positive, negative = demo.encode(prompt), demo.encode("")
    run = {"cfg": cfg, "positive": positive, "negative": negative, "latent": latent, "noise": given}
    return demo.sample_with(sampler, sigmas, model or demo.known, **run, **more)


def apart(a, b):
    return (a - b).abs().max().item()


@KINDS
@pytest.mark.parametrize("method", METHODS)
def test_the_picture_comes_back_from_every_form_of_its_noise(models, invert, sampler, kind, method):
    demo, picture = models[kind], image()
    noise, latent, sigmas, trajectory, text = invert(demo, picture, method=method)
    same = sampler(method=method)
    found = [
        back(demo, noise, picture, same, sigmas),
        back(demo, noise, torch.zeros_like(picture), same, sigmas),
        back(demo, None, latent["samples"], same, sigmas),
    ]
    assert apart(found[0], found[1]) < 1e-3 and apart(found[0], found[2]) < 1e-3
    error = (found[0] - picture).square().mean().sqrt().item()
    decibels = 20 * torch.log10((picture.max() - picture.min()) / error).item()
    assert f"there and back: {decibels:.1f} dB" in text
    assert method != "euler" or "euler, 6 evaluations" in text
    assert trajectory.sigmas == tuple(sigmas.flip(0).tolist())


def lost(text):
    """dB in the line on the node."""
    return float(text.split(": ")[1].split(" dB")[0])


@KINDS
def test_fireflow_loses_less_than_euler_at_its_price(models, invert, kind):
    texts = {m: invert(models[kind], image(), method=m, steps=12)[4] for m in METHODS}
    assert lost(texts["fireflow"]) > lost(texts["euler"]) + 6 < lost(texts["midpoint"])
    assert "fireflow, 13 evaluations" in texts["fireflow"] and "midpoint, 24" in texts["midpoint"]


def test_a_drawn_picture_comes_back_from_the_network(models, invert):
    picture = pictures(1).latents
    texts = {m: invert(models["eps"], picture, model=models["eps"].model, method=m)[4] for m in METHODS[::2]}
    assert lost(texts["fireflow"]) > lost(texts["euler"])
    assert "That is another image: use more steps" in texts["euler"]


@pytest.mark.parametrize("prediction", ("V_PREDICTION", "EDM", "EPS"))
def test_every_prediction_type_goes_there_and_back(models, invert, prediction):
    import comfy.model_sampling as kinds

    class Sampling(kinds.ModelSamplingDiscrete, getattr(kinds, prediction)):
        pass

    demo = models["eps"]
    model = demo.known.clone()
    model.add_object_patch("model_sampling", Sampling(model.model.model_config))
    assert lost(invert(demo, image(), steps=20, model=model)[4]) > 40


def test_a_batch_is_inverted_as_each_alone_and_sizes_and_masks_are_kept(models, invert):
    demo, pair = models["eps"], image(2, 16, 24)
    mask = torch.ones(1, 16, 24)
    _, latent, _, trajectory, _ = invert(demo, {"samples": pair, "noise_mask": mask, "batch_index": [3, 4]})
    assert trajectory.states.shape == (7, 2, 4, 16, 24) and torch.equal(latent["noise_mask"], mask)
    assert latent["batch_index"] == [3, 4]
    for k in (0, 1):
        alone = invert(demo, pair[k : k + 1], check=False)[3]
        assert apart(alone.noise, trajectory.noise[k : k + 1]) < 2e-3
    odd = invert(demo, image(1, 17, 13), check=False)[3]
    assert odd.noise.shape == (1, 4, 17, 13)


@KINDS
def test_a_part_of_the_schedule_ends_lower_and_continues_with_any_sampler(models, invert, sampler, kind):
    demo, picture = models[kind], image()
    noise, latent, sigmas, trajectory, _ = invert(demo, picture, steps=24, denoise=0.5)
    assert len(sigmas) == 25 and sigmas[0] < invert(demo, picture, check=False)[2][0]
    ours = back(demo, noise, picture, sampler(), sigmas)
    assert apart(ours, picture) < 0.05
    import comfy.samplers

    stock = comfy.samplers.sampler_object("euler")
    assert apart(back(demo, noise, picture, stock, sigmas), picture) < 0.2
    assert apart(back(demo, None, latent["samples"], stock, sigmas), picture) < 0.2


@KINDS
def test_flipped_sigmas_make_noise_in_samplercustom(models, invert, sampler, kind):
    demo, picture = models[kind], image()
    _, latent, sigmas, _, _ = invert(demo, picture)
    flipped = sigmas.flip(0)
    flipped[0] = 1e-4  # as FlipSigmas does
    found = back(demo, None, picture, sampler(), flipped)
    assert apart(found, latent["samples"]) < 1e-4 * latent["samples"].abs().max()


def test_outside_a_mask_the_picture_keeps_its_bits(models, invert, sampler):
    demo, picture = models["eps"], image()
    noise, _, sigmas, trajectory, _ = invert(demo, picture)
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:12, 4:12] = 1
    masked = sampler(trajectory=trajectory, mask=mask)
    out = back(demo, noise, picture, masked, sigmas, TARGET, cfg=5.0)
    changed = (out - picture).abs().amax((0, 1))
    assert changed[mask[0] == 0].max() < 1e-6 and changed[5:11, 5:11].min() > 0
    other = back(demo, noise, picture, masked, demo.sigmas(steps=5), TARGET, cfg=5.0)
    assert (other - picture).abs().amax((0, 1))[mask[0] == 0].max() < 1e-6
    with pytest.raises(ValueError, match="invert the image that is sampled"):
        back(demo, None, image(2), masked, sigmas)


def test_nursing_acts_on_the_way_back_and_not_on_the_way_there(models, invert, sampler):
    demo, picture = models["eps"], image()
    model, book = demo.attach(step=2)
    noise, _, sigmas, trajectory, _ = invert(demo, picture, steps=3, model=model)
    assert len(book) == 0
    assert torch.equal(trajectory.noise, invert(demo, picture, steps=3, model=demo.model)[3].noise)
    nursed = back(demo, noise, picture, sampler(), sigmas, model=model)
    plain = back(demo, noise, picture, sampler(), sigmas, model=demo.model)
    assert apart(nursed, plain) > 1e-4 and book.find(nursed).recipes[0].step == 2


def test_the_model_is_clean_afterwards_and_after_a_cancel(models, invert, monkeypatch):
    import comfy.model_management as mm

    demo = models["eps"]
    before = state_of(demo.model)
    invert(demo, image())
    assert state_of(demo.model) == before
    model, calls = demo.model.clone(), []

    def cancels(apply, args):
        calls.append(1)
        if len(calls) == 3:
            mm.interrupt_current_processing()
        return apply(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(cancels)
    with pytest.raises(mm.InterruptProcessingException):
        invert(demo, image(), model=model)
    assert len(calls) == 3 and state_of(demo.model) == before


def test_what_cannot_be_inverted_is_refused_with_the_cure(models, invert, sampler, pack_module):
    import comfy.model_sampling as kinds
    import comfy.nested_tensor

    demo = models["eps"]
    for latent, cure in (
        (torch.zeros(1, 4, 16, 16), "connect VAE Encode"),
        (torch.ones(1, 16, 16, 16), "encode the image with this model's VAE"),
        (image() * float("nan"), "--fp32-vae"),
        (comfy.nested_tensor.NestedTensor([image(), image()]), "Connect one of images"),
    ):
        with pytest.raises(ValueError, match=cure):
            invert(demo, latent)
    with pytest.raises(ValueError, match="choose one of fireflow, midpoint, euler"):
        invert(demo, image(), method="heun")
    with pytest.raises(ValueError, match="connect both, or neither"):
        sampler(mask=torch.ones(1, 8, 8))
    with pytest.raises(ValueError, match="its size and batch"):
        invert(demo, image(), check=False)[0].generate_noise({"samples": image(2)})

    class Upscaler(kinds.ModelSamplingDiscrete, kinds.IMG_TO_IMG):
        pass

    model = demo.model.clone()
    model.add_object_patch("model_sampling", Upscaler(model.model.model_config))
    with pytest.raises(ValueError, match="use another model"):
        invert(demo, image(), model=model)
