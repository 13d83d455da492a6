"""What tools/gpu looks at in a running ComfyUI: a planted fault in the pack or left behind by it is
reported.
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tools.gpu import attention, checks, correctness, demo, formats, graphs, host, scene, vram
from tools.study import embedded
from tools.study.data import Sampling
from tools.tiny.prompts import prompts


@pytest.fixture(scope="module")
def case(pack):
    return correctness.load("SD3", "fp32")


def test_a_right_architecture_has_no_fault(case):
    faults, numbers = correctness.check(case)
    assert faults == [] and numbers["cosine"] > 0.9999 and numbers["stock_finite"]


def test_zeroed_gradients_are_reported(case, monkeypatch):
    monkeypatch.setattr(
        scene, "gradient", lambda probe, z, level=None: (torch.zeros(2, 5, 7, 10), torch.zeros_like(z))
    )
    ours = case.at_state(correctness.passes)["full"][1]
    assert "is zero" in "".join(checks.gradient_faults(ours, torch.ones_like(ours), 0.9))


def test_a_wrong_scale_of_the_attention_is_reported(case, monkeypatch):
    text = host.pack("host.attention.capture")
    real = text.attention_with_text
    monkeypatch.setattr(
        text,
        "attention_with_text",
        lambda q, k, v, c, mask, scale: real(q, k, v, c, mask, 2 * q.shape[-1] ** -0.5),
    )
    faults, _ = correctness.check(case)
    assert any("agrees to a cosine" in fault or "times as long" in fault for fault in faults)


def test_what_is_left_on_a_model_is_reported(case):
    before, network = checks.state(case.model), case.model.model.diffusion_model
    hook = network.register_forward_hook(lambda *_: None)
    network.leftover = 1
    try:
        found = checks.left_behind(before, checks.state(case.model))
    finally:
        hook.remove()
        del network.leftover
    assert found == ["left behind: modules", "left behind: hooks"]
    case.model.model_options["transformer_options"]["leftover"] = True
    try:
        assert checks.left_behind(before, checks.state(case.model)) == ["left behind: options"]
    finally:
        del case.model.model_options["transformer_options"]["leftover"]
    assert checks.left_behind(before, checks.state(case.model)) == []


def test_a_switched_off_node_that_acts_is_reported(case, monkeypatch):
    real = scene.attach
    monkeypatch.setattr(scene, "attach", lambda model, updates=2, **changes: real(model, 2, step=0))
    stock = case.sample()
    faults = correctness.refined(case, stock)
    assert any(fault.startswith("off: not the same bits") for fault in faults)
    monkeypatch.setattr(scene, "attach", lambda model, updates=2, **changes: real(model, 2, step=999))
    assert "a refined image is the stock one" in correctness.refined(case, stock)


def test_the_ways_of_dynamic_vram_undo_what_they_change(case):
    probes = host.pack("host.attention.probe")
    before = probes.recastable_layers
    for name in vram.WAYS:
        with vram.way(name, case.model) as used:
            assert used is not case.model
        assert probes.recastable_layers is before


def test_compiled_blocks_are_put_back(case):
    def work(here):
        with graphs.Compiled(here, smoke=True) as blocks:
            assert all("forward" in vars(block) for block in blocks.blocks)
        return blocks.blocks

    assert not any("forward" in vars(block) for block in case.at_state(work))


def test_ways_of_attention_agree_and_a_wrong_one_does_not(pack):
    qkv = [torch.randn(1, 2, 20, 8, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    columns = range(1, 4)
    one, two = (attention.gradients(way, qkv, columns) for way in (attention.one_call, attention.two_calls))
    assert min(checks.cosine(a, b) for a, b in zip(one, two, strict=True)) > 0.99999
    other = attention.gradients(attention.one_call, qkv, range(5, 8))
    assert min(checks.cosine(a, b) for a, b in zip(one, other, strict=True)) < 0.99


def test_an_embedded_model_that_is_not_refined_is_reported(pack):
    fell = embedded.Refined(torch.zeros(1), 2, 2, 1, (0.9, 0.8), (0.4, 0.9), (), (2, 2), (1, 1))
    assert demo.loss_faults(fell) == []
    assert demo.loss_faults(replace(fell, last_loss=(0.9, 0.8)))[0].startswith("the loss did not fall")
    assert demo.loss_faults(replace(fell, updates=(0, 0))) == ["no image was updated"]


def test_an_embedded_model_that_is_not_stock_when_off_is_reported(pack, monkeypatch):
    model, some = embedded.Demo(layout="sd"), prompts(3, 1, "test", seed=4)
    monkeypatch.setattr(model, "attach", lambda used, *_: scene.attach(used, 2, step=1))  # never off
    faults, _ = demo.check(model, (scene.recipe(2, step=1),), Sampling(steps=2), some)
    assert faults[0].startswith("off: not the same bits")


FLUX = SimpleNamespace(model="flux", smoke=True, dtype=None)


@pytest.fixture
def size(pack):
    return vram.size_of(FLUX)


def test_a_format_that_is_read_as_other_numbers_is_reported(size, monkeypatch):
    real = formats.passes
    signs = iter((1, -1))
    monkeypatch.setattr(
        formats, "passes", lambda here: {**(found := real(here)), "gradient": next(signs) * found["gradient"]}
    )
    assert "agrees to a cosine of -" in "".join(formats.check("nvfp4", size, FLUX)["faults"])


def test_weights_that_were_not_quantized_are_reported(size, monkeypatch):
    real = formats.formats.stored
    monkeypatch.setattr(
        formats.formats, "stored", lambda *args: replace(file := real(*args), entries=file.meant)
    )
    (fault,) = formats.check("mxfp8", size, FLUX)["faults"]
    assert fault.startswith("no weight is quantized")
