"""What a run may cost, and did cost, stands on the node, in images."""

from types import SimpleNamespace

import pytest


def lines_of(tiny, sampler="euler", cfg=7.5, steps=6, **settings) -> tuple[list[str], object]:
    lines = []
    model, book = tiny.attach(on_status=lines.append, **settings)
    found = book.find(tiny.sample(model, sampler=sampler, cfg=cfg, steps=steps))
    return lines, found


@pytest.mark.parametrize(
    "sampler, cfg, images",
    # 2 update steps are 4 passes; the image's own are 6 x 2, 6, and 2 x (5 x 2 + 1)
    (("euler", 7.5, "0.33"), ("euler", 1.0, "0.67"), ("heun", 7.5, "0.18")),
)
def test_the_cost_is_told_before_and_after_the_run(tiny, sampler, cfg, images):
    lines, report = lines_of(tiny, sampler, cfg, step=1, shifts=2, report="curve")
    assert lines[0].endswith(f"; up to +{images} images"), lines
    assert f"; cost +{images} images" in lines[-1], lines
    (recipe,) = report.recipes
    assert recipe.cost == pytest.approx(float(images), abs=0.01)
    assert (recipe.forwards, recipe.backwards) == (2, 2)


def test_more_than_three_images_is_a_remark_and_the_report_counts_too(tiny):
    lines, report = lines_of(tiny, cfg=1.0, step=1, shifts=9)
    assert lines[0].endswith("; up to +3.3 images, more than 3: fewer update steps or Auto cost less"), lines
    assert report.recipes[0].cost == pytest.approx(20 / 6, abs=0.001)


def test_a_run_that_is_skipped_costs_nothing(tiny):
    moment = tiny.module("gsn_ops.schedule").Moment(sigma=10000.0)
    lines, report = lines_of(tiny, moment=moment)
    assert all("images" not in line for line in lines) and report.recipes[0].cost is None


@pytest.mark.parametrize(
    "sampler",
    (
        "euler",
        "euler_ancestral",
        "lcm",
        "ddim",
        "dpmpp_2m",
        "uni_pc",
        "heun",
        "heunpp2",
        "dpm_2",
        "dpm_2_ancestral",
        "dpmpp_2s_ancestral",
        "dpmpp_sde",
        "seeds_2",
        "seeds_3",
        "exp_heun_2_x0",
    ),
)
def test_the_passes_of_a_plain_image_are_those_that_it_makes(tiny, sampler):
    import comfy.samplers

    calls, steps = [], 5
    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, args: calls.append(1) or apply(args["input"], args["timestep"], **args["c"])
    )
    tiny.sample(model, sampler=sampler, steps=steps, cfg=1.0)
    guider = SimpleNamespace(cfg=1.0, model_options={}, conds={"positive": [{}], "negative": [{}]})
    percent = tiny.model.get_model_object("model_sampling").percent_to_sigma
    plain = tiny.module("gsn_ops.host.sampling.plain_passes").plain_passes
    found = plain(guider, comfy.samplers.sampler_object(sampler), tiny.sigmas(steps=steps).tolist(), percent)
    assert abs(found - len(calls)) <= 1, (found, len(calls))
    guider.cfg = 7.5
    both = plain(guider, comfy.samplers.sampler_object(sampler), tiny.sigmas(steps=steps).tolist(), percent)
    assert both == 2 * found


def test_samplers_that_add_noise_anew_are_comfyuis(tiny):
    import comfy.k_diffusion.sampling as host

    facts = tiny.module("gsn_ops.host.sampling.sampler_facts")
    assert all(hasattr(host, name) for name in facts.RENOISING)


def test_a_prompt_for_a_part_of_the_run_counts_there(tiny):
    import comfy.samplers

    plain = tiny.module("gsn_ops.host.sampling.plain_passes").plain_passes
    half = {"start_percent": 0.0, "end_percent": 0.5}
    guider = SimpleNamespace(cfg=7.5, model_options={}, conds={"positive": [half], "negative": [{}]})
    percent = tiny.model.get_model_object("model_sampling").percent_to_sigma
    levels = [percent(max(k / 10, 1e-6)) for k in range(10)] + [0.0]
    assert plain(guider, comfy.samplers.sampler_object("euler"), levels, percent) == 10 + 6


