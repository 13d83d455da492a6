"""What every editing node must take, and what it must refuse before the model is called."""

import pytest
import torch

from ..support.model_state import state_of
from .test_inversion import SOURCE, TARGET, apart, back, image
from .test_inversion import invert as invert
from .test_inversion import models as models
from .test_inversion import nodes as nodes
from .test_inversion import sampler as sampler
from .test_picture_guidance import patch as patch
from .test_picture_guidance import sample
from .test_two_prompt_edits import diff_mask as diff_mask
from .test_two_prompt_edits import flow_edit as flow_edit
from .test_two_prompt_edits import rf_inversion as rf_inversion


def never(model):
    """The model, which must not be called."""
    found = model.clone()

    def called(apply, args):
        raise AssertionError("the model was called")

    found.set_model_unet_function_wrapper(called)
    return found


@pytest.fixture(scope="module")
def edits(models, invert, diff_mask, flow_edit, rf_inversion):
    """Node -> (what runs it on a latent, the demo model it is for)."""
    found = {"Invert": invert, "DiffEditMask": diff_mask, "FlowEdit": flow_edit, "RFInversion": rf_inversion}
    return {name: (run, models["flow" if name == "RFInversion" else "eps"]) for name, run in found.items()}


NODES = pytest.mark.parametrize("name", ("Invert", "DiffEditMask", "FlowEdit", "RFInversion"))


@NODES
def test_nan_is_refused_before_the_first_call(edits, name):
    run, demo = edits[name]
    with pytest.raises(ValueError, match="the latent contains NaN or infinite values.*try --fp32-vae"):
        run(demo, image() * float("nan"), model=never(demo.model))


@pytest.mark.parametrize("name", ("FlowEdit", "RFInversion"))
def test_a_latent_of_several_parts_is_refused(models, nodes, name):
    import comfy.nested_tensor

    demo = models["flow"]
    prompts = [demo.encode(text) for text in (SOURCE, TARGET, "")]
    guider, by = nodes[f"GSN{name}"].EXECUTE_NORMALIZED(never(demo.model), *prompts).args
    parts = comfy.nested_tensor.NestedTensor([image(), image()])
    node = {"FlowEdit": "FlowEdit", "RFInversion": "RF-Inversion"}[name]
    with pytest.raises(ValueError, match=f"{node}: this latent has several parts"):
        guider.sample(parts, parts, by, torch.tensor([1.0, 0.0]), disable_pbar=True, seed=1)


def null_text(
    demo, nodes, states, sigmas=(0.0, 1.0), model=None, prompt="", iterations=1, module=None, kind=None
):
    """What Null-Text Inversion gives for a trajectory of these states."""
    parts = (demo.model.get_model_object(part) for part in ("latent_format", "model_sampling"))
    made_by = module("gsn_ops.host.editing.noise_levels").noise_kind(*parts) if kind is None else kind
    way = module("gsn_ops.editing.trajectory").Trajectory(tuple(sigmas), states, made_by)
    given = demo.encode(SOURCE), prompt if isinstance(prompt, list) else demo.encode(prompt), way
    with torch.inference_mode():
        return (
            nodes["GSNNullText"].EXECUTE_NORMALIZED(model or never(demo.model), *given, 5.0, iterations).args
        )


@pytest.mark.parametrize("name", ("DiffEditMask", "FlowEdit", "RFInversion", "InversionSampler", "NullText"))
def test_another_kind_of_model_is_refused_before_the_first_call(
    models, nodes, edits, sampler, pack_module, name
):
    import comfy.model_sampling as kinds

    class Upscaler(kinds.ModelSamplingDiscrete, kinds.IMG_TO_IMG):
        pass

    demo = models["eps"]
    model = never(demo.model)
    model.add_object_patch("model_sampling", Upscaler(model.model.model_config))
    told = "this model predicts noise" if name == "RFInversion" else "no way back to noise: use another model"
    with pytest.raises(ValueError, match=told):
        if name == "NullText":
            null_text(demo, nodes, torch.ones(2, 1, 4, 8, 8), model=model, module=pack_module)
        elif name == "InversionSampler":
            back(demo, None, image(), sampler(), torch.tensor([1.0, 0.0]), model=model)
        else:
            edits[name][0](demo, image(), model=model)


