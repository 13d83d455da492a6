"""Seed Picker: the bits of plain runs, passes that are counted, the ranking, and what is refused."""

import json
import threading

import pytest
import torch

from ..support.demo_model import PROMPT, empty, recording

STEPS, CFG = 6, 7.5
SOME = ("euler", "heun", "dpmpp_2m", "dpmpp_sde", "ddpm", "uni_pc", "res_multistep_cfg_pp", "sa_solver")
SLOW = ("dpm_adaptive", "dpm_fast", "euler_ancestral", "er_sde", "lcm", "dpmpp_3m_sde", "seeds_2")


@pytest.fixture(scope="module")
def picker(pack_module):
    return pack_module("gsn_ops.host.sampling.seed_picker")


@pytest.fixture
def pick(tiny, picker):
    """A function: LATENT samples (or None) and the choice."""

    def run(model=None, sampler="euler", subjects="", latent=None, positive=None, negative="", seed=3,
            candidates=3, steps=STEPS, denoise=1.0, **settings):  # fmt: skip
        phrases = tiny.module("gsn_ops.subjects.syntax").parse_subjects(subjects)
        made = picker.PickSettings(picker.consecutive(seed, candidates), **settings)
        conds = positive or tiny.encode(PROMPT), tiny.encode(negative)
        with torch.inference_mode():
            out, picked = picker.pick_seeds(
                model or tiny.model, made, phrases, (steps, CFG, sampler, "normal"), conds,
                {"samples": empty()} if latent is None else latent, denoise,
            )  # fmt: skip
        return out and out["samples"], picked

    return run


def plain(tiny, seed, sampler="euler", model=None, negative="", latent=None, steps=STEPS):
    ksampler = tiny.module("gsn_ops.host.sampling.ksampler")
    with torch.inference_mode():
        return ksampler.sample(
            model or tiny.model, seed, steps, CFG, sampler, "normal", tiny.encode(PROMPT),
            tiny.encode(negative), {"samples": empty()} if latent is None else latent,
        )["samples"]  # fmt: skip


