"""Auto: a look at the run's own passes decides; then Word boost, then update steps within the budget."""

import pytest
import torch

from ..support.demo_model import empty
from ..support.model_state import state_of

FAST = "Latent Refine (fast)"
EVER = "stop_at_presence=0, present_at=1"  # every subject lacks something, and updates go on
NEVER = "present_at=0.0001"  # nothing ever lacks anything


@pytest.fixture(scope="module")
def nurse(tiny, pack):
    """A function: (MODEL with a method, its book, the lines on the node)."""
    inner = tiny.module("nodes.nursing")
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNNursing")

    def run(**settings):
        lines, reporter = [], inner.status_reporter
        inner.status_reporter = lambda cls: lines.append
        try:
            with torch.inference_mode():
                patched, _, book = node.EXECUTE_NORMALIZED(tiny.model, **settings).args
        finally:
            inner.status_reporter = reporter
        return patched, book, lines

    return run


@pytest.fixture(scope="module")
def plain(tiny):
    return tiny.sample()


def test_it_is_the_default_and_looks_boosts_and_updates_within_the_budget(tiny, nurse, plain):
    model, book, lines = nurse(overrides=EVER, at_step=2)
    latent = tiny.sample(model)
    (recipe,) = book.find(latent).recipes
    assert recipe.method == "Auto" and recipe.updates == (6,)  # 12 passes
    assert (recipe.forwards, recipe.backwards, recipe.cost) == (6, 6, 1.0)
    assert not torch.equal(latent, plain)
    assert lines[0].endswith("; at step 2 of 6; up to +1 images"), lines
    assert "more attention for red circle" in recipe.status
    assert "; cost +1 images" in lines[-1] and len(lines[-1]) <= 90, lines


def test_where_the_look_finds_every_subject_the_run_is_the_plain_one(tiny, nurse, plain):
    model, book, lines = nurse(overrides=NEVER, at_step=2)
    assert torch.equal(tiny.sample(model), plain)
    (recipe,) = book.last().recipes
    assert (recipe.forwards, recipe.backwards, recipe.step) == (0, 0, None)
    assert lines[-1] == "all subjects are present, a plain run" and recipe.maxima_before
    assert recipe.subjects == ("red circle", "blue square", "green triangle")


def test_each_image_is_looked_at_for_itself(tiny, nurse):
    stock = tiny.sample(latent=empty(3))
    looked = nurse(overrides=f"{NEVER}, gain=0", at_step=2)
    tiny.sample(looked[0], latent=empty(3))
    weakest = [min(row) for row in looked[1].last().recipes[0].maxima_before]
    low, middle, _ = sorted(weakest)
    model, book, lines = nurse(
        overrides=f"stop_at_presence=0, present_at={(low + middle) / 2}, gain=0, shifts=2", at_step=1
    )
    latent = tiny.sample(model, latent=empty(3))
    changed = [not torch.equal(a, b) for a, b in zip(latent, stock, strict=True)]
    assert changed == [peak == low for peak in weakest]
    assert sorted(book.find(latent).recipes[0].updates) == [0, 0, 2]


@pytest.mark.parametrize(
    "cfg, budget, updates", ((1.0, 1.0, 3), (1.0, 0.4, 1), (7.5, 0.5, 3), (7.5, 20.0, 15), (7.5, 2.0, 11))
)
def test_a_budget_is_never_exceeded(tiny, nurse, cfg, budget, updates):
    model, book, _ = nurse(overrides=f"{EVER}, gain=0", at_step=1, budget=budget)
    recipe = book.find(tiny.sample(model, cfg=cfg)).recipes[0]
    assert recipe.updates == (updates,) and recipe.cost <= budget + 1e-6
    assert (recipe.predicted_before is not None) == (budget >= 2 and cfg > 1)
    assert recipe.maps_before is not None and recipe.maps_after is not None  # of looks, which cost nothing


def test_without_a_budget_for_an_update_step_word_boost_acts_alone(tiny, nurse, plain):
    model, book, lines = nurse(overrides=EVER, budget=0.0)
    boosted = tiny.sample(model)
    assert lines[0] == (
        "red circle, blue square, green triangle; Word boost alone, an update step costs 2 passes, more than "
        "the budget: raise budget"
    )
    recipe = book.find(boosted).recipes[0]
    assert not torch.equal(boosted, plain) and (recipe.forwards, recipe.cost) == (0, 0)
    assert lines[-1].startswith("no update steps: raise budget (an update step costs 2 passes"), lines
    assert "); more attention for red circle, " in lines[-1]
    alone = nurse(method="Word boost (no gradients)", overrides="threshold=1")[0]
    assert torch.equal(boosted, tiny.sample(alone))


def test_what_cannot_act_is_said_before_the_first_pass(tiny, nurse, plain):
    model, _, lines = nurse(overrides="gain=0", budget=0.1)
    assert torch.equal(tiny.sample(model, cfg=1.0), plain) or lines  # the plain run of this cfg
    assert torch.equal(tiny.sample(model, cfg=1.0), tiny.sample(cfg=1.0))
    assert (
        lines[0] == lines[-1] == "Skipped: raise budget (an update step costs 2 passes, more than the budget)"
    )