def counting(tiny, calls):
    """MODEL that notes for how many prompts it is called."""
    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, args: (
            calls.extend(args["cond_or_uncond"]) or apply(args["input"], args["timestep"], **args["c"])
        )
    )
    return model


@pytest.mark.parametrize("sampler", ("euler_cfg_pp", "dpmpp_2m_cfg_pp", "res_multistep_cfg_pp"))
def test_with_cfg_1_these_samplers_pass_the_negative_prompt_too(tiny, sampler):
    calls, lines = [], []
    tiny.sample(counting(tiny, calls), sampler=sampler, steps=5, cfg=1.0)
    model, _ = tiny.attach(on_status=lines.append, step=1, shifts=1, report="curve")
    tiny.sample(model, sampler=sampler, steps=5, cfg=1.0)
    assert len(calls) == 10 and lines[0].endswith("; up to +0.2 images"), (len(calls), lines)


@pytest.mark.parametrize("style", ("regular", "nested"))
@pytest.mark.parametrize("cfg", ((1.0, 1.0), (4.0, 1.0), (1.0, 4.0), (8.0, 8.0)))
def test_dual_guidance_counts_the_prompts_that_it_passes(tiny, style, cfg):
    import comfy.samplers
    import comfy_extras.nodes_custom_sampler as custom
    import torch

    from ..support.demo_model import empty

    calls, sigmas = [], tiny.sigmas(steps=4)
    prompts = [tiny.encode(text) for text in ("a red circle", "a blue square", "")]
    with torch.inference_mode():
        guider = custom.DualCFGGuider.execute(counting(tiny, calls), *prompts, *cfg, style)[0]
        sampler = comfy.samplers.sampler_object("euler")
        guider.sample(torch.randn(1, 4, 16, 16), empty(), sampler, sigmas, disable_pbar=True, seed=1)
    percent = tiny.model.get_model_object("model_sampling").percent_to_sigma
    guider.conds = dict.fromkeys(("positive", "middle", "negative"), [{}])
    plain = tiny.module("gsn_ops.host.sampling.plain_passes").plain_passes
    assert plain(guider, sampler, sigmas.tolist(), percent) == len(calls)


@pytest.mark.parametrize("sampler", ("euler", "heun", "dpm_2"))
def test_a_term_in_the_prediction_is_told_for_every_call_of_a_step(tiny, sampler):
    """A step of heun calls the model twice, and so does the method."""
    import comfy.samplers

    from ..support.networks import make

    velocity, patch = tiny.module("gsn_ops.optimise.velocity"), tiny.module("gsn_ops.host.sampling.patch")
    lines, made = [], make("Flux", tiny)
    model, book = patch.attach(made.model, velocity.SteerVelocity(report="curve"), on_status=lines.append)
    out = made.sample(model, comfy.samplers.sampler_object(sampler), steps=3)
    assert lines[0].endswith("; up to +2 images") and "; cost +2 images" in lines[-1], lines
    assert book.find(out).recipes[0].cost == 2


def test_a_refinement_outside_the_window_is_told_with_its_last_test(tiny):
    """Its rounds are each an update; whether the last one brought it through is one evaluation more."""
    guidance, schedule, patch = (
        tiny.module(f"gsn_ops.{name}") for name in ("optimise.guidance", "schedule", "host.sampling.patch")
    )
    checkpoint = guidance.Checkpoint(schedule.Moment(step=1), 1.0)
    recipe = guidance.Guide(
        start_percent=0.0, end_percent=0.0, checkpoints=(checkpoint,), max_rounds=3, report="curve"
    )
    lines = []
    model, book = patch.attach(tiny.model, recipe, on_status=lines.append)
    found = book.find(tiny.sample(model, steps=4, cfg=1.0)).recipes[0]
    assert found.forwards == found.backwards == 4 and found.cost == 2
    assert lines[0].endswith("; up to +2 images"), lines
