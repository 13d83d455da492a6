"""A layout beside a ControlNet, beside a LoRA, and in a run that KSampler (Advanced) does in two parts."""

from __future__ import annotations

import pytest
import torch

from ..support.demo_model import empty
from ..support.extras import noise, random_control_net, random_lora
from ..support.lmd_jobs import LMDJobs

PROMPT = "a red circle and a blue square"
CIRCLE, SQUARE = ("a red circle", (0.0, 0.25, 0.5, 0.75)), ("a blue square", (0.5, 0.25, 1.0, 0.75))
STEPS = 6


@pytest.fixture(scope="module")
def lmd(tiny):
    return LMDJobs(tiny)


@pytest.fixture(scope="module")
def apply(tiny, lmd):
    """A function: conditioning with the boxes of both objects, as Apply Layout gives it."""
    placed = tiny.module("gsn_ops.host.prompts.layout_regions").with_layout
    return lambda conditioning: placed(conditioning, lmd.layout(CIRCLE, SQUARE))[0]


@pytest.fixture(scope="module")
def nurse(pack, tiny):
    """A function: the model with a layout method, and its book."""
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNNursing")

    def call(method: str, **more):
        with torch.inference_mode():
            model, _, book = node.EXECUTE_NORMALIZED(tiny.model, method=method, **more).args
        return model, book

    return call


def controlled(host, tiny, positive, net):
    """A conditioning with a ControlNet's, and the negative one."""
    image = noise(1, 128, 128, 3, seed=5).sigmoid()
    with torch.inference_mode():
        return host.ControlNetApplyAdvanced().apply_controlnet(
            positive, tiny.encode(""), net, image, 1.0, 0.0, 1.0
        )


def test_a_control_net_before_or_after_apply_layout(tiny, host, apply, nurse):
    """The same bits in both orders; the layout method acts, and the ControlNet does too."""
    net, prompt = random_control_net(tiny.model, "net"), tiny.encode(PROMPT)
    before, negative = controlled(host, tiny, prompt, net)
    after, other = controlled(host, tiny, apply(prompt), net)
    model, book = nurse("R&B, Region and Boundary (Xiao et al. 2024)")
    pairs = ((apply(before), negative), (after, other))
    found = [tiny.sample(model, positive=a, negative=b, steps=STEPS) for a, b in pairs]
    assert torch.equal(*found) and sum(book.find(found[1]).recipes[0].updates) > 0
    assert not torch.equal(found[0], tiny.sample(positive=before, negative=negative, steps=STEPS))
    assert not torch.equal(found[0], tiny.sample(model, positive=apply(prompt), steps=STEPS))


def test_ksampler_advanced_in_two_parts_is_one_run(tiny, host, apply, nurse):
    """The step size falls over the whole run, not over each part; both parts have updates."""
    method = "Bounded Attention, loss (Dahary et al. 2024)"
    positive = apply(tiny.encode(PROMPT))

    @torch.inference_mode()
    def part(latent, start, end, fresh, leftover):
        model, book = nurse(method)
        made = host.KSamplerAdvanced().sample(
            model,
            "enable" if fresh else "disable",
            3,
            STEPS,
            7.5,
            "euler",
            "normal",
            positive,
            tiny.encode(""),
            latent,
            start,
            end,
            "enable" if leftover else "disable",
        )[0]
        return made, book.find(made["samples"]).recipes[0]

    whole, at_once = part({"samples": empty()}, 0, STEPS, True, False)
    plain = tiny.sample(positive=positive, steps=STEPS)
    begun, first = part({"samples": empty()}, 0, 1, True, True)
    ended, second = part(begun, 1, STEPS, False, False)
    assert [sum(r.updates) > 0 for r in (first, second)] == [True, True]
    assert sum(first.updates) + sum(second.updates) == sum(at_once.updates)
    effect = (whole["samples"] - plain).abs().max()
    assert (ended["samples"] - whole["samples"]).abs().max() < 0.03 * effect


def test_lmd_with_a_lora(tiny, lmd):
    """Objects and image are of the model with the LoRA; without it they are as before, bit for bit."""
    import comfy.sd

    with torch.inference_mode():
        model = comfy.sd.load_lora_for_models(tiny.model, None, random_lora()[0], 1.0, 0.0)[0]
    plain, changed = (lmd.run(CIRCLE, SQUARE, model=one, steps=2) for one in (tiny.model, model))
    for part in ("latent", "objects"):
        pair = [getattr(made, part)["samples"] for made in (plain, changed)]
        assert pair[1].isfinite().all() and not torch.equal(*pair)
    assert torch.equal(lmd.run(CIRCLE, SQUARE, steps=2).latent["samples"], plain.latent["samples"])