@pytest.mark.parametrize(
    ("made_by", "channels", "level"), [("Flux, noise mixed in", 16, 1.0), (None, 4, 14.6)]
)
def test_null_text_refuses_the_trajectory_of_another_model(
    models, nodes, pack_module, made_by, channels, level
):
    states = torch.ones(2, 1, channels, 8, 8)
    with pytest.raises(ValueError, match="by another kind of model. Connect this model to Invert Image too"):
        null_text(models["flow"], nodes, states, (0.0, level), module=pack_module, kind=made_by)


def test_null_text_refuses_texts_of_other_pictures(models, nodes, pack_module):
    demo = models["eps"]
    (rows, options), *_ = demo.encode("")
    with pytest.raises(ValueError, match="has 3 parts: connect a single text node"):
        states = torch.ones(2, 2, 4, 8, 8)
        null_text(demo, nodes, states, prompt=[[rows.repeat(3, 1, 1), options]], module=pack_module)


@pytest.mark.parametrize("kind", ("eps", "flow"))
def test_null_text_takes_odd_sizes_and_a_part_of_the_schedule_and_announces_its_memory(
    models, nodes, invert, pack_module, monkeypatch, kind
):
    demo, asked = models[kind], []
    policy = pack_module("gsn_ops.host.sampling.patch")
    known = policy.reported_batch_size

    def reported(model, shape, room):
        asked.append(tuple(shape))
        return known(model, shape, room)

    monkeypatch.setattr(policy, "reported_batch_size", reported)
    odd = image(1, 11, 14)
    way = invert(demo, odd, steps=2, denoise=0.5, check=False, model=demo.model)[3]
    negative, text = null_text(demo, nodes, way.states, way.sigmas, demo.model, module=pack_module)
    assert len(negative) == 2 and "2 embeddings, 2 updates" in text
    assert asked == [tuple(odd.shape)]


@pytest.mark.parametrize("name", ("FlowEdit", "RFInversion", "InversionSampler"))
def test_each_picture_has_its_own_mask_whatever_its_sides(edits, invert, models, sampler, name):
    pair, masks = image(2, 17, 22), torch.zeros(2, 17, 22)
    masks[0, :, :8], masks[1, :, 14:] = 1, 1
    if name == "InversionSampler":
        demo = models["eps"]
        noise, _, sigmas, way, _ = invert(demo, pair, check=False)
        out = back(demo, noise, pair, sampler(trajectory=way, mask=masks), sigmas, TARGET, cfg=5.0)
    else:
        run, demo = edits[name]
        out = run(demo, pair, mask=masks)
    changed = (out - pair).abs().amax(1)
    for one, inside in zip(changed, masks, strict=True):
        assert one[inside == 0].max() < 1e-5 < one[inside == 1].max()


def test_rf_inversion_takes_a_part_of_the_schedule(models, nodes):
    demo, picture = models["flow"], image()
    guider, by = (
        nodes["GSNRFInversion"]
        .EXECUTE_NORMALIZED(demo.known, demo.encode(SOURCE), demo.encode(TARGET), eta=0.0, gamma=0.0)
        .args
    )
    sigmas, zero = demo.sigmas(steps=8), torch.zeros_like(picture)
    whole, part = (
        guider.sample(zero, picture, by, some, disable_pbar=True, seed=1) for some in (sigmas, sigmas[4:])
    )
    assert 1e-4 < apart(part, picture) < apart(whole, picture)


def test_guidance_by_a_judge_takes_odd_sizes_and_a_part_of_the_schedule(tiny, patch):
    odd, model = image(1, 11, 14), patch(tiny.model, scale=0.3, end_percent=1.0)
    runs = [sample(tiny, some, odd, 2, denoise=0.5) for some in (None, model)]
    assert runs[1].shape == odd.shape and runs[1].isfinite().all() and apart(*runs) > 1e-3


def test_guidance_by_a_judge_refuses_the_vae_of_another_model(tiny, patch, monkeypatch):
    monkeypatch.setattr(tiny.vae, "latent_channels", 16)
    with pytest.raises(ValueError, match="of 16 channels, and this model makes 4: connect the VAE of this"):
        patch(tiny.model, vae=tiny.vae)


