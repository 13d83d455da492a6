"""The node Word Weight on the demo model, and what else may be in the same run."""

import pytest
import torch

from ..support.demo_model import PROMPT, empty
from ..support.model_state import state_of

CLOSE = 2e-4


@pytest.fixture(scope="module")
def weigh(tiny, pack):
    """A function: (MODEL with these weights, its book)."""
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNWordWeight")

    def run(weights: str, model=None, **settings):
        with torch.inference_mode():
            return node.EXECUTE_NORMALIZED(model or tiny.model, weights, **settings).args

    return run


@pytest.fixture(scope="module")
def plain(tiny):
    return tiny.sample()


@pytest.fixture(scope="module")
def weighted(tiny, weigh):
    return tiny.sample(weigh("red circle: 1.5")[0])


def difference(a, b) -> float:
    return (a - b).abs().max().item()


@pytest.mark.parametrize("sampler", ("euler", "dpmpp_2m_sde", "uni_pc"))
@pytest.mark.parametrize(
    "weights, settings",
    [
        ("", {}),
        ("red circle: 1", {}),
        ("blue square: 1.0, triangle: 1", {}),
        ("circle: 2", {"strength": 0.0}),
        ("circle: 2", {"start_percent": 0.9999, "end_percent": 0.9999}),
        ("circle: 2", {"blocks": "90-99"}),
    ],
)
def test_weights_that_change_nothing_give_the_plain_bits(tiny, weigh, sampler, weights, settings):
    model, _ = weigh(weights, **settings)
    assert torch.equal(tiny.sample(model, sampler, steps=3), tiny.sample(sampler=sampler, steps=3))


def test_the_same_seed_gives_the_same_bits_and_the_next_run_is_plain(tiny, weigh, plain, weighted):
    before = state_of(tiny.model)
    assert torch.equal(tiny.sample(weigh("red circle: 1.5")[0]), weighted)
    assert difference(weighted, plain) > 0.05
    assert torch.equal(tiny.sample(), plain) and state_of(tiny.model) == before


@pytest.mark.parametrize(
    ("weights", "less"),
    [("blue square: 0", "blue square: 1.5"), ("square: -1", "square: 2"), ("red: 0.5", "red: 2")],
)
def test_the_report_tells_each_words_attention_without_and_with_its_weight(tiny, weigh, weights, less):
    for text, rises in ((weights, False), (less, True)):
        model, book = weigh(text)
        latent = tiny.sample(model, latent=empty(2))
        (recipe,) = book.find(latent).recipes
        (word,) = recipe.subjects
        assert text.startswith(word) and f"{word} {text.split(': ')[1]}" in recipe.status
        before, after = recipe.maps_before.float().mean((2, 3)), recipe.maps_after.float().mean((2, 3))
        assert before.shape == (2, 1)
        if "-" not in text:  # a subtracted word keeps its probability
            assert ((after > before) == rises).all()


def test_a_window_acts_in_its_steps_only(tiny, weigh, plain):
    seen = []
    early, book = weigh("red circle: 2", end_percent=0.3)
    tiny.sample(early, callback=lambda step, x0, x, total: seen.append(x0))
    (recipe,) = book.last().recipes
    assert recipe.step == 0 and 0 < int(recipe.status.split(" passes")[0].split()[-1]) < 6
    late, _ = weigh("red circle: 2", start_percent=0.5)
    first = []
    tiny.sample(late, callback=lambda step, x0, x, total: first.append(x0))
    stock = []
    tiny.sample(callback=lambda step, x0, x, total: stock.append(x0))
    assert torch.equal(first[0], stock[0]) and not torch.equal(first[-1], stock[-1])
    assert not torch.equal(seen[0], stock[0])


def test_a_word_that_is_not_there_is_named_with_the_words_that_are(tiny, weigh):
    with pytest.raises(ValueError, match="The word 'zebra' is not in the prompt.*a, red, circle, blue"):
        tiny.sample(weigh("red circle: 2, zebra: 1.5")[0])
    with pytest.raises(ValueError, match="'circle#2' is not in the prompt: .*only 1 time"):
        tiny.sample(weigh("circle#2: 1.5")[0])


@pytest.mark.parametrize(
    ("weights", "settings", "cause"),
    [
        ("red circle", {}, "'red circle' cannot be read. Write each word with its weight"),
        ("circle: lots", {}, "'circle: lots' cannot be read"),
        (": 1.5", {}, "': 1.5' cannot be read"),
        ("circle: 9", {}, "the weight 9; choose -2 to 3"),
        ("-circle: 1", {}, "Write circle: -1"),
        ("circle: 2", {"blocks": "first"}, "blocks is 'first': write auto"),
        ("circle: 2", {"start_percent": 0.6, "end_percent": 0.2}, "The window is 0.6 to 0.2"),
        ("circle: 2", {"strength": -1.0}, "strength is -1"),
    ],
)
def test_bad_settings_are_refused_with_the_cure(weigh, weights, settings, cause):
    with pytest.raises(ValueError) as error:
        weigh(weights, **settings)
    assert cause in str(error.value)


