"""Guidance in real runs: off is stock, on acts in its steps and nowhere else, methods meet in one order,
nothing is left behind.
"""

import json
import math
from dataclasses import replace

import pytest
import torch

from ..support.demo_model import PROMPT, SAMPLERS, empty, in_short, recording
from ..support.model_state import difference, state_of

SYNGEN = "SynGen (Rassin et al. 2023)"
STEPS, FEW = 4, 3
ENOUGH = {"steps": 10, "last_step": 6}  # every method's moments are among them


@pytest.fixture(scope="module")
def presets(pack_module):
    return pack_module("gsn_ops.optimise.methods")


@pytest.fixture(scope="module")
def attach(pack_module):
    return pack_module("gsn_ops.host.sampling.patch").attach


def guided(tiny, attach, presets, model=None, **changes):
    """SynGen on the embedded model, with steps of a size that it likes."""
    (recipe,) = presets.preset(SYNGEN)
    return attach(model or tiny.model, replace(recipe.scaled(0.2), report="curve", **changes))


@pytest.mark.parametrize(
    "changes",
    (
        {"strength": 0.0},
        {"start_percent": 0.4, "end_percent": 0.4},
        {"start_percent": 0.5, "end_percent": 0.2},
    ),
    ids=str,
)
def test_off_installs_nothing(tiny, attach, presets, changes):
    (recipe,) = presets.preset(SYNGEN)
    strength = changes.pop("strength", 1.0)
    model, _ = attach(tiny.model, replace(recipe, **changes).scaled(strength))
    assert not model.wrappers.get("outer_sample")
    assert torch.equal(tiny.sample(model, steps=STEPS), tiny.sample(steps=STEPS))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_window_that_no_step_of_the_run_is_in_is_stock_and_said(tiny, attach, presets, name):
    model, book = guided(tiny, attach, presets, tiny.light, start_percent=0.001, end_percent=0.002)
    expected = tiny.sample(tiny.light, name, steps=STEPS, denoise=0.4)
    assert torch.equal(tiny.sample(model, name, steps=STEPS, denoise=0.4), expected)
    assert "widen the window" in book.last().recipes[0].status


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_guided_in_the_window_and_draws_the_random_numbers_of_a_stock_run(
    tiny, attach, presets, name
):
    model, book = guided(tiny, attach, presets)
    seen, stock, small = [], [], empty(1, 8, 8)
    torch.manual_seed(5)
    out = tiny.sample(recording(model, seen), name, steps=FEW, latent=small)
    after = torch.get_rng_state()
    torch.manual_seed(5)
    plain = tiny.sample(recording(tiny.model, stock), name, steps=FEW, latent=small)
    assert torch.equal(torch.get_rng_state(), after)
    assert not torch.equal(out, plain)
    (action,) = book.find(out).recipes
    steps = [step.step for step in action.steps]
    assert steps == sorted(set(steps)) and steps[0] == 0 and action.forwards == action.backwards == len(steps)
    assert len([1 for _, _, gradients in seen if gradients]) == len(
        steps
    )  # one pass with gradients each, and no more
    if name != "dpm_adaptive":  # whose number of calls depends on the state
        assert len(seen) - len(steps) == len(stock)


@pytest.mark.parametrize("order", ((0, 1), (1, 0)), ids=("refine first", "guidance first"))
def test_two_methods_on_two_nodes_meet_in_one_order(tiny, attach, presets, order):
    """Refine, then SynGen, whichever node comes first: the same bits, and at the shared step the refinement
    comes first.
    """
    both = tiny.recipe(step=0), replace(presets.preset(SYNGEN)[0].scaled(0.2), report="curve")
    results = []
    for first, second in (both, tuple(both[i] for i in order)):
        model, _ = attach(tiny.model, first)
        model, book = attach(model, second)
        results.append(tiny.sample(model, steps=STEPS))
        actions = {action.method: action for action in book.find(results[-1]).recipes}
        assert actions[both[0].method].steps[0].step == actions[SYNGEN].steps[0].step == 0
    assert torch.equal(*results)
    together, _ = attach(tiny.model, *both)  # as one method of two recipes
    assert torch.equal(tiny.sample(together, steps=STEPS), results[0])