@pytest.mark.parametrize("sampler", [*SOME, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_kept_seed_has_the_bits_of_a_plain_run(tiny, pick, sampler):
    small, few = {"samples": empty(1, 8, 8)}, 4
    samples, picked = pick(sampler=sampler, keep=2, latent=small, steps=few)
    assert sorted(picked.values(), reverse=True) == [picked.values()[i] for i in picked.order]
    for image, start in zip(samples, picked.kept, strict=True):
        assert torch.equal(image[None], plain(tiny, start.seed, sampler, latent=small, steps=few)), start.seed


def test_the_look_takes_no_pass_of_its_own(tiny, pick):
    seen = []
    _, picked = pick(recording(tiny.model, seen), candidates=4, keep=2, look_at=2)
    assert len(seen) == picked.calls == 4 * 2 + 2 * (STEPS - 2)


def test_the_score_is_the_attention_at_the_state_before_the_look(tiny, pick):
    _, picked = pick(candidates=1, look_at=2)
    model, book = tiny.attach(step=1, shifts=1, report="curve", objective=tiny.module(
        "gsn_ops.objectives.cn_iou").PresenceAndSeparation())  # fmt: skip
    samples = tiny.sample(model, seed=3)
    (recipe,) = book.find(samples).recipes
    assert picked.starts[0].score.maxima == pytest.approx(recipe.maxima_before[0], rel=1e-4)


def test_a_longer_negative_prompt_changes_no_score(tiny, pick):
    long = "a photo of " + ", ".join(["a red circle"] * 30)  # 154 rows: ComfyUI repeats the positive prompt
    _, short = pick(candidates=1)
    _, repeated = pick(candidates=1, negative=long, look_at=1)
    _, alone = pick(candidates=1, look_at=1)
    assert repeated.starts[0].score.maxima == pytest.approx(alone.starts[0].score.maxima, rel=1e-3)
    assert short.starts[0].score.maxima != alone.starts[0].score.maxima


def test_focus_ranks_by_another_number(pick):
    _, presence = pick(candidates=4, finish=False)
    _, focus = pick(candidates=4, finish=False, rank_by="focus")
    assert [s.score for s in presence.starts] == [s.score for s in focus.starts]
    assert focus.values() == [min(s.score.focus) for s in focus.starts]


def test_starts_end_early_once_one_is_good_enough(tiny, pick):
    seen = []
    _, all_made = pick(candidates=4, finish=False)
    level = sorted(all_made.values())[1]
    _, picked = pick(recording(tiny.model, seen), candidates=4, stop_at=level, finish=False)
    made = next(n for n, value in enumerate(all_made.values(), 1) if value >= level)
    assert len(picked.starts) == made and len(seen) == 2 * made


def test_no_start_is_spared_that_is_to_be_kept(tiny, pick):
    small = {"samples": empty(1, 8, 8), "batch_index": [3]}
    _, picked = pick(latent=small, candidates=4, keep=2, stop_at=1e-6, steps=2, finish=False)
    assert len(picked.starts) == len(picked.kept) == 2


def test_the_latent_of_several_seeds_goes_on_in_another_sampler(tiny, picker):
    settings = picker.PickSettings((3, 4), keep=2)
    with torch.inference_mode():
        conds = tiny.encode(PROMPT), tiny.encode("")
        latent = {"samples": empty(1, 8, 8), "batch_index": [3]}
        out, _ = picker.pick_seeds(tiny.model, settings, (), (2, 1.0, "euler", "normal"), conds, latent)
    assert len(out["samples"]) == 2 and out["batch_index"] == [3, 3]


def test_a_vae_of_another_model_does_not_cost_the_images(pick, pack_module, caplog):
    view = pack_module("gsn_ops.host.sampling.picked_seeds")
    _, picked = pick(latent={"samples": empty(1, 8, 8)}, candidates=2, finish=False, steps=2)

    class Other:
        def decode(self, latents):
            raise RuntimeError("expected input to have 16 channels")

    text, page = view.status_and_sheet(picked, Other())
    assert text.endswith("connect the model's VAE") and "cannot decode these latents" in caplog.text
    plain = view.status_and_sheet(picked, None)
    assert plain[0] in text and torch.equal(page, plain[1])


def test_without_finish_only_the_seeds_are_given(tiny, pick):
    samples, picked = pick(finish=False, keep=2)
    assert samples is None and len(picked.kept) == 2 and all(s.samples is None for s in picked.starts)


def test_nursing_on_the_model_acts_in_the_kept_runs_only(tiny, pick):
    model, book = tiny.attach(step=1)
    samples, picked = pick(model, keep=1)
    assert picked.nursed and len(book) == 1
    again, _ = tiny.attach(step=1)
    assert torch.equal(samples, plain(tiny, picked.kept[0].seed, model=again))
    _, unnursed = pick(keep=1)
    assert picked.values() == unnursed.values()


def test_an_image_and_a_mask_are_kept_as_by_ksampler(tiny, pick):
    latent = {"samples": torch.rand(1, 4, 16, 16), "noise_mask": torch.ones(1, 1, 128, 128)}
    latent["noise_mask"][..., :64] = 0
    samples, picked = pick(latent=latent)
    assert torch.equal(samples, plain(tiny, picked.kept[0].seed, latent=latent))


def test_the_mm_dit_is_read_too(tiny, picker, pack_module):
    with torch.inference_mode():
        model, clip, _ = pack_module("gsn_ops.host.demo.sd3").load_demo_sd3()
        clip = pack_module("gsn_ops.host.prompts.conditioning").with_token_metadata(clip)
        conds = [tiny.host.CLIPTextEncode().encode(clip, text)[0] for text in (PROMPT, "")]
        settings = picker.PickSettings((1, 2), keep=1)
        numbers, latent = (8, 4.0, "euler", "simple"), {"samples": empty()}
        out, picked = picker.pick_seeds(model, settings, (), numbers, conds, latent)
        ksampler = pack_module("gsn_ops.host.sampling.ksampler")
        same = ksampler.sample(model, picked.kept[0].seed, *numbers, *conds, latent)
    assert torch.equal(out["samples"], same["samples"]) and picked.starts[0].score.maxima[0] > 0
    assert picked.settings.look_at == 3 and picked.calls == 2 * 3 + 5  # later than on an EPS model


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"keep": 4}, "keep is 4, but there are 3 candidates"),
        ({"look_at": 7}, "look_at is 7, but this run has only 6 steps"),
        ({"rank_by": "luck"}, "rank_by is 'luck': choose one of presence, focus"),
        ({"subjects": "zebra"}, "'zebra' is not in the prompt"),
        ({"latent": {"samples": empty(2)}}, "latent_image holds 2 latents"),
        ({"denoise": 0.0}, "With denoise 0 this run has no steps"),
    ],
)
def test_what_cannot_work_is_refused_before_any_pass(tiny, pick, settings, message):
    seen = []
    with pytest.raises(ValueError, match=message):
        pick(recording(tiny.model, seen), **settings)
    assert seen == []