def cancelled(model, at=2):
    """The model, and the calls of it; the queue is cancelled in one of them."""
    import comfy.model_management as mm

    found, calls = model.clone(), []

    def call(apply, args):
        calls.append(1)
        if len(calls) == at:
            mm.interrupt_current_processing()
        return apply(args["input"], args["timestep"], **args["c"])

    found.set_model_unet_function_wrapper(call)
    return found, calls


@pytest.mark.parametrize("name", ("InversionSampler", "PromptToPrompt"))
def test_a_cancelled_run_leaves_the_model_as_it_was(models, nodes, sampler, name):
    import comfy.model_management as mm

    demo = models["eps"]
    before = state_of(demo.model)
    model, calls = cancelled(demo.model)
    if name == "InversionSampler":
        run = [None, image(), sampler(), demo.sigmas(steps=4)]
        with pytest.raises(mm.InterruptProcessingException):
            back(demo, *run, model=model)
    else:
        with torch.inference_mode():
            pair = nodes["GSNPromptToPrompt"].EXECUTE_NORMALIZED(
                model, demo.encode(SOURCE), {"samples": image()}, target=demo.encode(TARGET)
            )
        model, positive, latents, _ = pair.args

        def cancels(step, x0, x, total):
            mm.interrupt_current_processing()

        with pytest.raises(mm.InterruptProcessingException):
            demo.sample(model, steps=3, positive=positive, latent=latents["samples"], callback=cancels)
    assert calls and state_of(demo.model) == before


def test_each_pair_has_the_embeddings_of_its_own_picture(tiny, nodes):
    """Null-Text Inversion of a batch, then Prompt-to-Prompt: rows of the negative prompt for each image."""
    pictures, negatives = image(2), [tiny.encode(text)[0] for text in ("", "a black heart")]
    both = [[torch.cat([rows for rows, _ in negatives]), negatives[0][1]]]

    def run(latent, negative):
        with torch.inference_mode():
            pair = nodes["GSNPromptToPrompt"].EXECUTE_NORMALIZED(
                tiny.model, tiny.encode(SOURCE), {"samples": latent}, target=tiny.encode(TARGET)
            )
        model, positive, latents, _ = pair.args
        how = {"positive": positive, "negative": negative, "noise": torch.zeros_like(latents["samples"])}
        return tiny.sample(model, steps=2, latent=latents["samples"], disable_noise=True, **how)

    found = run(pictures, both)
    for k, negative in enumerate(negatives):
        assert apart(found[2 * k : 2 * k + 2], run(pictures[k : k + 1], [list(negative)])) < 1e-3


def test_prompt_to_prompt_takes_odd_sides_and_refuses_latents_of_several_parts(tiny, nodes):
    import comfy.nested_tensor

    odd, node = image(1, 11, 14), nodes["GSNPromptToPrompt"]
    given = tiny.model, tiny.encode(SOURCE)
    with torch.inference_mode():
        pair = node.EXECUTE_NORMALIZED(
            *given, {"samples": odd}, target=tiny.encode(TARGET), local_blend="circle, star"
        )
    model, positive, latents, _ = pair.args
    noise, how = image(1, 11, 14, seed=2), {"steps": 2, "denoise": 0.5}
    pairs = {"latent": latents["samples"], "noise": noise.repeat(2, 1, 1, 1)}
    out = tiny.sample(model, positive=positive, **pairs, **how)
    alone = tiny.sample(positive=tiny.encode(SOURCE), latent=odd, noise=noise, **how)
    assert out.shape == (2, 4, 11, 14) and apart(out[:1], alone) < 1e-3 < apart(out[1:], alone)
    parts = {"samples": comfy.nested_tensor.NestedTensor([odd, odd])}
    with pytest.raises(ValueError, match="has several parts .image and sound, say.. Connect one of images"):
        node.EXECUTE_NORMALIZED(*given, parts, target=tiny.encode(TARGET))


def test_the_emptiest_place_is_found_in_pictures_with_alpha_and_odd_sides(nodes):
    masks = torch.zeros(4, 41, 37)
    masks[0, :, :15], masks[2:, :9, :9] = 1, 1
    found, text = nodes["GSNEmptyRegion"].EXECUTE_NORMALIZED(masks, torch.rand(2, 41, 37, 4)).args
    assert found.shape == (2, 41, 37) and text == "something is missing in 1 of 2 images"
    assert found[0, :, 15:].any() and not found[0, :, :15].any() and not found[1].any()
