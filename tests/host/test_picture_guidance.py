"""Guidance by a Judge: its loss falls, off is stock, and what cannot work is refused with the cure."""

import pytest
import torch

from ..support.model_state import state_of
from .test_clip_towers import clip as clip
from .test_clip_towers import vision
from .test_inversion import SOURCE, TinyFlow, apart, image

STEPS = 3
SHAPES = "shapes of the demo models"


@pytest.fixture(scope="module")
def patch(pack):
    """A function: the MODEL of Guidance by a Judge."""
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNPictureGuidance")

    def run(model, prompt=SOURCE, judge_by=SHAPES, **more):
        with torch.inference_mode():
            return node.EXECUTE_NORMALIZED(model, prompt, judge_by, **more).args[0]

    return run


@pytest.fixture(scope="module")
def measure(tiny, pack_module):
    """A function: the shapes' loss [B] of finished latents."""
    losses = pack_module("gsn_ops.judge.picture_loss")
    see = pack_module("gsn_ops.host.judge.predicted_picture").PreviewColours(tiny.model)
    wanted = losses.ShapesLoss((("red", "circle"), ("blue", "square")))
    inner = tiny.model.model
    return lambda latents: wanted(see(inner, inner.process_latent_in(latents)))


def sample(demo, model=None, latent=None, steps=STEPS, **more):
    return demo.sample(model, steps=steps, positive=demo.encode(SOURCE), latent=latent, **more)


def test_the_loss_falls(tiny, patch, measure):
    empty = torch.zeros(2, 4, 32, 32)
    plain, guided = (measure(sample(tiny, some, empty, 6)) for some in (None, patch(tiny.model)))
    assert guided.mean() < plain.mean() - 0.01


def test_a_vae_shows_what_it_decodes_and_guides(tiny, patch, pack_module):
    pictures, inner = pack_module("gsn_ops.host.judge.predicted_picture"), tiny.model.model
    see = pictures.DecodedByVAE(tiny.vae, tiny.model)
    plain = sample(tiny, steps=2)
    with torch.inference_mode():
        assert apart(see(inner, inner.process_latent_in(plain)), tiny.vae.decode(plain)) < 1e-4
    guided = sample(tiny, patch(tiny.model, vae=tiny.vae), steps=2)
    assert guided.isfinite().all() and apart(guided, plain) > 1e-3


def test_clip_guidance_lowers_its_loss_with_comfyuis_towers(tiny, patch, clip, pack_module):
    judge = pack_module("gsn_ops.host.judge.predicted_picture")
    with torch.inference_mode():
        see = vision()
        (text,) = pack_module("gsn_ops.host.judge.clip_towers").ClipTowers(see, clip).texts([SOURCE])
        model = patch(tiny.model, judge_by="CLIP", clip_vision=see, clip=clip, scale=0.2, end_percent=0.9)
        runs = [sample(tiny, some) for some in (None, model)]
        pictures = torch.rand(2, 300, 260, 3, generator=torch.Generator().manual_seed(1))
        ours, theirs = judge.ClipVision(see)(pictures), see.encode_image(pictures)["image_embeds"]
        assert apart(ours, theirs) < 0.01 * theirs.abs().max()
        colours, inner = judge.PreviewColours(tiny.model), tiny.model.model
        seen = [see.encode_image(colours(inner, inner.process_latent_in(z)))["image_embeds"] for z in runs]
    plain, guided = (torch.nn.functional.cosine_similarity(one, text[None]).item() for one in seen)
    assert guided > plain + 0.002


def test_flow_models_batches_and_other_sizes_are_guided(host, pack_module, patch):
    demo = TinyFlow(host, pack_module)
    empty = torch.zeros(2, 4, 10, 18)
    model = patch(demo.model, scale=0.2)
    both = sample(demo, model, empty, steps=2)
    assert apart(both, sample(demo, latent=empty, steps=2)) > 1e-3 and both.isfinite().all()
    assert apart(both[:1], sample(demo, model, empty[:1], steps=2)) < 1e-3


def test_off_is_stock_and_the_window_is_kept(tiny, patch):
    plain = sample(tiny)
    for off in ({"scale": 0.0}, {"start_percent": 0.5, "end_percent": 0.5}):
        model = patch(tiny.model, **off)
        assert model.wrappers == tiny.model.wrappers
        assert model.get_additional_models_with_key("gsn_picture") == []
    assert torch.equal(sample(tiny, model), plain)
    states = []
    model = patch(tiny.model, scale=0.3, start_percent=0.2, end_percent=0.9)
    for some in (None, model):
        sample(tiny, some, callback=lambda step, x0, x, total: states.append(x0.clone()))
    same = [torch.equal(a, b) for a, b in zip(states[:STEPS], states[STEPS:], strict=True)]
    assert same[0] and not same[-1]
    at_the_end = patch(tiny.model, scale=0.3, start_percent=0.97, end_percent=0.98)
    assert torch.equal(sample(tiny, at_the_end), plain)


