"""When Auto acts, how much it may spend, and what it does without gradients where."""

from dataclasses import replace

import pytest
import torch

from gsn_ops.cost import UPDATE
from gsn_ops.optimise.auto import AUTO, as_long_as, auto, within
from gsn_ops.optimise.few_steps import moment_of
from gsn_ops.optimise.methods import acts_at_one_step, methods, preset
from gsn_ops.optimise.overrides import moved, override
from gsn_ops.schedule import Moment, Schedule


def flow(n, passes=0, shift=3.0, **more):
    def sigma(percent):
        return shift * (1 - percent) / (1 + (shift - 1) * (1 - percent))

    levels = tuple(sigma(k / n) for k in range(n)) + (0.0,)
    return Schedule(levels, sigma, flow=True, from_noise=True, plain_passes=passes, **more)


def test_it_is_the_first_choice_and_acts_at_one_step():
    assert methods()[0] == AUTO and acts_at_one_step(AUTO)
    (recipe,) = preset(AUTO)
    fast = preset("Latent Refine (fast)")[0]
    for name in ("shifts", "learning_rate", "adaptive", "max_displacement", "stop_at_presence", "eps"):
        assert getattr(recipe, name) == getattr(fast, name), name


@pytest.mark.parametrize(
    "n, renoises, step",
    ((8, False, 2), (4, False, 1), (2, False, 0), (1, False, 0), (8, True, 3), (4, True, 1)),
)
def test_its_state_with_few_steps(n, renoises, step):
    recipe = auto().for_run(flow(n, renoises=renoises))
    assert recipe.active_steps(flow(n, renoises=renoises)).steps == (step,)


def test_with_many_steps_it_has_the_published_moment_and_a_chosen_one_wins():
    assert moment_of(flow(20)) == moment_of(flow(20, renoises=True)) == Moment()
    (at_two,) = moved(preset(AUTO), Moment(step=2))
    assert at_two.for_run(flow(8)).active_steps(flow(8)).steps == (2,)
    (at_paper,) = moved(preset(AUTO), Moment())  # as typed: 0.18
    assert at_paper.for_run(flow(8)).moment == Moment()


@pytest.mark.parametrize("n, renoises", ((1, False), (4, False), (8, False), (4, True)))
def test_a_second_pass_of_few_steps_is_left_alone_as_one_of_many_is(n, renoises):
    """Or the low-noise one of two models: no state is one at which published methods act."""
    whole = flow(2 * n + 1)
    part = replace(whole, sigmas=whole.sigmas[n + 1 :], from_noise=False, renoises=renoises)
    assert part.is_few and not part.published_window()
    active = auto().for_run(part).active_steps(part)
    assert active.steps == () and "it starts with too little noise" in active.reason
    begun_below = replace(part, from_noise=True)  # a scheduler that begins below the model's highest level
    assert auto().for_run(begun_below).active_steps(begun_below).steps == (0,)


@pytest.mark.parametrize("passes", (4, 8, 16, 20, 40, 100))
@pytest.mark.parametrize("budget", (0.0, 0.2, 1.0, 3.0))
@pytest.mark.parametrize("report", ("full", "curve"))
def test_the_budget_counts_updates_and_the_report(passes, budget, report):
    (recipe,) = within((replace(auto(), report=report),), budget)
    schedule = flow(20, passes)
    found = recipe.for_run(schedule)
    active = found.active_steps(schedule)
    spent = found.most_passes(active) if active.steps else 0
    assert spent <= budget * passes + 1e-9
    more = spent + UPDATE > budget * passes or found.shifts == 15
    assert more and (found.report == "full") == (report == "full" and 2 <= 0.1 * budget * passes)


@pytest.mark.parametrize("steps", (8, 20))
@pytest.mark.parametrize("joint, gain", ((False, 2.0), (True, 0.0)))
def test_word_boost_acts_where_it_was_found_to_help(steps, joint, gain):
    recipe = auto().for_run(flow(steps, 40))
    boost = recipe.boost(flow(steps, 40), joint)
    assert boost is not None and boost.gain == gain and boost.check()


def test_who_looks_reads_the_attention_that_the_updates_read():
    (recipe,) = override(preset(AUTO), "levels=2,4, blocks=3, encoders=clip, gain=4, present_at=0.6")
    boost = recipe.for_run(flow(20, 40)).boost(flow(20, 40), joint=False)
    assert (boost.levels, boost.blocks, boost.encoders) == ("2, 4", "3", "clip")
    assert (boost.gain, boost.threshold) == (4.0, 0.6)


def test_nobody_looks_where_no_later_pass_could_be_any_different():
    recipe = auto().for_run(flow(1, 1))
    assert recipe.boost(flow(1, 1), joint=False) is None
    nothing = within((auto(),), 0.0)[0].for_run(flow(1, 1))
    assert nothing.active_steps(flow(1, 1)).steps == () and nothing.boost(flow(1, 1), joint=False) is None


def test_an_initial_noise_keeps_its_length():
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    z = as_long_as(noise, noise + 0.3 * noise.roll(1, -1).abs())
    assert torch.allclose(z.flatten(1).norm(dim=1), noise.flatten(1).norm(dim=1))
    assert torch.equal(as_long_as(noise, noise), noise)


def test_strength_scales_both_and_0_is_off():
    assert (auto().scaled(0.5).gain, auto().scaled(0.5).learning_rate) == (1.0, 0.025)
    assert auto().scaled(0).disabled and auto().scaled(0).gain == 0