def test_a_cancelled_run_leaves_nothing_behind(tiny, weigh, plain):
    before = state_of(tiny.model)

    def cancel(step, x0, x, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.sample(weigh("circle: 2")[0], callback=cancel)
    assert state_of(tiny.model) == before and torch.equal(tiny.sample(), plain)


# Prompts


def test_a_longer_negative_prompt_repeats_the_positive_and_every_copy_is_weighted(tiny, weigh, monkeypatch):
    """Both in one batch, against each in a batch of its own."""
    long = tiny.encode("a green star, " * 30)
    assert long[0][0].shape[1] > tiny.encode(PROMPT)[0][0].shape[1]
    model, book = weigh("red circle: 1.8")
    together = tiny.sample(model, negative=long, steps=3)
    assert book.last().recipes[0].step == 0
    monkeypatch.setattr(tiny.model.model, "memory_required", lambda *args, **kwargs: 1e30)
    apart = tiny.sample(weigh("red circle: 1.8")[0], negative=long, steps=3)
    assert difference(together, apart) < CLOSE
    assert difference(apart, tiny.sample(negative=long, steps=3)) > 0.02


def test_each_of_several_prompts_is_weighted_by_its_own_words(tiny, weigh):
    """Two prompts over the whole image: the word is in the second; the first is predicted as before."""
    one, two = tiny.encode("a green star"), tiny.encode("a red circle")
    model, book = weigh("red circle: 1.8")
    found = tiny.sample(model, positive=[*one, *two], steps=3)
    assert book.find(found).recipes[0].subjects == ("red circle",)
    swapped = tiny.sample(model, positive=[*two, *one], steps=3)
    assert difference(found, swapped) < CLOSE
    with pytest.raises(ValueError, match="'blue square' is not in the prompt"):
        tiny.sample(weigh("blue square: 1.8")[0], positive=[*one, *two])


def test_a_prompt_for_an_area_does_not_weigh_the_copy_that_fills_its_area(tiny, weigh):
    """ComfyUI gives the negative prompt a copy of the area, under the same id."""
    (rows, extra) = tiny.encode("a red circle")[0]
    area = [[rows, {**extra, "area": (8, 8, 0, 0)}]]
    seen = []

    def run(model):
        model = model.clone()
        model.set_model_sampler_post_cfg_function(lambda args: seen.append(args) or args["denoised"])
        tiny.sample(model, positive=[*tiny.encode("a green star"), *area], steps=1)
        return seen.pop()

    stock, ours = run(tiny.model), run(weigh("red circle: 2")[0])
    assert torch.equal(ours["uncond_denoised"], stock["uncond_denoised"])
    assert not torch.equal(ours["cond_denoised"], stock["cond_denoised"])


# Other packs and nodes in the same run


def test_two_nodes_add_up(tiny, weigh):
    first, book = weigh("red circle: 1.5")
    both, other = weigh("blue square: 0.5", first)
    assert difference(tiny.sample(both), tiny.sample(weigh("red circle: 1.5, blue square: 0.5")[0])) < CLOSE
    assert len(book.last().recipes) == len(other.last().recipes) == 2


def with_override(model, override):
    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    return model


def test_another_packs_kernel_stays_in_force_and_is_never_given_wider_heads(tiny, weigh, weighted):
    widths = set()

    def kernel(func, q, k, v, heads, mask=None, *args, **kwargs):
        assert "scale" not in kwargs  # as Sage Attention 3, which ignores it
        width = q.shape[-1] if kwargs.get("skip_reshape") else q.shape[-1] // heads
        assert v.shape[-1] in (width, width * heads)
        widths.add(width)
        return func(q, k, v, heads, mask, *args, **kwargs)

    ours = tiny.sample(weigh("red circle: 1.5", with_override(tiny.model, kernel))[0])
    assert difference(ours, weighted) < CLOSE
    stock = set(widths)
    widths.clear()
    tiny.sample(with_override(tiny.model, kernel))
    assert widths == stock


def test_a_pack_that_changes_the_number_of_images_is_passed_through_and_reported(tiny, weigh):

    def one_more(apply, args):
        x, t, text = (
            torch.cat((a, a[:1])) for a in (args["input"], args["timestep"], args["c"]["c_crossattn"])
        )
        return apply(x, t, **{**args["c"], "c_crossattn": text})[:-1]

    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(one_more)
    ours, book = weigh("red circle: 1.5", model)
    assert torch.equal(tiny.sample(ours), tiny.sample(model))
    status = book.last().recipes[0].status
    assert "did not act, another node changes the number of images" in status


def test_guidance_1_and_normalized_attention_guidance(tiny, weigh):
    from comfy_extras.nodes_nag import NAGuidance

    model, _ = weigh("red circle: 1.8")
    assert difference(tiny.sample(model, cfg=1.0), tiny.sample(cfg=1.0)) > 0.02
    nag = NAGuidance.execute(tiny.model, 5.0, 0.5, 1.5)[0]
    ours, book = weigh("red circle: 1.8", nag)
    with_nag = tiny.sample(ours, cfg=1.0)
    assert torch.isfinite(with_nag).all() and difference(with_nag, tiny.sample(nag, cfg=1.0)) > 0.02
    assert "did not act" not in book.find(with_nag).recipes[0].status


def test_words_that_a_wildcard_did_not_draw_are_left_out(tiny, weigh, weighted):
    model, book = weigh("cat?: 2, red circle: 1.5")
    assert torch.equal(tiny.sample(model), weighted)
    assert "'cat' is not in the prompt: left out" in book.last().warnings
    model, book = weigh("cat?: 2")
    assert torch.equal(tiny.sample(model, steps=3), tiny.sample(steps=3))
    assert book.last().recipes[0].status == "Word Weight: did not act, none of its words is in the prompt"


def test_c7_remarks_stand_in_the_line_of_word_weight(tiny, pack_module, weigh, monkeypatch):
    lines = []
    monkeypatch.setattr(pack_module("nodes.weights"), "status_reporter", lambda node: lines.append)
    tiny.sample(weigh("red circle: 1.5, circle: 0.5")[0], steps=2)
    assert lines[-1].endswith("passes. Note: 'circle' and 'red circle' are the same word of the prompt")
