"""Word boost in Semantic Nursing: what it raises, in which images and passes, and what stays as it is."""

import pytest
import torch

from ..support.demo_model import empty
from ..support.model_state import state_of
from ..support.networks import make

BOOST, FAST = "Word boost (no gradients)", "Latent Refine (fast)"
EARLY = "threshold=1, end_percent=1"  # every subject lacks something, in all passes after the first


@pytest.fixture(scope="module")
def nurse(tiny, pack):
    """A function: (MODEL with a method, its book)."""
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNNursing")

    def run(model=None, method=BOOST, **settings):
        with torch.inference_mode():
            patched, _, book = node.EXECUTE_NORMALIZED(model or tiny.model, method=method, **settings).args
        return patched, book

    return run


@pytest.fixture(scope="module")
def plain(tiny):
    return tiny.sample()


def found(book, latent):
    (recipe,) = book.find(latent).recipes
    return recipe


def test_a_subject_that_lacks_is_raised_and_the_report_says_which(tiny, nurse, plain):
    model, book = nurse(overrides=EARLY)
    latent = tiny.sample(model)
    recipe = found(book, latent)
    assert not torch.equal(latent, plain)
    assert "more attention for red circle" in recipe.status
    (look,) = recipe.steps
    assert look.step == 0 and all(0 < peak < 1 for peak in look.maxima[0])
    before, after = recipe.maps_before.float().mean((2, 3)), recipe.maps_after.float().mean((2, 3))
    assert (after > before).all()


@pytest.mark.parametrize("overrides", ("threshold=0.0001", "gain=0", "start_percent=0.9999, end_percent=1"))
def test_where_nothing_is_to_be_raised_the_run_is_the_plain_one(tiny, nurse, plain, overrides):
    model, book = nurse(overrides=overrides)
    assert torch.equal(tiny.sample(model), plain)
    if "threshold" in overrides:
        assert "no subject lacks attention, a plain run" in book.last().recipes[0].status


def test_a_window_of_a_single_pass_is_said_with_the_cure_first(tiny, nurse):
    model, book = nurse(overrides="threshold=1, end_percent=0.001")
    recipe = found(book, tiny.sample(model))
    assert "did not act, subjects lack attention, but no later pass" in recipe.status
    assert recipe.line.startswith("Did not act: raise end_percent, or use more steps")


def test_each_image_gets_its_own_factors_and_one_that_lacks_nothing_keeps_its_bits(tiny, nurse):
    stock = tiny.sample(latent=empty(3))
    model, book = nurse(overrides=EARLY)
    weakest = [min(row) for row in found(book, tiny.sample(model, latent=empty(3))).steps[0].maxima]
    low, middle, high = sorted(weakest)
    threshold = (low + middle) / 2
    model, book = nurse(overrides=f"threshold={threshold}, end_percent=1, look=once")
    latent = tiny.sample(model, latent=empty(3))
    changed = [not torch.equal(a, b) for a, b in zip(latent, stock, strict=True)]
    assert changed == [peak < threshold for peak in weakest] and sum(changed) == 1
    assert " in 1 of 3 images" in found(book, latent).status


def test_it_is_a_word_weight_of_this_size_after_the_look(tiny, nurse, pack):
    """exp(gain * lack) is a word weight of 1 + gain * lack / strength."""
    model, book = nurse(subjects="red circle", overrides="gain=2, threshold=1, end_percent=1, look=once")
    latent = tiny.sample(model, steps=3)
    ((peak,),) = found(book, latent).steps[0].maxima
    weight = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNWordWeight")
    with torch.inference_mode():
        settings = {"start_percent": 0.05, "strength": 2.0}
        other, _ = weight.EXECUTE_NORMALIZED(tiny.model, f"red circle: {2 - peak:.9f}", **settings).args
    right = tiny.sample(other, steps=3)
    assert (latent - right).abs().max() < 0.01 * (right - tiny.sample(steps=3)).abs().max()


