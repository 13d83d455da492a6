"""Null-Text Inversion: a picture comes back with guidance, by ComfyUI's own KSampler, and can be edited."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from ..support.model_state import state_of
from .test_inversion import SOURCE, apart, image
from .test_inversion import nodes as nodes

STEPS = 5


@pytest.fixture(scope="module")
def inverted(tiny, nodes):
    """(a picture that the model has made, what Invert Image gives for it)."""
    picture = tiny.sample(positive=tiny.encode(SOURCE), steps=STEPS)
    with torch.inference_mode():
        made = nodes["GSNInvert"].EXECUTE_NORMALIZED(
            tiny.model, tiny.encode(SOURCE), {"samples": picture}, STEPS, "normal", check=False
        )
    return picture, made.args


@pytest.fixture(scope="module")
def null_text(tiny, nodes, inverted):
    """A function: what the node gives."""

    def run(model=None, negative=None, trajectory=None, cfg=5.0, iterations=4, positive=None):
        with torch.inference_mode():
            given = positive or tiny.encode(SOURCE), negative or tiny.encode(""), trajectory or inverted[1][3]
            return nodes["GSNNullText"].EXECUTE_NORMALIZED(model or tiny.model, *given, cfg, iterations).args

    return run


@pytest.fixture(scope="module")
def usual(null_text):
    """What the node gives at this module's usual settings."""
    return null_text()


def ksampler(tiny, latent, negative, model=None, positive=None):
    """KSampler (Advanced) with add_noise off."""
    run = {"noise": torch.zeros_like(latent), "latent": latent, "disable_noise": True, "cfg": 5.0}
    return tiny.sample(model, steps=STEPS, negative=negative, positive=positive or tiny.encode(SOURCE), **run)


def test_a_plain_ksampler_gives_the_picture_back_as_the_node_says(tiny, inverted, usual):
    picture, (_, latent, _, _, _) = inverted
    negative, text = usual
    assert len(negative) == STEPS and f"{STEPS} embeddings, {4 * STEPS} updates" in text
    found = ksampler(tiny, latent["samples"], negative)
    without = ksampler(tiny, latent["samples"], tiny.encode(""))
    errors = [(out - picture).square().mean().sqrt() for out in (found, without)]
    assert errors[0] < 0.9 * errors[1]
    decibels = [20 * torch.log10((picture.max() - picture.min()) / e).item() for e in errors]
    assert f"{decibels[0]:.1f} dB in the latent, {decibels[1]:.1f} with" in text


def test_each_embedding_acts_at_its_own_step_alone(usual):
    negative, _ = usual
    levels = [(e["timestep_start"], e["timestep_end"]) for _, e in negative]
    assert levels[0][0] == float("inf") and levels[-1][1] == 0
    assert all(a[1] == b[0] for a, b in zip(levels, levels[1:]))
    assert all(not torch.equal(a[0], b[0]) for a, b in zip(negative, negative[1:]))


def test_no_iterations_are_the_negative_prompt(tiny, inverted, null_text):
    negative, text = null_text(iterations=0)
    assert all(torch.equal(rows, tiny.encode("")[0][0]) for rows, _ in negative) and "0 updates" in text
    latent = inverted[1][1]["samples"]
    assert torch.equal(ksampler(tiny, latent, negative), ksampler(tiny, latent, tiny.encode("")))


def test_a_prompt_of_two_parts_counts_whole(tiny, nodes, inverted, null_text):
    """What the node says is what the sampler does with the same prompt."""
    both, picture = [*tiny.encode(SOURCE), *tiny.encode("a green star")], inverted[0]
    with torch.inference_mode():
        made = nodes["GSNInvert"].EXECUTE_NORMALIZED(
            tiny.model, both, {"samples": picture}, STEPS, "normal", check=False
        )
    negative, text = null_text(positive=both, trajectory=made.args[3], iterations=1)
    out = ksampler(tiny, made.args[1]["samples"], negative, positive=both)
    error = (out - picture).square().mean().sqrt()
    decibels = 20 * torch.log10((picture.max() - picture.min()) / error).item()
    assert f"back at CFG 5: {decibels:.1f} dB" in text


