"""Moments to steps: the published table for SD1 and flow models, and runs that do not contain the moment."""

from __future__ import annotations

import math

import pytest
import torch

from gsn_ops.optimise.between_calls import find_between
from gsn_ops.optimise.guidance import Guide
from gsn_ops.schedule import (
    Moment,
    Schedule,
    find_step,
    published_percent,
    published_step,
    step_size,
    to_x,
    to_z,
)

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
KEPT = (1 - BETAS).cumprod(0)
SD1 = ((1 - KEPT) / KEPT).sqrt()  # sigma of each of SD1's 1000 timesteps
LOW, HIGH = SD1[0].item(), SD1[-1].item()


def at(t):
    """Sigma at a fractional timestep: interpolated in the logarithm."""
    t = torch.as_tensor(t, dtype=torch.float64)
    low = t.floor().long()
    log = SD1.log()
    return ((1 - t % 1) * log[low] + t % 1 * log[t.ceil().long()]).exp()


def sd1_percent(percent):
    return 999999999.9 if percent <= 0 else 0.0 if percent >= 1 else at((1 - percent) * 999).item()


def karras(n):
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    return (HIGH ** (1 / 7) + ramp * (LOW ** (1 / 7) - HIGH ** (1 / 7))) ** 7


SCHEDULERS = {
    "normal": lambda n: at(torch.linspace(999, 0, n, dtype=torch.float64)),
    "karras": karras,
    "exponential": lambda n: torch.linspace(math.log(HIGH), math.log(LOW), n, dtype=torch.float64).exp(),
    "sgm_uniform": lambda n: at(torch.linspace(999, 0, n + 1, dtype=torch.float64)[:-1]),
    "simple": lambda n: torch.stack([SD1[-(1 + int(i * 1000 / n))] for i in range(n)]),
    "ddim_uniform": lambda n: SD1[1 :: 1000 // n].flip(0),
    "kl_optimal": lambda n: torch.tan(
        torch.linspace(1, 0, n, dtype=torch.float64) * (math.atan(HIGH) - math.atan(LOW)) + math.atan(LOW)
    ),
}
WANTED = (10.425, 6.836, 5.633, 4.692, 3.946)
TABLE = {  # METHODS of the papers, steps 2, 6, 8, 10, 12 of 50 elsewhere; columns: 20, 25, 30, 40, 50 steps
    "normal": "1/3/3/4/5 1/3/4/5/6 2/4/5/6/7 2/5/7/9/10 3/7/9/11/13",
    "karras": "2/3/4/5/6 2/4/5/6/7 2/5/6/7/8 3/7/8/10/11 4/9/11/12/14",
    "exponential": "1/2/3/3/4 1/3/4/4/5 2/4/4/5/6 2/5/6/7/8 3/6/8/9/10",
    "sgm_uniform": "1/3/4/4/5 1/3/4/5/6 2/4/5/7/8 2/6/7/9/10 3/7/9/11/13",
    "simple": "1/3/4/4/5 1/3/4/5/6 2/4/5/7/8 2/6/7/9/10 3/7/9/11/13",
    "ddim_uniform": "0/2/3/3/4 1/3/4/5/6 2/4/5/6/8 1/5/6/8/9 2/6/8/10/12",
    "kl_optimal": "0/1/1/2/2 1/1/2/2/3 1/2/2/3/4 1/2/3/4/5 1/3/4/5/6",
}


def run_of(scheduler, n):
    return [*SCHEDULERS[scheduler](n).tolist(), 0.0]


@pytest.mark.parametrize("scheduler", TABLE)
def test_nearest_steps_of_sd1(scheduler):
    for n, expected in zip((20, 25, 30, 40, 50), TABLE[scheduler].split(), strict=True):
        found = [find_step(Moment(sigma=s), run_of(scheduler, n), sd1_percent) for s in WANTED]
        assert "/".join(str(f.step) for f in found) == expected
        assert not any(f.note for f in found) or scheduler == "kl_optimal"  # coarse where it matters


def test_papers_sigmas_at_fifty_steps():
    run = run_of("ddim_uniform", 50)
    assert [run[i] for i in (0, 2, 4, 6, 8, 10, 12, 16, 20, 24, 49)] == pytest.approx(
        [13.120, 10.425, 8.391, 6.836, 5.633, 4.692, 3.946, 2.863, 2.135, 1.624, 0.041], abs=6e-4
    )
    assert find_step(Moment(), run, sd1_percent).step == 8  # the default percent is the paper's step
    assert find_step(Moment(percent=0.058), run, sd1_percent).step == 2


def flow_run(shift, n):
    t = torch.linspace(1, 0, n + 1, dtype=torch.float64)
    return (shift * t / (1 + (shift - 1) * t)).tolist()


def test_flow_models_use_plain_distance():
    run = flow_run(3.0, 28)
    assert find_step(Moment(sigma=0.93), run, lambda p: 1 - p, flow=True).step == 5
    many = [1.0, 0.38, 0.22, *(0.1 - 0.01 * k for k in range(6)), 0.0]
    assert find_step(Moment(sigma=0.29), many, lambda p: 1 - p, flow=True).step == 2
    assert find_step(Moment(sigma=0.29), many, lambda p: 1 - p, flow=False).step == 1
    coarse = find_step(Moment(sigma=0.8), many, lambda p: 1 - p, flow=True)
    assert coarse.step == 0 and coarse.note.startswith("step 0 is the nearest: 0.2 more noise")


@pytest.mark.parametrize("shift", (1.0, 3.0, 6.0))
@pytest.mark.parametrize(
    "n, percent, step, factor",
    # ratios of noise to image without the shift: 8 steps inf 7 3 1.67 1, 4 steps inf 3 1 0.33; 18 % is 4.56
    (
        (8, 0.18, 2, 1.52),
        (8, 0.12, 1, 0),
        (8, 0.058, 1, 2.3),
        (8, 0.02, 0, 2.0),
        (8, 0.0, 0, 0),
        (4, 0.18, 1, 1.52),
        (4, 0.02, 0, 2.0),
        (2, 0.18, 1, 4.56),
        (1, 0.18, 0, 21.7),
    ),
)
def test_with_few_steps_of_a_flow_model_the_ratio_of_noise_to_image_decides(shift, n, percent, step, factor):
    def sigma(percent):
        return shift * (1 - percent) / (1 + (shift - 1) * (1 - percent))

    found = find_step(Moment(percent=percent), flow_run(shift, n), sigma, flow=True)
    assert found.step == step
    assert bool(found.note) == (factor > 1.5)
    if factor > 1.5:
        assert f"{factor:.2g} times" in found.note


def test_many_steps_of_a_flow_model_keep_their_steps():
    for n in (20, 25, 28, 50):
        run = flow_run(3.0, n)
        for wanted in (0.93, 0.98, 0.8):
            found = find_step(Moment(sigma=wanted), run, lambda p: 1 - p, flow=True)
            assert found.step == min(range(n), key=lambda i: abs(run[i] - wanted))


def test_the_window_of_published_methods_is_one_of_noise_to_image():
    def flow(shift, n):
        return Schedule(
            tuple(flow_run(shift, n)), lambda p: shift * (1 - p) / (1 + (shift - 1) * (1 - p)), True
        )

    assert [flow(3.0, 8).published_window(), flow(1.0, 8).published_window()] == [(0, 1, 2, 3)] * 2
    assert flow(3.0, 4).published_window() == flow(1.0, 4).published_window() == (0, 1)
    assert Schedule(tuple(run_of("karras", 20)), sd1_percent).published_window() == tuple(range(9))


def test_step_wins_over_sigma_wins_over_percent():
    run = run_of("normal", 20)
    assert find_step(Moment(percent=0.18, sigma=1.0, step=0), run, sd1_percent).step == 0
    by_sigma = find_step(Moment(percent=0.18, sigma=1.0), run, sd1_percent)
    assert by_sigma.sigma == run[by_sigma.step] == pytest.approx(1.0, rel=0.2)
    assert find_step(Moment(percent=0.18), run, sd1_percent).step == 3


def test_percent_zero_is_the_beginning():
    assert find_step(Moment(percent=0.0), run_of("normal", 20), sd1_percent).step == 0
    late = [s for s in run_of("normal", 20) if s < 3]
    assert find_step(Moment(percent=0.0), late, sd1_percent).step is None


@pytest.mark.parametrize(
    "moment, sigmas, words",
    [
        (Moment(), [2.9, 1.5, 0.5, 0.0], ["5.59", "2.9", "0.5", "3 steps", "denoise"]),
        (Moment(sigma=1.0), [14.6, 10.0, 7.0, 5.0], ["at_sigma 1", "ends before", "earlier"]),
        (Moment(sigma=5.0), [14.6, 9.0], ["ends before"]),
        (Moment(sigma=5.0), [14.6, 9.0, 5.0 - 1e-6], ["ends before"]),  # the next part begins there
        (Moment(step=20), [3.0, 2.0, 1.0, 0.0], ["at_step is 20", "3 steps"]),
        (Moment(percent=1.0), [3.0, 2.0, 1.0, 0.0], ["at_percent 1", "end of sampling"]),
        (Moment(), [0.0, 0.0], ["no step with noise"]),
    ],
)
def test_a_moment_outside_the_run_is_explained(moment, sigmas, words):
    found = find_step(moment, sigmas, sd1_percent)
    assert found.step is None
    assert [w for w in words if w not in found.reason] == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("n", (2, 3, 4, 6, 8))
@pytest.mark.parametrize("percent", (0.058, 0.18, 0.5))
def test_b9_a_run_that_passes_the_moment_acts_at_its_nearest_step(scheduler, n, percent):
    run = run_of(scheduler, n)
    if run[0] * 1.5 < sd1_percent(percent):
        assert scheduler == "ddim_uniform"  # which begins below the moment
        return
    found, wanted = find_step(Moment(percent=percent), run, sd1_percent), sd1_percent(percent)
    factor = math.exp(abs(math.log(found.sigma / wanted)))
    assert found.step == min(range(n), key=lambda i: abs(math.log(run[i] / wanted)))
    assert bool(found.note) == (factor > 1.5)
    if found.note:
        assert f"{factor:.2g} times {'more' if found.sigma > wanted else 'less'}" in found.note


@pytest.mark.parametrize(
    "sigmas, step",
    [([14.6, 0.0], 0), ([14.6, 1.0, 0.0], 0), ([14.6, 3.0, 0.0], 1), ([30.0, 9.0, 0.5], 1), ([9.0, 0.0], 0)],
)
def test_b9_one_and_two_steps_too(sigmas, step):
    found = find_step(Moment(sigma=5.0), sigmas, sd1_percent)
    assert found.step == step and "wanted sigma 5" in found.note


@pytest.mark.parametrize("sigmas", ([2.9, 1.5, 0.0], [14.6, 10.0, 8.0], [3.0, 0.0]))
def test_b9_a_run_that_does_not_pass_it_is_still_left_alone(sigmas):
    assert find_step(Moment(sigma=5.0), sigmas, sd1_percent).step is None


def test_last_entry_is_no_step():
    assert find_step(Moment(step=2), [3.0, 2.0, 1.0], sd1_percent).step is None
    assert find_step(Moment(sigma=1.0), [3.0, 2.0, 1.0], sd1_percent).step is None
    assert find_step(Moment(sigma=1.4), [3.0, 2.0, 1.0], sd1_percent).step == 1


def test_tensors_do_as_sigmas():
    found = find_step(Moment(), torch.tensor(run_of("karras", 20)), sd1_percent)
    assert found.step == 4 and isinstance(found.sigma, float)


def test_step_sizes():
    assert [
        step_size(i, 50, function=f) for f in ("sqrt", "linear", "constant", "cosine") for i in (0, 49)
    ] == (pytest.approx([20, 20 * 0.5**0.5, 20, 10, 20, 20, 20, 10]))
    assert step_size(0, 1) == 20
    assert step_size(9, 10, 20, 1, 0, "sqrt") == 0
    with pytest.raises(ValueError, match="sqrt, linear"):
        step_size(0, 10, function="cubic")


@pytest.mark.parametrize("name", ("normal", "karras"))
def test_a_part_of_a_run_knows_its_position(name):
    """Step sizes are those of this noise level in the published run; a whole run counts its own steps."""
    levels = run_of(name, 20)
    whole = Schedule(tuple(levels), sd1_percent, from_noise=True)
    first = Schedule(tuple(levels[:8]), sd1_percent, from_noise=True)
    second = Schedule(tuple(levels[7:]), sd1_percent)
    assert [one.is_part for one in (whole, first, second)] == [False, True, True]
    assert whole.position(7) == (7, 20)
    positions = [one.position(k) for one, k in ((first, 0), (first, 6), (second, 0), (second, 1))]
    assert [n for _, n in positions] == [50] * 4
    steps = [k for k, _ in positions]
    assert steps[0] == 0 and steps == sorted(steps)
    expected = [published_step(whole.percent_of(levels[k])) for k in (0, 6, 7, 8)]
    assert steps == pytest.approx(expected, abs=1e-6)
    assert published_step(published_percent(13)) == pytest.approx(13)


def test_an_image_below_the_highest_noise_level_is_a_part():
    """Image to image at denoise 1 is a whole run; at less its steps are the later ones of one."""
    levels = run_of("normal", 20)
    assert not Schedule(tuple(levels), sd1_percent).is_part
    assert Schedule(tuple(levels[4:]), sd1_percent).position(0)[0] > 8


@pytest.mark.parametrize("sigma", [0.05, 1.74, 5.633, 13.12])
def test_a_gradient_step_in_z_is_the_published_shift_at_any_sigma(sigma):
    c = math.sqrt(1 + sigma**2)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * sigma
    g = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = to_x(to_z(x, c) - 20 * g, c)
    assert torch.allclose((moved - x) / c, -20 * g, rtol=1e-6)
    dl_dx = g / c
    assert torch.allclose(moved, x - 20 * (1 + sigma**2) * dl_dx, rtol=1e-6)


@pytest.mark.parametrize("first", (3.9, 2.8, 1.6, 0.5))
def test_b9_an_empty_latent_below_the_wanted_level_is_refined_at_its_first_state(first):
    """As ddim_uniform begins with few steps; a second pass at the same levels is still left alone."""
    levels = (first, first / 3, 0.0)
    found = Schedule(levels, lambda percent: 5.6, from_noise=True).find(Moment())
    assert (found.step, found.sigma) == (0, first)
    far = 5.6 / first > 1.5
    assert bool(found.note) == far and (not far or "less noise than at the wanted sigma 5.6" in found.note)
    later = Schedule(levels, lambda percent: 5.6).find(Moment())
    assert later.step == (None if far else 0)


def test_a_place_between_two_calls_or_the_step_itself_with_the_reason():
    def flow(n, **more):
        return Schedule(tuple(flow_run(3.0, n)), lambda p: 3 * (1 - p) / (1 + 2 * (1 - p)), True, **more)

    four = flow(4)  # 1, 0.9, 0.75, 0.5, 0
    found, between = find_between(four, Moment(step=1), "middle")
    assert (found.step, found.sigma, between) == (2, pytest.approx(0.825), True)
    found, between = find_between(four, Moment(sigma=0.944), "exact")
    assert (found.step, found.sigma, between) == (1, 0.944, True) and not found.note
    for schedule, moment, how, step, why in (
        (four, Moment(step=3), "middle", 3, "no call of the model follows"),
        (four, Moment(sigma=0.3), "exact", 3, "no call of the model follows"),
        (four, Moment(step=1), "exact", 1, "choose between=middle"),
        (flow(4, renoises=True), Moment(step=1), "middle", 1, "adds noise anew"),
    ):
        found, between = find_between(schedule, moment, how)
        assert (found.step, between) == (step, False) and why in found.note
    for moment, how in (
        (Moment(sigma=0.9), "exact"),
        (Moment(sigma=0.9003), "exact"),
        (Moment(step=1), "no"),
    ):
        found, between = find_between(four, moment, how)
        assert (found.step, found.note, between) == (1, "", False)
    missed, _ = find_between(Schedule((0.5, 0.3, 0.0), lambda p: 1 - p, True), Moment(sigma=0.9), "exact")
    assert missed.step is None and "raise denoise" in missed.reason


def test_the_window_of_a_guidance_ends_at_the_published_ratio_in_few_steps_of_a_flow_model():
    def flow(n):
        return Schedule(tuple(flow_run(3.0, n)), lambda p: 3 * (1 - p) / (1 + 2 * (1 - p)), True)

    published, typed = Guide(), Guide(end_percent=0.6)
    assert [published.window(flow(n)) for n in (4, 8)] == [(0, 1), (0, 1, 2, 3)]
    assert typed.window(flow(8)) == (0, 1, 2, 3, 4) and published.window(flow(20)) == tuple(range(11))
