"""The embedded MM-DiT: loads through ComfyUI's own loader, draws, and its two encoders, its maps and
refinement are right.

It is the only model with joint attention, a flow and two text encoders that really draws: what is tested on
tiny random networks elsewhere is tested here on images.
"""

import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from tools.study.embedded import Demo, Sampling, judge
from tools.tiny import captions, t5_encoder
from tools.tiny.model_sd3 import SD3
from tools.tiny.prompts import prompts

from ..support.demo_model import PROMPT, Tiny, recording
from ..support.probe_oracle import look, weighted
from ..support.softmax_oracle import written_out

HOW = Sampling(16, "euler", "simple", 4.0)


class Flow(Tiny):
    """The same short ways to run it."""

    def load(self) -> tuple:
        with torch.inference_mode():
            return self.module("gsn_ops.host.demo.sd3").load_demo_sd3()


@pytest.fixture(scope="module")
def demo(pack_module):
    return pack_module("gsn_ops.host.demo.sd3")


@pytest.fixture(scope="module")
def flow(host, pack_module):
    return Flow(host, pack_module)


def test_loads_and_leaves_the_host_as_it_was(demo):
    import comfy.supported_models

    models = comfy.supported_models.models
    before = list(models)
    model, clip, vae = demo.load_demo_sd3()
    assert comfy.supported_models.models is models and all(
        a is b for a, b in zip(models, before, strict=True)
    )
    assert type(model.model).__name__ == "SD3" and type(model.model.model_config).__name__ == "DemoSD3"
    assert 2.5e6 < sum(p.numel() for p in model.model.diffusion_model.parameters()) < 4e6
    assert model.model.model_sampling.shift == 3 and vae.latent_channels == 4
    assert clip.encode_from_tokens(clip.tokenize("a star")).shape == (1, 154, 64)
    assert comfy.supported_models.SD3.unet_config["in_channels"] == 16


def test_the_other_demo_models_file_is_not_taken_for_this_one(demo, pack_module):
    other = pack_module("gsn_ops.host.demo.sd")
    for load, file in ((demo.load_demo_sd3, other.PATH), (other.load_demo_model, demo.PATH)):
        with pytest.raises(ValueError, match="not the demo model"):
            load(file)


def test_the_committed_file_tells_how_it_was_made(demo):
    assert demo.PATH.stat().st_size <= 8_000_000
    with safetensors.safe_open(demo.PATH, framework="pt") as file:
        about = file.metadata()
    stages = json.loads(about["recipe"])["stages"]
    assert [stage["name"] for stage in stages] == ["world", "binding", "shapes", "more", "whole"]
    assert [stage["pixel_weight"] > 0 for stage in stages] == [True, True, False, False, True]
    assert set(json.loads(about["final_losses"])) == {stage["name"] for stage in stages}
    assert {"torch", "numpy", "comfyui"} <= set(json.loads(about["versions"]))
    assert "tools/tiny/mmdit.py" in json.loads(about["sha256"]) and about["seed"].isdigit()


def test_the_host_tokenizes_as_training_did(flow):
    ids = list(t5_encoder.PIECE_IDS.values())
    for text in ("", PROMPT, "a photo of a heart and a yellow cross"):
        tokens, rows = flow.plain_clip.tokenize(text), captions.encode(text)
        assert [t[0] for t in tokens["l"][0]] == [captions.TOKEN_IDS[captions.WORDS[row]] for row in rows]
        assert [t[0] for t in tokens["t5xxl"][0]] == [ids[row] for row in t5_encoder.recut(rows[None])[0][0]]


