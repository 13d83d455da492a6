"""The numbers of a run: how often refinement at checkpoints was needed, how often it helped, in how many
rounds.
"""

from __future__ import annotations

import json

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapNeeds, StepContext
from gsn_ops.optimise.guidance import Checkpoint, Guide, StepSize
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.report.run_report import Counters, RecipeReport, RunReport, StepReport, count
from gsn_ops.schedule import Moment, Schedule


def step(guided=(), success=(), rounds=(), images=2):
    return StepReport(0, 1.0, ((0.5,) * images,), ((0.1,),) * images, (1,) * images, guided, success, rounds)


def test_rates_are_per_image_and_step():
    steps = (
        step((True, False), (True, False), (7, 0)),
        step(),  # an ordinary guided step is no checkpoint
        step((True, True), (False, True), (20, 3)),
        step((False, False), (False, False), (0, 0)),
    )
    assert count(steps) == Counters(
        checkpoints=6, guidance_rate=0.5, success_rate=pytest.approx(2 / 3), mean_rounds=5.0
    )


def test_success_is_undefined_if_nobody_needed_help():
    counters = count((step((False, False), (False, False), (0, 0)),))
    assert counters == Counters(2, 0.0, None, 0.0)
    run = RunReport("0", "SD1", "ddim", 50, (), (RecipeReport("A&E", "done", counters=counters),))
    assert json.loads(run.to_json())["recipes"][0]["counters"] == {
        "checkpoints": 2,
        "guidance_rate": 0.0,
        "success_rate": None,
        "mean_rounds": 0.0,
    }


@pytest.mark.parametrize("steps", [(), (step(), step())])
def test_without_a_checkpoint_there_are_no_counters(steps):
    assert count(steps) is None


class Bright:
    """L = 1 - the mean of the latent, which is its own attention: an update of size 1.6 lifts it by 0.1."""

    needs = MapNeeds()

    def __call__(self, maps, subjects, context):
        return 1 - maps.cross[2].mean((1, 2, 3))


def reports(recipe, z, n):
    """StepReports of a run whose sampler changes nothing, with the same fields as ComfyUI makes them."""
    schedule = Schedule((*map(float, range(n, 0, -1)), 0.0), lambda p: n * (1 - p))
    work, made = recipe.start(schedule), []
    for i in recipe.active_steps(schedule).steps:
        done = work(
            z,
            lambda z: AttentionMaps({2: z.movedim(1, -1)}, (0, 1, 2, 3), (Span("l", 0, 4),)),
            (SubjectColumns(SubjectPhrase("dog", "dog"), {"l": (1,)}),),
            StepContext(i, n, schedule.sigmas[i], 1.0),
            lambda j: None,
        )
        z = done.z
        fields = [
            () if t is None else tuple(t.tolist())
            for t in (done.guided, done.success, done.rounds if done.guided is not None else None)
        ]
        made.append(StepReport(i, schedule.sigmas[i], (), (), tuple(done.updates.tolist()), *fields))
    return tuple(made)


def images(*means):
    return torch.stack([torch.full((4, 2, 2), m) for m in means])


def test_counters_of_real_sequences():
    """Attention 0.85 / 0.25 / -9 against 0.5 at step 1 and 0.8 at step 3, at most 6 rounds of + 0.1; no
    window.
    """
    recipe = Guide(
        objective=Bright(),
        start_percent=0,
        end_percent=0,
        max_rounds=6,
        step_size=StepSize(1.6, function="constant"),
        checkpoints=(Checkpoint(Moment(step=1), 0.5), Checkpoint(Moment(step=3), 0.8)),
    )
    first, second = reports(recipe, images(0.85, 0.25, -9.0), 5)
    # 0.25, 0.35, 0.45, and 0.55 satisfies but still moves: 4 rounds, then 0.65; there 0.65, 0.75, 0.85: 3
    # rounds.
    assert (first.guided, first.success, first.rounds) == (
        (False, True, True),
        (False, True, False),
        (0, 4, 6),
    )
    assert (second.guided, second.success, second.rounds) == (
        (False, True, True),
        (False, True, False),
        (0, 3, 6),
    )
    assert count((first, second)) == Counters(6, pytest.approx(4 / 6), 0.5, pytest.approx(19 / 6))


def test_rounds_without_a_test_are_no_checkpoints():
    """CONFORM's 20 iterations need nothing and reach nothing: they must not look like failures."""
    recipe = Guide(objective=Bright(), max_rounds=6, checkpoints=(Checkpoint(Moment(step=1), None),))
    steps = reports(recipe, images(0.3), 5)
    assert any(s.updates == (7,) for s in steps) and count(steps) is None
