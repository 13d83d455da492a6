"""The node Prompt-to-Prompt on the demo models: what it keeps, what it changes, and what it refuses."""

import pytest
import torch

from gsn_ops.judge.demo_detector import detect
from tools.study.embedded import images_of

from ..support.demo_model import SAMPLERS, Tiny, empty
from ..support.model_state import state_of

CLOSE = 2e-4
SOURCE, TARGET = "a red circle and a blue square", "a red star and a blue square"
BLUE = "a blue circle"


@pytest.fixture(scope="module")
def node(pack):
    return next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNPromptToPrompt")


@pytest.fixture(scope="module")
def pair(tiny, node):
    """A function: what the node gives for two texts."""

    def run(
        source: str = SOURCE, target: str | None = TARGET, demo=tiny, latent=None, model=None, **settings
    ):
        with torch.inference_mode():
            given = {"samples": empty()} if latent is None else latent
            to = None if target is None else demo.encode(target)
            return node.EXECUTE_NORMALIZED(
                model or demo.model, demo.encode(source), given, target=to, **settings
            ).args

    return run


def noise_of(latent: dict, seed: int = 3):
    """The noise that ComfyUI's samplers make for this latent."""
    import comfy.sample

    with torch.inference_mode():
        return comfy.sample.prepare_noise(latent["samples"], seed, latent["batch_index"])


def sample(tiny, made, model=None, **run):
    """A run of the node's outputs, as a KSampler makes it."""
    patched, positive, latent, _ = made
    run = {"positive": positive, "latent": latent["samples"], "noise": noise_of(latent), **run}
    return tiny.sample(model or patched, **run)


def difference(a, b) -> float:
    return (a - b).abs().max().item()


def test_the_source_is_the_image_of_its_own_run_and_the_edit_is_another(tiny, pair):
    made = pair()
    out = sample(tiny, made)
    assert difference(out[:1], tiny.sample(positive=tiny.encode(SOURCE))) < CLOSE
    assert torch.equal(out[:1], sample(tiny, made, tiny.model)[:1])
    assert difference(out[1:], sample(tiny, made, tiny.model)[1:]) > 0.05
    assert difference(out[1:], out[:1]) > 0.05


def test_the_edited_shape_is_there_and_the_rest_keeps_its_place(tiny, pair):
    out = sample(tiny, pair(latent={"samples": empty(1, 32, 32)}, local_blend="circle, star"), steps=16)
    source, target = ({(f.colour, f.shape): f.box for f in detect(image)} for image in images_of(out))
    assert {("red", "circle"), ("blue", "square")} <= source.keys()
    assert {("red", "star"), ("blue", "square")} <= target.keys()
    kept = zip(source["blue", "square"], target["blue", "square"])
    assert all(abs(a - b) <= 1 for a, b in kept)


@pytest.mark.parametrize("sampler", ("euler", "dpmpp_2m_sde", "uni_pc"))
@pytest.mark.parametrize(
    ("target", "settings"),
    [
        (SOURCE, {}),
        (None, {}),
        (None, {"weights": "circle: 1"}),
        (TARGET, {"cross_share": 0.0, "self_share": 0.0}),
        (SOURCE, {"local_blend": "circle"}),
    ],
)
def test_an_edit_that_changes_nothing_gives_the_bits_of_the_plain_batch(
    tiny, pair, sampler, target, settings
):
    made = pair(target=target, **settings)
    assert torch.equal(
        sample(tiny, made, sampler=sampler, steps=3), sample(tiny, made, tiny.model, sampler=sampler, steps=3)
    )


def test_a_latent_becomes_pairs_of_the_same_noise(pair):
    _, positive, latent, _ = pair(latent={"samples": empty(2), "batch_index": [4, 7], "noise_mask": empty(2)})
    assert latent["samples"].shape == (4, 4, 16, 16) and latent["batch_index"] == [4, 4, 7, 7]
    assert len(latent["noise_mask"]) == 4
    noise = noise_of(latent)
    assert torch.equal(noise[0], noise[1]) and torch.equal(noise[2], noise[3])
    assert not torch.equal(noise[0], noise[2]) and positive[0][0].shape[0] == 2