def test_passes_before_and_after_the_window_are_the_stock_ones(tiny, nurse):
    def course(model=None):
        seen = []
        tiny.sample(model, callback=lambda step, x0, x, total: seen.append(x0))
        return seen

    stock, late = course(), course(nurse(overrides="threshold=1, start_percent=0.5, end_percent=1")[0])
    same = [torch.equal(a, b) for a, b in zip(stock, late, strict=True)]
    assert same[:3] == [True] * 3 and not same[-1] and same == sorted(same, reverse=True)


def test_every_pass_can_be_looked_at(tiny, nurse):
    always, _ = nurse(overrides=EARLY)
    once, _ = nurse(overrides=f"{EARLY}, look=once")
    first, second = tiny.sample(once), tiny.sample(always)
    assert not torch.equal(first, second) and torch.equal(tiny.sample(always), second)


def test_words_that_are_typed_decide_and_unwanted_ones_are_left_alone(tiny, nurse):
    model, book = nurse(subjects="blue square, -red circle", overrides=EARLY)
    recipe = found(book, tiny.sample(model))
    assert recipe.subjects == ("blue square",) and "red circle" not in recipe.status
    with pytest.raises(ValueError, match="'zebra' is not in the prompt.*a, red, circle, blue"):
        tiny.sample(nurse(subjects="zebra")[0])


def test_a_prompt_without_subjects_runs_as_it_is_and_says_so(tiny, nurse):
    model, book = nurse(overrides=EARLY)
    positive = tiny.encode("so very much")
    latent = tiny.sample(model, positive=positive)
    assert torch.equal(latent, tiny.sample(positive=positive))
    assert "did not act, no subjects found in the prompt" in found(book, latent).status


def test_a_longer_negative_prompt_changes_neither_the_look_nor_the_effect(tiny, nurse):
    long = tiny.encode("a green star, " * 30)
    model, book = nurse(overrides=EARLY)
    short = found(book, tiny.sample(model, steps=2)).steps[0].maxima[0]
    latent = tiny.sample(model, negative=long, steps=2)
    assert found(book, latent).steps[0].maxima[0] == pytest.approx(short, abs=1e-4)
    assert not torch.equal(latent, tiny.sample(negative=long, steps=2))


def test_it_stacks_with_a_method_of_gradients_and_cleans_up(tiny, nurse, plain):
    before = state_of(tiny.model)
    boosted, first = nurse(overrides=EARLY)
    both, second = nurse(boosted, FAST, at_step=1)
    latent = tiny.sample(both)
    assert sum(second.find(latent).recipes[0].updates) > 0
    assert "more attention for" in first.find(latent).recipes[0].status
    assert not torch.equal(latent, tiny.sample(boosted)) and torch.equal(tiny.sample(both), latent)

    def cancel(step, x0, x, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.sample(boosted, callback=cancel)
    assert state_of(tiny.model) == before and torch.equal(tiny.sample(), plain)


@pytest.mark.parametrize(
    "name", ("SD1", "SDXL", "SD3", "Flux", "Z-Image", "Qwen-Image", "Krea 2", "PixArt-alpha", "HunyuanDiT")
)
def test_it_looks_and_acts_on_other_architectures(tiny, nurse, name):
    made = make(name, tiny)
    stock = made.sample(steps=2, batch=2)
    model, book = nurse(made.model, overrides=EARLY)
    latent = made.sample(model, steps=2, batch=2)
    assert "red cat in 2 of 2 images" in found(book, latent).status
    assert not torch.equal(latent, stock) and torch.equal(made.sample(steps=2, batch=2), stock)


@pytest.mark.parametrize(
    ("overrides", "cause"),
    [
        ("gain=-1", "gain is -1: choose 0 (off) to 20"),
        ("threshold=0", "threshold is 0: choose more than 0"),
        ("start_percent=0.5, end_percent=0.2", "The window is 0.5 to 0.2"),
        ("look=sometimes", "look is 'sometimes': choose once or every pass"),
        ("blocks=first", "blocks is 'first': write auto"),
        ("levels=x", "levels is 'x': write auto"),
        ("much=3", "there is no setting 'much'. Keys: gain"),
    ],
)
def test_bad_settings_are_refused_with_the_cure(nurse, overrides, cause):
    with pytest.raises(ValueError) as error:
        nurse(overrides=overrides)
    assert cause in str(error.value)
