"""VSF and Alternate Prompts: a negative prompt inside the attention, and prompts that take turns."""

import pytest
import torch

from ..support.demo_model import PROMPT, empty
from ..support.model_state import state_of
from ..support.networks import make

NEGATIVE = "a green star"


@pytest.fixture(scope="module")
def node(pack):
    """A function: what a node of this id returns."""

    def run(node_id: str, *args, **kwargs):
        found = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == node_id)
        with torch.inference_mode():
            return found.EXECUTE_NORMALIZED(*args, **kwargs).args

    return run


@pytest.fixture(scope="module")
def flip(tiny, node):
    """A function: (MODEL with a negative prompt, its book)."""

    def run(model=None, negative=NEGATIVE, **settings):
        return node("GSNFlippedNegative", model or tiny.model, tiny.encode(negative), **settings)

    return run


def flipped_by_hand(model, rows: int, alpha: float, beta: float):
    """MODEL whose attention to a text with `rows` more rows is VSF's, written out."""

    def override(func, q, k, v, heads, mask=None, **kwargs):
        if k.shape[1] != 77 + rows:
            return func(q, k, v, heads, mask, **kwargs)
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        scores[..., 77:] -= beta
        v = torch.cat((v[:, :, :77], -alpha * v[:, :, 77:]), 2)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    return model


@pytest.mark.parametrize(("alpha", "beta"), [(1.8, -0.1), (0.5, 1.0)])
def test_vsf_is_a_softmax_over_both_prompts_with_values_turned_round(tiny, flip, alpha, beta):
    model, book = flip(alpha=alpha, beta=beta)
    plain, found = tiny.sample(cfg=1.0, steps=3), tiny.sample(model, cfg=1.0, steps=3)
    ((rows, extra),) = tiny.encode(PROMPT)
    words = tiny.encode(NEGATIVE)[0][0][:, 1:4]  # without markers and padding
    longer = [[torch.cat((rows, words), 1), extra]]
    right = tiny.sample(flipped_by_hand(tiny.model, 3, alpha, beta), positive=longer, cfg=1.0, steps=3)
    assert (found - right).abs().max() < 0.005 * (right - plain).abs().max()
    assert f"'{NEGATIVE}' subtracted, alpha {alpha:g}" in book.find(found).recipes[0].status


@pytest.mark.parametrize(
    "settings", ({"alpha": 0.0}, {"negative": ""}, {"start_percent": 0.9999, "end_percent": 0.9999})
)
def test_vsf_off_is_the_plain_run(tiny, flip, settings):
    assert torch.equal(tiny.sample(flip(**settings)[0], steps=3), tiny.sample(steps=3))


def test_vsf_leaves_the_negative_pass_and_the_model_alone(tiny, flip):
    before, seen = state_of(tiny.model), []

    def run(model) -> dict:
        model = model.clone()
        model.set_model_sampler_post_cfg_function(lambda args: seen.append(args) or args["denoised"])
        tiny.sample(model, steps=1, latent=empty(2))
        return seen.pop()

    plain, flipped = run(tiny.model), run(flip()[0])
    assert (flipped["uncond_denoised"] - plain["uncond_denoised"]).abs().max() < 1e-4
    assert (flipped["cond_denoised"] - plain["cond_denoised"]).abs().max() > 0.01
    assert state_of(tiny.model) == before


def test_vsf_beside_a_longer_negative_prompt_of_the_sampler(tiny, flip, monkeypatch):
    """ComfyUI repeats the positive rows; the subtracted words count as often."""
    long = tiny.encode("a green star, " * 30)
    together = tiny.sample(flip()[0], negative=long, steps=3)
    monkeypatch.setattr(tiny.model.model, "memory_required", lambda *args, **kwargs: 1e30)
    apart = tiny.sample(flip()[0], negative=long, steps=3)
    assert (together - apart).abs().max() < 2e-4


def test_vsf_stacks_with_word_weight_and_gradients(tiny, flip, node):
    model, book = node("GSNWordWeight", flip()[0], "red circle: 1.5")
    both = tiny.sample(model)
    assert not torch.equal(both, tiny.sample(flip()[0]))
    assert "red circle 1.5" in book.find(both).recipes[1].status
    refined, refined_book = tiny.attach(flip()[0], step=1)
    found = tiny.sample(refined)
    assert sum(refined_book.find(found).recipes[0].updates) > 0
    twice, _ = flip(flip()[0], "a blue square")
    assert not torch.equal(tiny.sample(twice, steps=2), tiny.sample(flip()[0], steps=2))


def test_vsf_steps_aside_where_another_node_replaces_the_attention(tiny, flip):
    def replaced(q, k, v, extra):
        return torch.zeros_like(q)

    def patched(model):
        model = model.clone()
        model.set_model_attn2_replace(replaced, "middle", 0)
        return model

    plain, (model, book) = tiny.sample(patched(tiny.model), steps=2), flip()
    found = tiny.sample(patched(model), steps=2)
    assert torch.equal(found, plain)
    assert "another node replaces the attention" in book.find(found).recipes[0].status


@pytest.mark.parametrize("name", ("SD3", "Flux", "Qwen-Image", "PixArt-alpha", "HunyuanDiT"))
def test_vsf_is_refused_elsewhere_with_the_reason(tiny, flip, name):
    with pytest.raises(ValueError, match="VSF.* needs cross-attention.*Use Word Weight"):
        flip(make(name, tiny).model)