def test_several_pairs_are_each_edited_as_alone(tiny, pair):
    alone = sample(tiny, pair(local_blend="circle, star"), steps=4)
    both = pair(latent={"samples": empty(2)}, local_blend="circle, star")
    together = sample(tiny, both, steps=4)
    assert difference(together[:2], alone) < CLOSE
    assert difference(together[2:3], together[:1]) > 0.05


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if not s.endswith("_gpu")])
def test_both_images_have_the_same_noise_with_every_sampler(tiny, pack_module, pair, sampler):
    """Two equal prompts, one more self-attention copied from the other: the images stay equal."""
    edits, modulation = (
        pack_module("gsn_ops.modulate.pair_edit"),
        pack_module("gsn_ops.host.sampling.modulation"),
    )
    model, book = modulation.attach_edits(tiny.model, edits.PromptToPrompt(cross_share=0.0, self_share=0.3))
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))  # not the same: made so
    made = pair(target=SOURCE, latent={"samples": empty(1, 8, 8)})
    out = sample(tiny, made, model, sampler=sampler, steps=4, noise=noise)
    assert difference(out[0], out[1]) < 1e-3 and torch.isfinite(out).all()
    assert "did not act" not in book.last().recipes[0].status


def test_the_source_of_a_stochastic_sampler_is_that_of_its_own_run(tiny, pair):
    for sampler in ("euler_ancestral", "dpmpp_2m_sde", "ddpm", "lcm"):
        alone = tiny.sample(positive=tiny.encode(SOURCE), sampler=sampler)
        assert difference(sample(tiny, pair(), sampler=sampler)[:1], alone) < 10 * CLOSE


def test_local_blend_keeps_every_cell_outside_its_mask(tiny, pair):
    for sampler in ("euler", "dpmpp_2m", "euler_ancestral"):
        made = pair(local_blend="circle, star", self_share=0.0)
        out = sample(tiny, made, sampler=sampler)
        (recipe,) = made[-1].find(out).recipes
        mask = recipe.maps_after[1, 0].bool()
        assert mask.any() and not mask.all() and recipe.subjects == ("circle, star",)
        assert not (out[0] - out[1]).abs().amax(0)[~mask].any()
        assert (out[0] - out[1]).abs().amax(0)[mask].max() > 0.05


def test_weights_raise_and_lower_a_words_effect(tiny, pair):
    plain = sample(tiny, pair(target=None))
    more, less = (sample(tiny, pair(target=None, weights=f"circle: {w}")) for w in (2, 0))
    assert torch.equal(more[0], plain[0]) and torch.equal(less[0], plain[0])
    assert difference(more[1], plain[1]) > 0.02 and difference(less[1], plain[1]) > 0.02
    published = sample(tiny, pair(target=None, weights="circle: 2", rule="published"))
    assert difference(published[1], more[1]) > 0.005


def test_shares_are_of_the_steps_and_words_have_their_own(tiny, pair):
    """A share of half the steps: the second half is that of the unchanged model."""
    seen: dict[str, list] = {}

    def run(name, **settings):
        made = pair(cross_share=0.5, self_share=0.0, **settings)
        sample(tiny, made, callback=lambda step, x0, x, total: seen.setdefault(name, []).append(x0[1]))
        return made[-1].last().recipes[0].status

    assert "replace (circle -> star), text maps in 3 steps, self-attention in 0 steps" in run("all")
    run("own", word_shares="star: 0.2")
    run("none", word_shares="star: 0.0")
    assert torch.equal(seen["all"][1], seen["own"][1])  # steps 0 and 1 are within both
    assert not torch.equal(seen["all"][2], seen["own"][2])
    assert not torch.equal(seen["all"][0], seen["none"][0])


def test_prompts_of_different_lengths_share_a_batch(tiny, pair):
    """ComfyUI repeats a shorter conditioning; so does the pair, and a longer negative prompt repeats it."""
    long = "a red circle and a blue square, " + "a bright picture of shapes, " * 20
    made = pair(target=long)
    assert made[1][0][0].shape[1] == 154
    out = sample(tiny, made, steps=4)
    source = tiny.sample(positive=tiny.encode(SOURCE), steps=4)
    assert difference(out[:1], source) < CLOSE
    status = made[-1].last().recipes[0].status
    assert "refine" in status and ", ...)" in status
    longer = sample(tiny, pair(), steps=4, negative=tiny.encode(long))
    assert (
        difference(longer[:1], tiny.sample(positive=tiny.encode(SOURCE), negative=tiny.encode(long), steps=4))
        < CLOSE
    )