def test_without_looks_it_is_the_fast_method(tiny, nurse):
    fast = nurse(
        method=FAST, at_step=0, report_level="numbers only", overrides="shifts=2, stop_at_presence=0"
    )
    auto = nurse(at_step=0, report_level="numbers only", overrides="shifts=2, stop_at_presence=0, gain=0")
    one, other = tiny.sample(fast[0], latent=None), tiny.sample(auto[0])
    losses = [book.last().recipes[0].losses for _, book, _ in (fast, auto)]
    assert losses[0] == losses[1] and not torch.equal(one, other)  # the first state keeps its length


def test_the_first_state_keeps_the_length_of_its_noise(tiny, nurse):
    stock, seen = {}, {}
    model, _, _ = nurse(at_step=0, overrides=f"{EVER}, gain=0, shifts=3")
    tiny.sample(model, callback=lambda step, x0, x, total: seen.setdefault(step, x.clone()))
    tiny.sample(callback=lambda step, x0, x, total: stock.setdefault(step, x.clone()))
    before, after = stock[0], seen[3]  # the bar counts 3 update steps before the first step
    assert not torch.equal(before, after)
    assert after.norm() == pytest.approx(float(before.norm()), rel=1e-4)


def test_off_is_stock_and_the_model_is_as_it_was(tiny, nurse, plain):
    before = state_of(tiny.model)
    for settings in ({"strength": 0.0}, {"overrides": "shifts=0"}):
        assert torch.equal(tiny.sample(nurse(**settings)[0]), plain)
    tiny.sample(nurse(overrides=EVER, at_step=1)[0])
    assert state_of(tiny.model) == before
    assert torch.equal(tiny.sample(), plain)


def test_another_method_says_that_it_has_no_budget(nurse, tiny):
    _, _, lines = nurse(method=FAST, budget=0.5, at_step=1, overrides="shifts=1")
    model, _, lines = nurse(method=FAST, budget=0.5, at_step=1, overrides="shifts=1")
    tiny.sample(model)
    assert "budget is not used by this method" in lines[-1]


@pytest.mark.parametrize("steps", (3, 6, 20))
def test_a_second_pass_over_an_image_is_left_alone_and_says_why(tiny, nurse, steps):
    """With few steps as with many: its subjects are decided."""
    image = {"latent": torch.full((1, 4, 16, 16), 0.3), "denoise": 0.3, "steps": steps}
    model, _, lines = nurse(overrides=EVER)
    assert torch.equal(tiny.sample(model, **image), tiny.sample(**image))
    assert "is not in this run" in lines[-1] and lines[-1].startswith("Skipped: raise denoise"), lines


def test_a_later_look_does_not_change_what_was_decided_at_the_step(tiny, nurse, plain, monkeypatch):
    """Said was "its step was not reached", of a run that was left alone there."""
    looks = []

    def lacking_later(peaks, threshold):
        looks.append(peaks)
        return torch.zeros_like(peaks) if len(looks) == 1 else torch.ones_like(peaks)

    monkeypatch.setattr(tiny.module("gsn_ops.host.sampling.boost_of_run"), "lacking", lacking_later)
    model, book, lines = nurse(overrides="gain=0", at_step=1)
    assert torch.equal(tiny.sample(model), plain) and len(looks) > 1
    assert lines[-1] == "all subjects are present, a plain run" and book.last().recipes[0].maxima_before
    looks.clear()
    model, _, lines = nurse(at_step=1)
    assert not torch.equal(tiny.sample(model), plain)
    assert lines[-1].startswith("more attention for ") and "no update steps" not in lines[-1], lines


@pytest.mark.parametrize("cfg, updates", ((1.0, 3), (7.5, 4)))
def test_two_prompts_at_once_cost_twice_as_much_and_the_budget_knows(tiny, host, nurse, cfg, updates):
    """An update step is a forward and a backward pass of each."""
    model, book, lines = nurse(overrides=f"{EVER}, gain=0", at_step=1)
    (both,) = host.ConditioningCombine().combine(tiny.encode("a red circle"), tiny.encode("a blue square"))
    recipe = book.find(tiny.sample(model, positive=both, cfg=cfg)).recipes[0]
    assert recipe.updates == (updates,) and (recipe.forwards, recipe.backwards) == (2 * updates, 2 * updates)
    plain = 6 * (2 if cfg == 1 else 3)
    assert recipe.cost == pytest.approx(4 * updates / plain, abs=1e-3) and recipe.cost <= 1
    told = f"{recipe.cost:.2g}"
    assert lines[0].endswith(f"; up to +{told} images") and f"; cost +{told} images" in lines[-1], lines


def test_prompts_that_take_turns_cost_as_one(tiny, host, nurse):
    halves = [
        host.ConditioningSetTimestepRange().set_range(tiny.encode("a red circle"), *part)[0]
        for part in ((0.0, 0.5), (0.5, 1.0))
    ]
    (turns,) = host.ConditioningCombine().combine(*halves)
    model, book, _ = nurse(overrides=f"{EVER}, gain=0", at_step=1)
    recipe = book.find(tiny.sample(model, positive=turns, cfg=1.0)).recipes[0]
    assert (recipe.updates, recipe.forwards, recipe.cost) == ((3,), 3, 1.0)