def test_a_negative_prompt_of_a_part_of_the_run_begins_every_embedding(tiny, null_text):
    ((rows, options),) = tiny.encode("")
    negative, _ = null_text(negative=[[rows, {**options, "start_percent": 0.0, "end_percent": 0.4}]])
    usual, _ = null_text()
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(negative, usual, strict=True))
    assert all("start_percent" not in options for _, options in negative)


def test_images_of_a_batch_are_optimised_as_alone(tiny, nodes, null_text):
    pair = image(2)
    ways = []
    for some in (pair, pair[:1]):
        with torch.inference_mode():
            made = nodes["GSNInvert"].EXECUTE_NORMALIZED(
                tiny.model, tiny.encode(SOURCE), {"samples": some}, 2, "normal", check=False
            )
        ways.append(null_text(trajectory=made.args[3], iterations=2)[0])
    both, alone = ways
    assert both[0][0].shape[0] == 2
    assert all(apart(b[0][:1], a[0]) < 1e-3 for b, a in zip(both, alone))


def test_prompt_to_prompt_edits_the_picture_beside_it(tiny, nodes, inverted, usual):
    picture, (_, latent, _, _, _) = inverted
    target = tiny.encode("a red star and a blue square")
    with torch.inference_mode():
        pair = nodes["GSNPromptToPrompt"].EXECUTE_NORMALIZED(
            tiny.model, tiny.encode(SOURCE), latent, target=target, local_blend="circle, star"
        )
    model, positive, latents, _ = pair.args
    negative, _ = usual
    out = ksampler(tiny, latents["samples"], negative, model, positive)
    again = ksampler(tiny, latent["samples"], negative)
    assert apart(out[:1], again) < 1e-3 and apart(out[1:], out[:1]) > 0.02


def test_less_memory_gives_the_same_embeddings(null_text, pack_module, monkeypatch):
    """Every block computed twice."""
    module = pack_module("gsn_ops.host.editing.null_text")
    policy = pack_module("gsn_ops.host.attention.memory_policy").CheckpointPolicy
    plenty, _ = null_text(iterations=1)
    monkeypatch.setattr(module, "CheckpointPolicy", lambda: policy(2))
    scarce, _ = null_text(iterations=1)
    assert all(apart(a[0], b[0]) < 1e-4 for a, b in zip(plenty, scarce))


def test_the_model_is_clean_afterwards_and_after_a_cancel(tiny, null_text):
    import comfy.model_management as mm

    before, grad = state_of(tiny.model), torch.is_grad_enabled()
    null_text(iterations=1)
    model, calls = tiny.model.clone(), []

    def cancels(apply, args):
        calls.append(1)
        if len(calls) == 3:
            mm.interrupt_current_processing()
        return apply(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(cancels)
    with pytest.raises(mm.InterruptProcessingException):
        null_text(model=model)
    assert len(calls) == 3 and state_of(tiny.model) == before and torch.is_grad_enabled() == grad


def test_what_cannot_work_is_refused_with_the_cure(tiny, null_text, monkeypatch):
    empty = tiny.encode("")
    with pytest.raises(ValueError, match="has 2 parts: connect a single text node"):
        null_text(negative=[*empty, *empty])
    with pytest.raises(ValueError, match="choose the CFG of your sampler"):
        null_text(cfg=1.0)
    monkeypatch.setattr(tiny.model.model, "get_dtype_inference", lambda: torch.float16)
    with pytest.raises(ValueError, match=r"computes in float16: start ComfyUI with --fp32-unet"):
        null_text()


@pytest.fixture
def output(pack, tmp_path) -> Path:
    """A new output folder of ComfyUI."""
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_output_directory(before)


@pytest.fixture
def save(nodes, output):
    """A function: the name that Save Null-Text gives."""

    def run(negative, **more) -> str:
        (name,) = nodes["GSNSaveNullText"].EXECUTE_NORMALIZED(negative, **more).args
        return name

    return run


def load(nodes, name: str) -> tuple:
    return nodes["GSNLoadNullText"].EXECUTE_NORMALIZED(name).args


def test_a_saved_file_gives_the_same_bits_and_is_listed_newest_first(nodes, inverted, usual, save, output):
    negative, latent = usual[0], inverted[1][1]
    names = [save(negative), save(negative, latent=latent)]
    assert names == ["gsn/null_text_00001_.safetensors [output]", "gsn/null_text_00002_.safetensors [output]"]
    (listed,) = nodes["GSNLoadNullText"].GET_SCHEMA().inputs
    assert [name for name in listed.options if name in names] == names[::-1]
    for name, has_latent in zip(names, (False, True)):
        found, stored = load(nodes, name)
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(found, negative, strict=True))
        for (_, a), (_, b) in zip(found, negative):
            assert a.keys() == b.keys() - {"gsn"} and torch.equal(a["pooled_output"], b["pooled_output"])
            assert all(a[key] == b[key] for key in ("timestep_start", "timestep_end"))
        if has_latent:
            assert torch.equal(stored["samples"], latent["samples"])
        else:
            with pytest.raises(AttributeError, match="was not saved in this file: connect the LATENT of Inv"):
                stored["samples"]