def test_the_same_seed_gives_the_same_bits_and_the_model_is_as_before(tiny, pair):
    before = state_of(tiny.model)
    one, two = (sample(tiny, pair(local_blend="star"), sampler="euler_ancestral", steps=4) for _ in range(2))
    assert torch.equal(one, two)
    made = pair()

    def cancel(step, x0, x, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(tiny, made, callback=cancel)
    assert torch.randn(2, 4, 16, 16)[0].ne(torch.randn(2, 4, 16, 16)[1]).any()  # no noise is shared any more
    assert state_of(tiny.model) == before


def test_custom_samplers_and_split_schedules(tiny, pair):
    from comfy.samplers import sampler_object

    patched, positive, latent, book = pair(local_blend="circle, star")
    sigmas = tiny.sigmas(steps=6)
    noise = noise_of(latent)
    out = tiny.sample_with(
        sampler_object("euler"), sigmas, patched, positive=positive, latent=latent["samples"], noise=noise
    )
    assert torch.equal(out, sample(tiny, pair(local_blend="circle, star")))
    assert book.find(out) is not None


def test_an_image_is_edited_from_a_part_of_the_schedule(tiny, pair):
    image = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    made = pair(latent={"samples": image})
    out = sample(tiny, made, denoise=0.5)
    alone = tiny.sample(positive=tiny.encode(SOURCE), latent=image, denoise=0.5)
    assert difference(out[:1], alone) < CLOSE and difference(out[1:], out[:1]) > 0.02


def test_another_packs_kernel_stays_in_force(tiny, pair):
    calls = []

    def kernel(func, *args, **kwargs):
        calls.append(1)
        return func(*args, **kwargs)

    model = tiny.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = kernel
    ours = sample(tiny, pair(model=model), steps=3)
    assert calls and difference(ours, sample(tiny, pair(), steps=3)) < CLOSE


# What is refused


def test_words_that_are_in_no_prompt_are_named_with_those_that_are(tiny, pair):
    calls = []
    for settings, cause in (
        ({"weights": "zebra: 1.4"}, "'zebra' is not in the prompt.*a, red, star, and, blue, square"),
        ({"word_shares": "circle: 0.4"}, "'circle' is not in the prompt"),
        ({"local_blend": "zebra"}, "in neither prompt. Source: .*a, red, circle.*Target: .*a, red, star"),
        ({"edit": "replace", "target": "a big red star"}, "source, 7: 1 a, 2 red.*target, 4: 1 a, 2 big"),
    ):
        with pytest.raises(ValueError, match=cause):
            sample(tiny, pair(**settings), callback=lambda *step: calls.append(step))
    assert not calls


def test_a_sampler_without_the_pair_is_told_what_to_connect(tiny, pair):
    made = pair()
    with pytest.raises(ValueError, match="is not the pair of prompts. Connect the positive output"):
        sample(tiny, made, positive=tiny.encode(SOURCE))
    with pytest.raises(ValueError, match="latent has 1 image, which is no number of pairs"):
        sample(tiny, made, latent=empty(), noise=torch.randn(1, 4, 16, 16))


def test_text_that_is_joined_behind_the_node_is_refused(tiny, host, pair):
    made = pair()
    joined = host.ConditioningConcat().concat(made[1], made[1])[0]
    with pytest.raises(
        ValueError, match="has 154 rows, but the prompts made 77: a node behind it has joined"
    ):
        sample(tiny, made, positive=joined)


def test_prompts_that_cannot_be_paired_are_refused(tiny, node, pair):
    (rows, extra) = tiny.encode(SOURCE)[0]
    latent = {"samples": empty()}
    for source, target, cause in (
        (tiny.encode(SOURCE) * 2, tiny.encode(TARGET), "source is 2 combined prompts and target 1 prompt"),
        (
            [[rows, {**extra, "strength": 0.5}]],
            tiny.encode(TARGET),
            "'strength' of source and target differs",
        ),
        ([[rows.repeat(2, 1, 1), extra]], tiny.encode(TARGET), "source has a batch of 2 texts"),
        ([[rows[..., :8], extra]], tiny.encode(TARGET), "different text encoders .8 and 64 channels"),
    ):
        with pytest.raises(ValueError, match=cause):
            node.EXECUTE_NORMALIZED(tiny.model, source, latent, target=target)
    with pytest.raises(ValueError, match="rule is 'other': choose one of clean, published"):
        node.EXECUTE_NORMALIZED(tiny.model, tiny.encode(SOURCE), latent, rule="other")


def test_a_conditioning_without_words_is_refused_where_words_are_needed(tiny, node):
    plain = [[[torch.randn(1, 77, 64), {}]], [[torch.randn(1, 77, 64), {}]]]  # of an unknown text node
    made = node.EXECUTE_NORMALIZED(tiny.model, plain[0], {"samples": empty()}, target=plain[1]).args
    with pytest.raises(
        ValueError, match="Prompt-to-Prompt, source: The positive conditioning has no token data"
    ):
        sample(tiny, made)
    off = {"cross_share": 0.0, "self_share": 0.4}
    free = node.EXECUTE_NORMALIZED(tiny.model, plain[0], {"samples": empty()}, target=plain[1], **off).args
    assert torch.isfinite(sample(tiny, free, steps=3)).all()


def test_other_nodes_of_the_pack_do_not_take_the_pair_for_one_prompt(tiny, pack, pair):
    weigh = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNWordWeight")
    made = pair()
    weighted, _ = weigh.EXECUTE_NORMALIZED(made[0], "star: 1.5").args
    with pytest.raises(ValueError, match="pair of prompts of Prompt-to-Prompt, whose images have different"):
        sample(tiny, made, weighted)
    refined, _ = tiny.attach(tiny.model, step=1)
    with pytest.raises(ValueError, match="pair of prompts of Prompt-to-Prompt"):
        sample(tiny, made, refined)
    of_id = {n.GET_SCHEMA().node_id: n for n in pack.NODES}
    boosted = of_id["GSNNursing"].EXECUTE_NORMALIZED(made[0], method="Word boost (no gradients)").args[0]
    flipped = of_id["GSNFlippedNegative"].EXECUTE_NORMALIZED(made[0], tiny.encode("green")).args[0]
    for model in (boosted, flipped):
        with pytest.raises(ValueError, match="pair of prompts of Prompt-to-Prompt"):
            sample(tiny, made, model)
    twice = pair(model=made[0])
    with pytest.raises(ValueError, match="Two Prompt-to-Prompt nodes"):
        sample(tiny, twice)


# The MM-DiT


class Flow(Tiny):
    """The embedded MM-DiT."""

    def load(self) -> tuple:
        with torch.inference_mode():
            return self.module("gsn_ops.host.demo.sd3").load_demo_sd3()


@pytest.fixture(scope="module")
def flow(host, pack_module):
    return Flow(host, pack_module)


def test_on_joint_attention_the_image_follows_and_local_blend_keeps_the_rest(flow, pair):
    made = pair("a red circle", BLUE, flow, local_blend="circle", self_share=0.5)
    out = sample(flow, made, scheduler="simple", cfg=4.0, negative=flow.encode(""))
    (recipe,) = made[-1].find(out).recipes
    assert "queries and keys of the image in 3 steps" in recipe.status
    mask = recipe.maps_after[1, 0].bool()
    assert not (out[0] - out[1]).abs().amax(0)[~mask].any()
    free = sample(flow, made, flow.model, scheduler="simple", cfg=4.0, negative=flow.encode(""))
    assert torch.equal(out[0], free[0]) and difference(out[1], free[1]) > 0.01


def test_on_joint_attention_weights_act_and_off_is_stock(flow, pair):
    run = {"scheduler": "simple", "cfg": 4.0, "negative": flow.encode(""), "steps": 4}
    plain = pair("a red circle", BLUE, flow, self_share=0.0)
    off = sample(flow, plain, flow.model, **run)
    assert torch.equal(sample(flow, plain, **run), off)  # nothing to edit: no maps, no follow, no weights
    weighted = sample(flow, pair("a red circle", BLUE, flow, self_share=0.0, weights="blue: 3"), **run)
    assert torch.equal(weighted[0], off[0]) and difference(weighted[1], off[1]) > 0.005
