"""LMD Sampler in ComfyUI: order and number of passes, rounds, what is off, what is refused, cancelling."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ..support import detectors
from ..support.demo_model import SAMPLERS, empty, recording
from ..support.lmd_jobs import STEPS, LMDJobs

FROZEN = 2  # half of 5 steps
A, B = (0.0, 0.0, 0.5, 0.5), (0.5, 0.4, 1.0, 0.9)
CIRCLE, SQUARE, STAR = "a red circle", "a blue square", "a green star"


@pytest.fixture(scope="module")
def lmd(tiny):
    return LMDJobs(tiny)


@pytest.fixture(scope="module")
def two(lmd):
    """Two boxes of one size: one batch."""
    return lmd.run((CIRCLE, A), (SQUARE, B))


def passes_of(seen):
    """(calls of the network with gradients, without) per sigma, in order, of one run."""
    runs, last = [], 0.0
    for sigma, x, grad in seen:
        if sigma > last:
            runs.append([])
        runs[-1].append((round(sigma, 4), len(x), grad))
        last = sigma
    return runs


def test_order_and_number_of_passes(tiny, lmd):
    """Energy before the pass of each step; boxes of one size in one run, the whole image last."""
    seen = []
    made = lmd.run((CIRCLE, A), (SQUARE, B), (STAR, (0.1, 0.5, 0.4, 0.8)), model=recording(tiny.model, seen))
    alone_2, alone_1, whole = passes_of(seen)
    levels = [round(float(s), 4) for s in tiny.sigmas(scheduler="ddim_uniform", steps=STEPS)[:-1]]
    assert [{b for _, b, _ in run} for run in (alone_2, alone_1, whole)] == [{2}, {1}, {1}]
    for run in (alone_2, alone_1, whole):
        plain = [sigma for sigma, _, grad in run if not grad]
        assert plain == levels  # one pass of the sampler per step, and none for the maps
        for n, sigma in enumerate(levels):
            here = [grad for s, _, grad in run if s == sigma]
            assert here == sorted(here, reverse=True)  # the updates, then the step
            most = 4 if n == 0 else 3
            assert sum(here) <= most and (n < 4 or not any(here))  # steps 0 to 29 of 50
        assert sum(grad for *_, grad in run) > 0
    assert made.passes == (sum(g for *_, g in seen),) * 2


def test_one_sampling_run_per_batch_and_one_more(two, lmd):
    assert two.latent["samples"].shape == (1, 4, 16, 16) and two.objects["samples"].shape == (2, 4, 16, 16)
    assert two.masks.shape == (2, 128, 128) and two.text.startswith("2 boxes, 2 runs; ")
    other = lmd.run((CIRCLE, A), (SQUARE, (0.5, 0.4, 0.9, 0.9)))
    assert other.text.startswith("2 boxes, 3 runs; ")


def test_a_box_begins_with_the_mixed_noise_of_its_seed(tiny, lmd, two):
    import comfy.sample

    background, own = (comfy.sample.prepare_noise(empty(), seed)[0] for seed in (1, 20))
    noise = two.round.runs[0].noise
    assert torch.allclose(noise[:, 8, 8], 0.99**0.5 * background[:, 8, 8] + 0.1 * own[:, 8, 8])
    assert torch.equal(noise[:, 0], background[:, 0])
    levels = tiny.sigmas(scheduler="ddim_uniform", steps=STEPS)
    share = levels[0] / (1 + levels[0] ** 2) ** 0.5  # z at the start: nearly the noise itself
    assert torch.allclose(two.round.runs[0].states[0].float(), noise * share, atol=5e-3)


def test_the_frozen_steps_hold_the_composition_and_the_rest_is_free(tiny, lmd):
    """With updates too small to see: what the network gets at each step of the overall run."""
    seen, objects = [], ((CIRCLE, A), (SQUARE, B))
    made = lmd.run(*objects, model=recording(tiny.model, seen), settings=lmd.settings(strength=1e-6))
    for run in passes_of(seen):  # the energy stays above 5: as many updates as there may be, then the step
        assert [int(grad) for *_, grad in run] == [1, 1, 1, 0, 1, 1, 0, 1, 0, 0, 0]
    alone = [(sigma, x[0]) for sigma, x, grad in seen if not grad and len(x) == 1]
    whole = [x / (1 + sigma**2) ** 0.5 for sigma, x in alone]  # as the network receives it
    sampling = lmd.sampler._LayoutSampling(lmd.job(*objects), print)
    held = lmd.sampler.Composition(sampling._moved(list(made.round.runs)), sampling.background[0])
    apart = [(z - held.at(n)).abs()[:, held.mask].max().item() for n, z in enumerate(whole)]
    assert len(whole) == STEPS
    assert max(apart[1 : FROZEN + 1]) < 0.01 < min(apart[FROZEN + 1 :]), apart
    assert (whole[1] - held.at(1))[:, ~held.mask].abs().max() > 0.1  # the background is never held


def test_updates_of_fifty_steps_are_the_published_ones(lmd):
    sampling = lmd.sampler._LayoutSampling(lmd.job((CIRCLE, A), steps=50), print)
    updates = sampling.recipe.active_steps(sampling.schedule).updates
    assert list(updates.values()) == [4] * 5 + [3] * 5 + [2] * 10 + [1] * 10 and list(updates) == list(
        range(30)
    )


def test_the_same_seed_gives_the_same_bits(lmd, two):
    again = lmd.run((CIRCLE, A), (SQUARE, B))
    assert torch.equal(again.latent["samples"], two.latent["samples"])
    assert all(torch.equal(a.states, b.states) for a, b in zip(again.round.runs, two.round.runs, strict=True))


def test_what_is_kept_is_what_was_announced(lmd):
    said = []
    made = lmd.run((CIRCLE, A), (SQUARE, B), said=said)
    expected = 0
    for run in made.round.runs:
        expected += run.states.numel() * 2 + sum(w.numel() * 2 for w in run.words.values())
        assert run.states.dtype == torch.float16 and run.states.device.type == "cpu"
        assert {level: w.shape[-2:] for level, w in run.words.items()} == {4: (4, 4), 8: (2, 2)} or run.words
        assert len({len(w) for w in run.words.values()}) == 1 and all(w.any() for w in run.words.values())
    assert made.round.kept_bytes == expected
    assert said == [f"{lmd.jobs.in_words(expected)} of latents and word maps are kept in memory"]


def test_too_little_memory_is_said_after_one_step(tiny, lmd, monkeypatch):
    import comfy.model_management

    def free(device=None, torch_free_too=False):
        return (2**40, 2**40) if torch_free_too else 1

    seen = []
    monkeypatch.setattr(comfy.model_management, "get_free_memory", free)
    with pytest.raises(ValueError, match="are free. Use fewer boxes, fewer steps or a smaller image"):
        lmd.run((CIRCLE, A), model=recording(tiny.model, seen))
    assert len({sigma for sigma, *_ in seen}) == 1


def test_unchanged_boxes_are_taken_from_the_last_round(tiny, lmd, two):
    """Moved, added, removed: what stays the same is not generated again, and keeps its bits and its seed."""
    seen = []
    moved = (CIRCLE, (0.4, 0.0, 0.9, 0.5))
    objects = (moved, (STAR, (0.0, 0.5, 0.3, 0.8)), (SQUARE, B))
    tiny_model = two_model(lmd, two)
    made = lmd.run(*objects, previous=two.round, model=tiny_model)
    first, star, third = made.round.runs
    assert first.states is two.round.runs[0].states and third.states is two.round.runs[1].states
    assert [run.number for run in made.round.runs] == [0, 2, 1] and star.states.any()
    assert "2 taken from the last round" in made.text and "3 boxes, 2 runs" in made.text
    fresh = lmd.run((SQUARE, B), previous=two.round, model=recording(tiny.model, seen))
    assert seen and "taken from" not in fresh.text  # another MODEL: nothing is taken over


def two_model(lmd, made):
    """The MODEL that a round was made with."""
    return made.round.made_with[0]()


def test_a_changed_box_changes_only_what_it_covers_before_the_overall_run(lmd, two):
    other = lmd.run((CIRCLE, A), (STAR, B), previous=two.round)
    compositions = []
    for made, objects in ((two, ((CIRCLE, A), (SQUARE, B))), (other, ((CIRCLE, A), (STAR, B)))):
        sampling = lmd.sampler._LayoutSampling(lmd.job(*objects), print)
        moved = sampling._moved(list(made.round.runs))
        compositions.append((lmd.sampler.Composition(moved, sampling.background[0]), moved[1].place))
    (one, before), (changed, after) = compositions
    for step in range(STEPS):
        differs = (one.at(step) != changed.at(step)).any(0)
        assert differs.any() and not (differs & ~(before | after)).any()


def test_strength_0_and_a_layout_without_boxes_are_stock(tiny, lmd):
    prompt = "a red circle and a blue square"
    plain = tiny.sample(
        positive=tiny.encode(prompt, plain=True), steps=STEPS, scheduler="ddim_uniform", seed=1
    )
    off = lmd.run((CIRCLE, A), (SQUARE, B), settings=lmd.settings(strength=0.0))
    assert torch.equal(off.latent["samples"], plain) and off.round is None
    assert torch.equal(lmd.run(prompt=prompt).latent["samples"], plain)
    remembering = lmd.run((CIRCLE, A), (SQUARE, B), sampler="dpmpp_2m", settings=lmd.settings(strength=0.0))
    assert remembering.text.startswith("Off")


def test_everything_is_clean_after_a_run_and_after_a_cancel(tiny, lmd, two):
    import comfy.model_management

    before = dict(tiny.model.model_options["transformer_options"]), dict(tiny.model.wrappers)
    calls = []

    def cancel(apply, args):
        calls.append(torch.is_grad_enabled())
        if len(calls) == 4:
            raise comfy.model_management.InterruptProcessingException
        return apply(args["input"], args["timestep"], **args["c"])

    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        lmd.run((CIRCLE, A), (SQUARE, B), model=model)
    assert (dict(tiny.model.model_options["transformer_options"]), dict(tiny.model.wrappers)) == before
    assert not torch.is_grad_enabled() or not torch.is_inference_mode_enabled()
    again = lmd.run((CIRCLE, A), (SQUARE, B))
    assert torch.equal(again.latent["samples"], two.latent["samples"])


@pytest.mark.parametrize(
    "more, message",
    [
        ({"sampler": "dpmpp_2m"}, "dpmpp_2m remembers earlier steps.*choose one of euler"),
        ({"latent": {"samples": torch.ones(1, 4, 16, 16)}}, "latent_image holds an image"),
        ({"latent": {"samples": torch.zeros(2, 4, 16, 16)}}, "latent_image holds 2: set batch_size to 1"),
    ],
)
def test_what_cannot_work_is_refused_before_any_pass(tiny, lmd, more, message):
    seen = []
    with pytest.raises(ValueError, match=message):
        lmd.run((CIRCLE, A), model=recording(tiny.model, seen), **more)
    assert not seen


def test_masks_must_be_one_for_each_box(lmd, two):
    with pytest.raises(ValueError, match="masks holds 1 masks, but the layout has 2 boxes"):
        lmd.run((CIRCLE, A), (SQUARE, B), masks=torch.ones(1, 64, 64), previous=two.round)


def test_masks_that_are_connected_are_used(lmd, two):
    masks = torch.zeros(2, 128, 128)
    masks[:, 48:80, 48:80] = 1
    made = lmd.run((CIRCLE, A), (SQUARE, B), masks=masks, previous=two.round)
    assert made.masks.sum((1, 2)).tolist() == [32 * 32] * 2 and "2 taken from" in made.text


def test_sam_3_finds_the_objects_in_their_own_images(tiny, lmd, two, monkeypatch):
    overall, choose = (
        tiny.module("gsn_ops.host.sampling.lmd_overall"),
        tiny.module("gsn_ops.layout.object_masks"),
    )
    monkeypatch.setattr(overall, "CONFIDENCE", 0.0)  # its weights here are random, and sure of nothing
    sam_3 = tiny.module("gsn_ops.host.judge.detectors").detector_of(detectors.sam3(), detectors.sam3_clip())
    more = {"previous": two.round, "segmenter": sam_3}
    with pytest.raises(ValueError, match="segmenter is connected, but no vae"):
        lmd.run((CIRCLE, A), (SQUARE, B), **more)
    made = lmd.run((CIRCLE, A), (SQUARE, B), vae=tiny.vae, **more)
    with torch.inference_mode():
        images = tiny.vae.decode(two.objects["samples"])
        found = [sam_3.find(image[None], [name], 0.0)[0] for image, name in zip(images, (CIRCLE, SQUARE))]
    coarse = [choose.on_grid(mask > 0, made.latent["samples"].shape[-2:]) for mask in two.masks]
    expected = [
        choose.choose_mask([(one.mask, one.score) for one in own], c) for own, c in zip(found, coarse)
    ]
    masks = torch.stack(expected).repeat_interleave(8, -1).repeat_interleave(8, -2)
    again = lmd.run((CIRCLE, A), (SQUARE, B), masks=masks, previous=two.round)
    assert torch.equal(made.masks, again.masks) and not torch.equal(made.masks, two.masks)
    assert torch.equal(made.latent["samples"], again.latent["samples"])


def test_every_sampler_of_comfyui_is_known(tiny):
    facts = tiny.module("gsn_ops.host.sampling.sampler_facts")
    assert set(facts.MEMORYLESS) < set(SAMPLERS)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm_2", "exp_heun_2_x0", "ddim"])
def test_a_memoryless_run_goes_on_from_its_state_alone(tiny, sampler):
    """heunpp2 remembers nothing either, but weighs by the first noise level of the schedule it is given."""
    sigmas = tiny.sigmas(sampler, steps=4)
    whole = tiny.sample(sampler=sampler, steps=4)
    half = tiny.sample(sampler=sampler, steps=4, last_step=2)
    rest = tiny.sample(sampler=sampler, steps=4, start_step=2, latent=half, noise=torch.zeros_like(half))
    assert len(sigmas) == 5 and torch.allclose(whole, rest, atol=1e-4)


def test_equal_names_are_several_boxes_of_one_subject(lmd):
    """One reference per box, in one subject; the prompt has the name once, in the plural, or twice."""
    made = lmd.run((CIRCLE, A), (CIRCLE, B), prompt="a red circle and a red circle")
    assert "2 boxes, 2 runs" in made.text
    one = lmd.run((CIRCLE, A), (CIRCLE, B), prompt="a red circle")
    assert not torch.equal(made.latent["samples"], one.latent["samples"])


def test_a_name_that_the_prompt_lacks_is_appended(tiny, lmd):
    prompts = tiny.module("gsn_ops.host.sampling.box_prompts")
    with torch.inference_mode():
        made = prompts.encoded_with_names(tiny.clip, "a red circle", ["a red circle", "a blue square"])
        same = prompts.encoded_with_names(tiny.clip, "a red circle", ["a red circle"])
    tokens = made[0][1]["gsn"]
    assert tokens.encoders[0].text.endswith("blue square")
    assert same[0][1]["gsn"].encoders[0].text.strip() == "a red circle"


def test_another_objective_gets_the_references(tiny, lmd):
    needs = tiny.module("gsn_ops.optimise.lmd").NEEDS
    transfer = tiny.module("gsn_ops.objectives.lmd_transfer").LMDTransfer(50.0, needs=needs)
    made = lmd.run((CIRCLE, A), (SQUARE, B), objective=transfer)
    (recipe,) = made.book.find(made.latent["samples"]).recipes
    assert recipe.losses and recipe.losses[0][0] > 0


def test_transfer_pulls_the_image_to_the_references(lmd, two):
    without = lmd.run(
        (CIRCLE, A), (SQUARE, B), settings=replace(lmd.settings(), transfer=0.0), previous=two.round
    )
    assert not torch.equal(without.latent["samples"], two.latent["samples"])
    assert all(torch.equal(a.states, b.states) for a, b in zip(without.round.runs, two.round.runs))


def test_the_mm_dit_is_sampled_too(tiny, lmd, pack_module):
    with torch.inference_mode():
        model, clip, _ = pack_module("gsn_ops.host.demo.sd3").load_demo_sd3()
        job = replace(
            lmd.job((CIRCLE, A), (SQUARE, B), model=model, steps=3),
            clip=clip,
            numbers=(3, 4.0, "euler", "simple"),
        )
        made = lmd.sampler.sample_layout(job)
    assert made.latent["samples"].isfinite().all() and made.masks.any()
    assert all(run.words for run in made.round.runs)


def test_gligen_gets_the_boxes_of_the_image_not_of_the_layouts_canvas(tiny, lmd):
    """A layout of 512 pixels for an image of 128: in cells of the latent, 16 of them."""
    from ..support.gligen import random_gligen

    job = lmd.job((CIRCLE, B), gligen=random_gligen(tiny.model), settings=lmd.settings(gligen=True))
    for canvas in ((128, 128), (512, 512)):
        with torch.inference_mode():
            other = replace(job, layout=replace(job.layout, canvas=canvas))
            (first, *_), _ = lmd.sampler._LayoutSampling(other, print)._whole_prompt()
        ((_, height, width, y, x),) = first[1]["gligen"][2]
        assert (x, y, width, height) == (8, 6, 8, 8)


def test_gligen_of_another_text_encoder_is_refused(tiny, lmd):
    from ..support.gligen import random_gligen

    gligen = random_gligen(tiny.model)
    gligen.model.key_dim = 768
    with pytest.raises(ValueError, match="wants SD1's text embedding of 768 numbers. Disconnect gligen"):
        lmd.run((CIRCLE, A), gligen=gligen, settings=lmd.settings(gligen=True))


def test_gligen_generates_in_place_and_without_energy(tiny, lmd):
    from ..support.gligen import random_gligen

    seen = []
    made = lmd.run(
        (CIRCLE, A),
        (SQUARE, B),
        model=recording(tiny.model, seen),
        gligen=random_gligen(tiny.model),
        settings=lmd.settings(gligen=True),
    )
    *alone, whole = passes_of(seen)
    assert not any(grad for run in alone for *_, grad in run) and any(grad for *_, grad in whole)
    assert made.latent["samples"].isfinite().all() and "2 boxes, 3 runs" in made.text