def test_prompt_to_prompt_on_a_loaded_file_makes_the_same_edit(tiny, nodes, inverted, usual, save):
    """All that an edit needs is the file, the model and the two prompts."""
    negative, latent = load(nodes, save(usual[0], latent=inverted[1][1]))
    target = tiny.encode("a red star and a blue square")
    with torch.inference_mode():
        pair = nodes["GSNPromptToPrompt"].EXECUTE_NORMALIZED(
            tiny.model, tiny.encode(SOURCE), latent, target=target
        )
    model, positive, latents, _ = pair.args
    runs = [ksampler(tiny, latents["samples"], some, model, positive) for some in (negative, usual[0])]
    assert torch.equal(*runs) and apart(runs[0][1:], runs[0][:1]) > 0.02
    assert apart(runs[0][:1], ksampler(tiny, inverted[1][1]["samples"], usual[0])) < 1e-3


def test_a_rewritten_file_is_read_again(nodes, usual, save, output):
    import os

    name = save(usual[0])
    before = nodes["GSNLoadNullText"].fingerprint_inputs(file=name)
    os.utime(output / "gsn" / "null_text_00001_.safetensors", (1, 1))
    assert nodes["GSNLoadNullText"].fingerprint_inputs(file=name) == 1 != before


def test_foreign_files_are_refused_in_one_sentence(nodes, usual, save, output):
    name = save(usual[0])
    own = output / "gsn" / "null_text_00001_.safetensors"
    tensors = safetensors.torch.load_file(own)
    with safetensors.safe_open(own, "pt") as file:
        about = file.metadata()
    foreign = {
        "text": b"no tensors at all",
        "cut off": own.read_bytes()[:-9],
        "a LoRA": safetensors.torch.save({"lora_up.weight": torch.zeros(2, 2)}),
        "newer": safetensors.torch.save(tensors, {**about, "schema": "2"}),
        "options": safetensors.torch.save(tensors, {**about, "options": "[1]"}),
        "short": safetensors.torch.save({**tensors, "sigmas": tensors["sigmas"][1:]}, about),
        "broken": safetensors.torch.save({**tensors, "embeddings": tensors["embeddings"] * torch.nan}, about),
    }
    for kind, content in foreign.items():
        (output / "gsn" / f"{kind}.safetensors").write_bytes(content)
        other = f"gsn/{kind}.safetensors [output]"
        with pytest.raises(ValueError, match="is not a file of Save Null-Text: choose one that") as told:
            load(nodes, other)
        assert str(told.value).count(". ") == 0, kind
    (output / "secret.safetensors").write_bytes(own.read_bytes())
    for other in (
        "gsn/../secret.safetensors [output]",
        str(own),
        "secret.safetensors [output]",
        "gone",
        name[1:],
    ):
        with pytest.raises(ValueError, match=r"is neither in models/gsn nor in output/gsn"):
            load(nodes, other)


def test_what_is_no_null_text_is_not_saved(tiny, usual, save, output):
    with pytest.raises(ValueError, match="connect the output negative of that node"):
        save(tiny.encode(""))
    more = [[text, {**options, "control": object()}] for text, options in usual[0]]
    with pytest.raises(ValueError, match="also has control: put the nodes that add it behind Load Null-Text"):
        save(more)
    for prefix in ("../../elsewhere", "../beside", "/elsewhere", "", "."):
        with pytest.raises(ValueError, match="writes into output/gsn alone: write a name, or a folder and a"):
            save(usual[0], filename_prefix=prefix)
    assert not list(output.rglob("*.safetensors"))