def test_the_host_computes_what_was_trained(flow, demo):
    tensors, trained = safetensors.torch.load_file(demo.PATH), SD3()
    trained.grow()
    for part, prefix in trained.prefixes.items():
        getattr(trained, part).load_state_dict(
            {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        )
    text = "a photo of a purple triangle, a black star and a yellow cross"
    x = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = trained.text(torch.from_numpy(captions.encode(text)).long()[None])
        theirs = flow.plain_clip.encode_from_tokens(flow.plain_clip.tokenize(text))
        assert torch.allclose(ours, theirs.float(), atol=2e-3)
        velocity = trained.network(x, torch.tensor([700.0]), ours)
        x0 = flow.model.model.apply_model(x, torch.tensor([0.7]), c_crossattn=theirs)
    assert torch.allclose(x - 0.7 * velocity, x0, atol=5e-3)


def test_a_two_word_subject_has_columns_in_both_encoders(flow):
    resolve, parse = (
        flow.module("gsn_ops.subjects.resolve").resolve,
        flow.module("gsn_ops.subjects.syntax").parse_subjects,
    )
    tokens = flow.module("gsn_ops.host.prompts.conditioning").tokens_of(
        flow.encode("a green star and a red circle")
    )
    (circle,) = resolve(parse("red circle"), tokens)
    clip, t5 = sorted(circle.noun)
    assert tokens.rows == 154
    # CLIP: start a green star and a red circle. T5: _ a green star and _ a red circle, from row 77 on.
    assert {e: circle.columns("phrase")[e] for e in (clip, t5)} == {clip: (6, 7), t5: (77 + 7, 77 + 8)}
    assert circle.noun == {clip: (7,), t5: (77 + 8,)}


def test_maps_and_gradients_are_those_of_an_explicit_softmax(flow, demo):
    seen = look(flow, levels=None, step=1)
    network, context = demo.load_demo_sd3()[0].model, flow.encode(PROMPT, plain=True)[0][0].clone()
    leaf = seen.z.clone().requires_grad_(True)
    with written_out(network.diffusion_model, "joint_blocks") as found:
        network.apply_model(leaf, seen.sigma, c_crossattn=context)
        text = list(seen.columns)
        joint = [
            p for p in found.found if p.shape[-1] != 64
        ]  # 8 x 8 image tokens; the second attention is theirs alone
        assert [p.shape[-2:] for p in joint] == [(154 + 64, 154 + 64)] * 5 and len(found.found) == 10
        maps = torch.stack([p.mean(1)[:, 154:][:, :, text] for p in joint]).mean(0).unflatten(1, (8, 8))
        inside = torch.tensor(
            [float(c < 13 or c >= 77) for c in text]
        )  # CLIP's end and padding are nobody's words
        maps = maps * inside
        (level,) = seen.full.maps
        (gradient,) = torch.autograd.grad(weighted({level: maps}).sum(), leaf)
    assert text == list(range(1, 92)) and inside.sum() == 27  # 12 words of CLIP, 15 pieces of T5
    assert (maps - seen.full.maps[level]).abs().max() < 1e-5
    assert torch.cosine_similarity(gradient.flatten(), seen.full.gradient.flatten(), 0) > 0.9999
    assert abs(gradient.norm() / seen.full.gradient.norm() - 1) < 1e-3


def test_off_is_stock_and_on_is_not(flow):
    stock, off, outside = flow.sample(steps=3), flow.attach(shifts=0)[0], flow.attach(step=999)[0]
    assert torch.equal(flow.sample(off, steps=3), stock) and torch.equal(flow.sample(outside, steps=3), stock)
    assert not torch.equal(flow.sample(flow.attach(step=1)[0], steps=3), stock)
    assert torch.equal(flow.sample(steps=3), stock)


@pytest.fixture(scope="module")
def runs(pack):
    return Demo(layout="sd3")


def test_it_draws_what_is_asked(runs):
    asked = prompts(1, 4, "test")
    with torch.inference_mode():
        assert sum(v.objects for v in judge(runs.sample(runs.model, asked, HOW), asked)) >= 3


def test_shifts_as_in_its_evaluation_lower_the_loss_of_every_image(runs, pack_module):
    from tools.study.data import SD3_NODE

    overrides, methods = (pack_module(f"gsn_ops.optimise.{name}") for name in ("overrides", "methods"))
    moment = pack_module("gsn_ops.schedule").Moment(percent=SD3_NODE["at_percent"])
    recipes = overrides.moved(
        overrides.override(
            methods.preset(SD3_NODE["method"]), f"{SD3_NODE['overrides']}, stop_at_presence=0"
        ),
        moment,
    )
    refined = runs.refine(recipes, prompts(3, 4, "test"), Sampling(8, "euler", "simple", 4.0))
    assert refined.backwards == 15
    assert all(last < 0.8 * first for first, last in zip(refined.first_loss, refined.last_loss, strict=True))


@pytest.mark.parametrize(
    "encoders, names, columns",
    (
        ("clip", {"l"}, range(1, 13)),
        ("l", {"l"}, range(1, 13)),
        ("t5", {"t5xxl"}, range(77, 92)),
        ("average", {"l", "t5xxl"}, range(1, 92)),
    ),
)
def test_one_encoder_alone_is_read_where_it_is_asked_for(flow, encoders, names, columns):
    settings = flow.module("gsn_ops.optimise.overrides")
    seen, (recipe,) = [], settings.override((flow.recipe(step=1),), f"encoders={encoders}")

    class Watching(type(recipe.objective)):
        def __call__(self, maps, subjects, context):
            seen.append((set(maps.columns), {e for subject in subjects for e in subject.noun}))
            return super().__call__(maps, subjects, context)

    recipe = replace(recipe, objective=Watching(maps=recipe.objective.maps, needs=recipe.objective.needs))
    flow.sample(flow.module("gsn_ops.host.sampling.patch").attach(flow.model, recipe)[0], steps=3)
    assert seen == [({*columns}, names)] * 4  # two shifts, and a look before and after


def test_an_encoder_that_the_model_has_not_is_refused_before_the_first_step(flow):
    settings = flow.module("gsn_ops.optimise.overrides")
    (recipe,) = settings.override((flow.recipe(step=1),), "encoders=llama")
    model, calls = flow.module("gsn_ops.host.sampling.patch").attach(flow.model, recipe)[0], []
    with pytest.raises(
        ValueError,
        match="encoders is 'llama', but .* through l, t5xxl: choose one of these, average or separate",
    ):
        flow.sample(recording(model, calls), steps=3)
    assert not calls


def test_separate_is_the_mean_of_the_losses_on_single_encoders(flow):
    settings, losses = flow.module("gsn_ops.optimise.overrides"), {}
    for encoders in ("clip", "t5", "separate", "average"):
        (recipe,) = settings.override((flow.recipe(step=1, shifts=1),), f"encoders={encoders}")
        model, book = flow.module("gsn_ops.host.sampling.patch").attach(flow.model, recipe)
        action = book.find(flow.sample(model, steps=3)).recipes[0]
        losses[encoders] = action.losses[0][0]
        assert (action.settings["encoders"], action.settings["objective"]) == (
            encoders,
            "PresenceAndSeparation",
        )
        assert action.attention_read.endswith(f"the text tokens of {encoders} alone (chosen)") == (
            encoders in ("clip", "t5")
        )
    assert losses["separate"] == pytest.approx((losses["clip"] + losses["t5"]) / 2, abs=1e-5)
    assert abs(losses["average"] - losses["separate"]) > 1e-3


def test_m10_auto_knows_what_to_read_of_this_model(flow, pack):
    """From the node's defaults; what is typed is read instead."""
    node = next(node for node in pack.NODES if node.GET_SCHEMA().node_id == "GSNNursing")

    def recipe(**typed):
        model = node.EXECUTE_NORMALIZED(flow.model, **typed).args[0]
        return model.get_wrappers("outer_sample", "gsn")[0].attached[0]

    def reads(attached):
        needs = attached.recipe.objective.needs
        return needs.encoders, needs.blocks, attached.recipe.moment.percent

    attached = recipe()
    assert reads(attached) == ("clip", "3", 0.2)
    (note,) = attached.notes
    assert "own step: 20 %" in note and "for this demo model; it reads encoders=clip, blocks=3" in note
    assert reads(recipe(overrides="encoders=average, blocks=0-1")) == ("all", "0-1", 0.2)
    assert reads(recipe(at_percent=0.5)) == ("all", "auto", 0.5)
    assert reads(recipe(method="Latent Refine (fast)"))[:2] == ("all", "auto")