def test_a_prompt_without_subjects_or_token_data_is_refused(tiny, pick):
    with pytest.raises(ValueError, match="none were found in the prompt: type them"):
        pick(positive=tiny.encode("and of"))
    with pytest.raises(ValueError, match="no token data from this pack"):
        pick(positive=tiny.encode("another text that nobody recorded", plain=True))


def test_a_cache_between_passes_is_refused(tiny, pick):
    import comfy.patcher_extension

    model = tiny.model.clone()
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    model.add_wrapper_with_key(kind, "easycache", lambda executor, *a, **k: executor(*a, **k))
    with pytest.raises(ValueError, match="easycache is on the model"):
        pick(model)


def ours():
    return [thread for thread in threading.enumerate() if thread.name == "gsn-sampler"]


def test_nothing_is_left_after_success_and_after_an_error(tiny, pick):
    options, wrappers = repr(tiny.model.model_options), repr(tiny.model.wrappers)
    pick(keep=1)
    calls = []

    def fails(apply, args):
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("out of luck")
        return apply(args["input"], args["timestep"], **args["c"])

    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(fails)
    with pytest.raises(RuntimeError, match="out of luck"):
        pick(model)
    assert ours() == []
    assert (options, wrappers) == (repr(tiny.model.model_options), repr(tiny.model.wrappers))


def test_a_cancelled_run_ends_all_its_samplers(tiny, pick):
    import comfy.model_management as management

    def cancels(apply, args):
        management.interrupt_current_processing()
        management.throw_exception_if_processing_interrupted()

    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(cancels)
    with pytest.raises(management.InterruptProcessingException):
        pick(model)
    assert ours() == []


def test_an_error_of_the_sampler_itself_reaches_the_user(tiny, pick, monkeypatch):
    import comfy.k_diffusion.sampling as sampling

    def broken(model, x, sigmas, extra_args=None, **more):
        model(x, sigmas[:1], **extra_args)
        raise ZeroDivisionError("of the sampler")

    monkeypatch.setattr(sampling, "sample_euler", broken)
    with pytest.raises(ZeroDivisionError, match="of the sampler"):
        pick()
    assert ours() == []


def test_the_node_gives_seeds_sheet_and_words(tiny, pack_module):
    node = pack_module("nodes.seeds").GSNSeedPicker
    with torch.inference_mode():
        latent, seeds, page, text, data = node.execute(
            tiny.model, 3, STEPS, CFG, "euler", "normal", tiny.encode(PROMPT), tiny.encode(""),
            {"samples": empty()}, keep=2,
        ).args  # fmt: skip
        unfinished = node.execute(
            tiny.model, 3, STEPS, CFG, "euler", "normal", tiny.encode(PROMPT), tiny.encode(""),
            {"samples": empty()}, candidates=2, finish=False, vae=tiny.vae,
        ).args[0]  # fmt: skip
    data = json.loads(data)
    assert latent["samples"].shape == (2, 4, 16, 16) and data["kept"] == seeds and len(seeds) == 2
    assert [s["seed"] for s in data["starts"]] == [3, 4, 5, 6]
    assert sorted(s["rank"] for s in data["starts"]) == [1, 2, 3, 4] and data["model_calls"] == 16
    assert page.ndim == 4 and len(page) == 1
    assert text.startswith(f"kept {seeds[0]} (") and "of 4, presence at model call 2" in text
    with pytest.raises(AttributeError, match="finish is off"):
        unfinished["samples"]


def test_the_words_say_when_seeds_hardly_differ(pick, pack_module):
    view = pack_module("gsn_ops.host.sampling.picked_seeds")
    _, picked = pick(candidates=2, finish=False)
    picked.starts[1].score = picked.starts[0].score
    assert "seeds hardly differ here (spread 0.000)" in view.status(picked)