@pytest.fixture(scope="module")
def placed(tiny, pack_module):
    """The prompt with a box per subject, and something unwanted."""
    tools, regions, syntax = (
        pack_module(f"gsn_ops.{name}") for name in ("host.prompts.conditioning", "regions", "subjects.syntax")
    )
    conditioning = tiny.encode(PROMPT)
    for i, phrase in enumerate(("red circle", "blue square", "green triangle")):
        box = regions.Region(boxes=((i / 3, 0.2, (i + 1) / 3, 0.8),), point=((i + 0.5) / 3, 0.5))
        conditioning = tools.with_region(conditioning, syntax.parse_subjects(phrase), box)
    return conditioning


RELATED = "a red circle left of a blue square"


def shorter(recipe):
    return replace(in_short(recipe.scaled(0.1)), report="curve")


@pytest.mark.parametrize("part", range(5))
def test_published_methods_in_real_runs(tiny, attach, presets, placed, pack_module, part):
    """Each acts, gives the same bits twice if it has noises of its own, and leaves the model as it was."""
    unwanted = pack_module("gsn_ops.subjects.syntax").parse_subjects("circle, square, -triangle")
    stock, before = tiny.sample(**ENOUGH), state_of(tiny.model)
    for method in presets.METHODS[part::5]:
        if method == "FOCUS (2025)":  # flow models: test_saga_and_focus.py
            continue
        recipes = [shorter(recipe) for recipe in presets.preset(method)]
        model, book = attach(
            tiny.model, *(replace(r, subjects=unwanted) if "Neglect" in method else r for r in recipes)
        )
        positive = tiny.encode(RELATED) if "relations" in method else placed
        out = tiny.sample(model, **ENOUGH, positive=positive)
        acted = [action for action in book.find(out).recipes if action.steps]
        assert acted and torch.isfinite(out).all() and not torch.equal(out, stock), method
        assert all(math.isfinite(loss) for action in acted for row in action.losses for loss in row), method
        if hasattr(recipes[0], "final_iterations") or hasattr(recipes[0], "noises"):  # chance
            assert torch.equal(tiny.sample(model, **ENOUGH, positive=placed), out), method
    assert difference(before, state_of(tiny.model)) == {}
    assert torch.equal(tiny.sample(**ENOUGH), stock)


class Broken(Exception):
    pass


class UntilTheSecondLook:
    """A method's objective, which then does something else."""

    def __init__(self, objective, then):
        self.objective, self.needs, self.then, self.looks = objective, objective.needs, then, 0

    def __getattr__(self, name):
        return self._counted if name == "terms" else getattr(self.objective, name)

    def __call__(self, *args):
        return self._look(self.objective, *args)

    def _counted(self, *args):
        return self._look(self.objective.terms, *args)

    def _look(self, look, *args):
        self.looks += 1
        if self.looks == 2:
            self.then()
        return look(*args)


def fail():
    raise Broken


@pytest.mark.parametrize(
    "method", (SYNGEN, "Attend-and-Excite (Chefer et al. 2023)", "InitNO+ (Guo et al. 2024)", "SAGA (2026)")
)
@pytest.mark.parametrize("end", ("error", "cancel"))
def test_everything_is_as_before_after_an_error_or_a_cancel(tiny, attach, presets, method, end):
    import comfy.model_management as management

    stock, before = tiny.sample(steps=STEPS), state_of(tiny.model)
    then = fail if end == "error" else management.interrupt_current_processing
    recipes = [
        replace(recipe, objective=UntilTheSecondLook(recipe.objective, then), report="curve")
        for recipe in presets.preset(method)
    ]
    model, book = attach(tiny.model, *recipes)
    with pytest.raises(Broken if end == "error" else management.InterruptProcessingException):
        tiny.sample(model, steps=STEPS)
    assert len(book) == 0
    assert difference(before, state_of(tiny.model)) == {}
    assert torch.equal(tiny.sample(steps=STEPS), stock)


def test_numbers_of_a_run_in_the_report_and_as_json(tiny, attach, presets):
    """METHODS of the study: guidance rate, success rate, mean rounds, maxima per subject and step."""
    recipes = [
        replace(recipe.scaled(0.2), report="curve")
        for recipe in presets.preset("Attend-and-Excite (Chefer et al. 2023)")
    ]
    model, book = attach(tiny.model, *recipes)
    report = book.find(tiny.sample(model, steps=STEPS, latent=empty(2)))
    action = json.loads(report.to_json())["recipes"][0]
    assert set(action["counters"]) >= {"guidance_rate", "success_rate", "mean_rounds"}
    assert all(0 <= row[j] <= 1 for step in action["steps"] for row in step["maxima"] for j in range(3))
    assert len(action["steps"]) == len(report.recipes[0].steps) and len(action["steps"][0]["maxima"]) == 2