def test_outside_a_mask_nothing_changes(tiny, patch):
    mask, picture = torch.zeros(1, 16, 16), image()
    mask[:, :8] = 1
    model = patch(tiny.model, scale=0.3, end_percent=1.0)
    plain, guided = (sample(tiny, some, picture, noise_mask=mask) for some in (None, model))
    assert apart(plain[:, :, 9:], guided[:, :, 9:]) < 1e-4 and apart(plain, guided) > 1e-2


def test_it_composes_with_nursing_and_does_not_act_in_inversion(tiny, patch, pack):
    nursed, book = tiny.attach(step=1)
    run = {"positive": tiny.encode(SOURCE), "steps": STEPS}
    guided = patch(nursed, scale=0.2)
    out = tiny.sample(guided, **run)
    assert len(book) == 1 and apart(out, tiny.sample(nursed, **run)) > 1e-3
    invert = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNInvert")
    made = [
        invert.EXECUTE_NORMALIZED(model, tiny.encode(SOURCE), {"samples": image()}, 2, "normal").args[1]
        for model in (tiny.model, patch(tiny.model))
    ]
    assert torch.equal(*(one["samples"] for one in made))


def test_steps_without_an_active_prompt_stay_as_they_are(tiny, patch):
    """Its timestep range leaves them out, so there is no gradient."""
    model = patch(tiny.model, scale=0.3, end_percent=1.0)
    ((rows, options),) = tiny.encode(SOURCE)
    late, states = [[rows, {**options, "start_percent": 0.9, "end_percent": 1.0}]], []
    for some in (None, model):
        run = {"steps": 4, "positive": late}
        tiny.sample(some, **run, callback=lambda step, x0, x, total: states.append(x0.clone()))
    same = [torch.equal(a, b) for a, b in zip(states[:4], states[4:], strict=True)]
    assert same == [True, True, True, False]


def test_two_guidances_on_one_model_both_act(tiny, patch):
    first, second = patch(tiny.model, scale=0.2), patch(tiny.model, "a green star", scale=0.2)
    both = patch(first, "a green star", vae=tiny.vae, scale=0.2)
    again = patch(both, "a green star", vae=tiny.vae, scale=0.2)
    assert len(again.get_additional_models_with_key("gsn_picture")) == 2
    runs = [sample(tiny, model) for model in (first, second, patch(first, "a green star", scale=0.2))]
    assert all(apart(a, b) > 1e-3 for a, b in ((runs[0], runs[1]), (runs[0], runs[2]), (runs[1], runs[2])))
    assert torch.equal(sample(tiny, patch(first, scale=0.0)), runs[0])


def test_the_model_is_clean_afterwards_and_after_a_cancel(tiny, patch):
    import comfy.model_management as mm

    before, grad = state_of(tiny.model), torch.is_grad_enabled()
    model = patch(tiny.model)
    own = state_of(model)
    sample(tiny, model)

    def cancels(step, x0, x, total):
        mm.interrupt_current_processing()

    with pytest.raises(mm.InterruptProcessingException):
        sample(tiny, model, callback=cancels)
    assert (state_of(tiny.model), torch.is_grad_enabled()) == (before, grad) and state_of(model) == own


def test_less_memory_gives_the_same_picture(tiny, patch, pack_module, monkeypatch):
    """Every block computed twice."""
    module = pack_module("gsn_ops.host.sampling.picture_guidance")
    policy = pack_module("gsn_ops.host.attention.memory_policy").CheckpointPolicy
    model = patch(tiny.model, scale=0.2)
    plenty = sample(tiny, model)
    monkeypatch.setattr(module, "CheckpointPolicy", lambda: policy(2))
    assert apart(plenty, sample(tiny, model)) < 1e-3


def test_what_cannot_work_is_refused_with_the_cure(tiny, patch, clip, monkeypatch):
    with pytest.raises(ValueError, match="Guidance by CLIP needs both towers of one CLIP: connect"):
        patch(tiny.model, judge_by="CLIP", clip=clip)
    for nothing in (" ", ",", "no red circle", "without a star"):
        with pytest.raises(ValueError, match="write it into prompt"):
            patch(tiny.model, nothing)
    with pytest.raises(ValueError, match="judge_by is 'me': choose one of CLIP, shapes"):
        patch(tiny.model, judge_by="me")
    with pytest.raises(ValueError, match="cannot guide to"):
        patch(tiny.model, "a cat")
    other = vision()
    other.model_type = "dinov2"
    with pytest.raises(ValueError, match="is of the kind dinov2"):
        patch(tiny.model, judge_by="CLIP", clip=clip, clip_vision=other)
    with pytest.raises(ValueError, match="those of CLIP Vision 16: load both from the same CLIP"):
        patch(tiny.model, judge_by="CLIP", clip=clip, clip_vision=vision(projection_dim=16))
    monkeypatch.setattr(tiny.vae, "latent_dim", 3)
    with pytest.raises(ValueError, match="is not one of images: leave vae empty"):
        patch(tiny.model, vae=tiny.vae)
    monkeypatch.setattr(type(tiny.model.get_model_object("latent_format")), "latent_rgb_factors", None)
    with pytest.raises(ValueError, match="no preview colours.*connect its VAE"):
        patch(tiny.model)