def test_vsf_acts_on_sdxl(tiny, node):
    made = make("SDXL", tiny)
    negative, _ = made.prompts(2, {})
    model, book = node("GSNFlippedNegative", made.model, negative)
    found = made.sample(model)
    assert not torch.equal(found, made.sample())
    assert "subtracted" in book.find(found).recipes[0].status


def test_bad_negative_prompts_and_numbers_are_refused(tiny, node, flip):
    with pytest.raises(ValueError, match="negative: .*negative conditioning"):
        node("GSNFlippedNegative", tiny.model, tiny.encode("a cat", plain=True))
    with pytest.raises(ValueError, match="alpha is -1: choose 0"):
        flip(alpha=-1.0)
    with pytest.raises(ValueError, match="The window is 0.5 to 0.2"):
        flip(start_percent=0.5, end_percent=0.2)
    wide = [[torch.randn(1, 77, 7), tiny.encode(NEGATIVE)[0][1]]]
    with pytest.raises(ValueError, match="rows have 7 numbers and the prompt's 64: encode both"):
        tiny.sample(node("GSNFlippedNegative", tiny.model, wide)[0], steps=1)


# Alternate Prompts


def turns_of(tiny, conditioning, model=None, **run) -> list[str]:
    """Which prompt the first pass of each step was given: r(eal) or s(tand-in). It is the last before the
    callback: further passes come after it.
    """
    real, steps, passes = tiny.encode(PROMPT)[0][0], [], []

    def seen(apply, args):
        role = args["cond_or_uncond"].index(0)
        rows = args["c"]["c_crossattn"].chunk(len(args["cond_or_uncond"]))[role]
        passes.append("r" if torch.equal(rows[:1], real) else "s")
        return apply(args["input"], args["timestep"], **args["c"])

    model = (model or tiny.model).clone()
    model.set_model_unet_function_wrapper(seen)

    def next_step(step, *_):
        steps.append(passes[-1])
        passes.clear()

    tiny.sample(model, positive=conditioning, callback=next_step, **run)
    return steps


@pytest.mark.parametrize("sampler", ("euler", "dpmpp_2m", "heun", "dpm_2", "euler_ancestral"))
@pytest.mark.parametrize("scheduler", ("normal", "karras", "simple"))
def test_prompts_take_turns_until_the_switch(tiny, node, sampler, scheduler):
    """ComfyUI gives dpm_2 the levels of one step more, without the last but one."""
    stand_in, steps = tiny.encode(NEGATIVE), 9 if sampler == "dpm_2" else 8
    (made,) = node(
        "GSNAlternatePrompts", tiny.model, stand_in, tiny.encode(PROMPT), steps, scheduler, switch_step=4
    )
    seen = turns_of(tiny, made, sampler=sampler, scheduler=scheduler, steps=8)
    assert "".join(seen) == "srsrrrrr"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"switch_step": 6, "every": 3}, "srrsrr"),
        ({"switch_step": 1}, "srrrrr"),
        ({"switch_step": 99}, "srsrsr"),
        ({"switch_step": 0}, "rrrrrr"),
    ],
)
def test_other_switches(tiny, node, settings, expected):
    (made,) = node(
        "GSNAlternatePrompts", tiny.model, tiny.encode(NEGATIVE), tiny.encode(PROMPT), 6, **settings
    )
    assert "".join(turns_of(tiny, made, steps=6)) == expected
    if set(expected) == {"r"}:
        assert torch.equal(tiny.sample(positive=made), tiny.sample())


def test_the_levels_of_custom_sampling_and_of_a_flow_model(tiny, node):
    import comfy.samplers

    sigmas = torch.tensor([0.9, 0.7, 0.6, 0.2, 0.0])
    made = make("SD3", tiny)
    positive, negative = made.prompts(None, {})
    (found,) = node("GSNAlternatePrompts", made.model, negative, positive, 20, switch_step=2, sigmas=sigmas)
    shift = made.model.get_model_object("model_sampling").percent_to_sigma
    ranges = [(shift(extra["start_percent"]), shift(extra["end_percent"])) for _, extra in found]
    kinds = ["gsn" in extra for _, extra in found]
    assert kinds == [False, True]
    assert ranges[0][0] > 0.9 > ranges[0][1] > 0.7 and ranges[1][1] == comfy.samplers.torch.tensor(0.0)


def test_a_range_that_a_prompt_has_is_kept(tiny, node):
    ((rows, extra),) = tiny.encode(NEGATIVE)
    late = [[rows, {**extra, "start_percent": 0.9, "end_percent": 1.0}]]
    (made,) = node("GSNAlternatePrompts", tiny.model, late, tiny.encode(PROMPT), 6, switch_step=3)
    real = tiny.encode(PROMPT)[0][1]["gsn"]
    assert [extra["gsn"] is real for _, extra in made] == [True] * 2


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"switch_step": -1}, "switch_step is -1: choose 0"),
        ({"every": 1}, "every is 1: choose 2 or more"),
        ({"scheduler": "magic"}, "scheduler is 'magic': choose one of"),
        ({"sigmas": torch.ones(1)}, "sigmas has no step"),
    ],
)
def test_bad_numbers_are_refused_with_the_cure(tiny, node, settings, cause):
    prompts = tiny.encode(NEGATIVE), tiny.encode(PROMPT)
    with pytest.raises(ValueError) as error:
        node("GSNAlternatePrompts", tiny.model, *prompts, **{"steps": 6, **settings})
    assert cause in str(error.value)
