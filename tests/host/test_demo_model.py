"""The embedded demo model loads through ComfyUI's own loader, leaves nothing behind, and draws what it is
asked for.
"""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from gsn_ops.judge.demo_detector import detect, success
from tools.tiny import captions, latent_frame, world
from tools.tiny.prompts import prompts
from tools.tiny.text_encoder import TextEncoder

TEXT = "cond_stage_model.transformer.text_model."


@pytest.fixture(scope="module")
def demo(pack_module):
    return pack_module("gsn_ops.host.demo.sd")


@pytest.fixture(scope="module")
def loaded(demo):
    with torch.inference_mode():  # as ComfyUI's executor does
        return demo.load_demo_model()


@pytest.fixture(scope="module")
def tensors(demo):
    return safetensors.torch.load_file(demo.PATH)


@pytest.fixture
def classes():
    """ComfyUI's list of model classes; compared before and after every test that asks for it."""
    import comfy.supported_models

    models = comfy.supported_models.models
    before = list(models)
    yield models
    assert comfy.supported_models.models is models and len(models) == len(before)
    assert all(a is b for a, b in zip(models, before))


def test_loads_model_text_encoder_and_vae_and_leaves_the_host_as_it_was(demo, classes):
    model, clip, vae = demo.load_demo_model()
    assert type(model.model.model_config).__name__ == "DemoSD"
    assert 2.5e6 < sum(p.numel() for p in model.model.diffusion_model.parameters()) < 3e6
    assert clip.encode_from_tokens(clip.tokenize("a star")).shape == (1, 77, 64)
    assert vae.latent_channels == 4 and vae.spacial_compression_encode() == 8


def test_two_loads_share_nothing(demo, loaded):
    model, _, _ = demo.load_demo_model()
    ours, theirs = (m.model.diffusion_model.out[2].weight for m in (model, loaded[0]))
    assert ours.data_ptr() != theirs.data_ptr() and torch.equal(ours, theirs)


def test_an_error_while_the_host_loads_leaves_it_as_it_was(demo, classes, monkeypatch):
    def fail(self, state_dict):
        raise RuntimeError("no text encoder today")

    monkeypatch.setattr(demo.DemoSD, "process_clip_state_dict", fail)
    with pytest.raises(RuntimeError, match="no text encoder today"):
        demo.load_demo_model()


def test_a_missing_file_is_named_with_the_cure(demo, classes, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="(?s)missing.*nothing.safetensors.*Install the pack again.*train_tiny"
    ):
        demo.load_demo_model(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 5000, 2_000_000])
def test_a_truncated_file_is_named_with_the_cure(demo, classes, tmp_path, keep):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(demo.PATH.read_bytes()[:keep])
    with pytest.raises(ValueError, match="(?s)broken.safetensors is damaged.*Install the pack again"):
        demo.load_demo_model(broken)


def test_foreign_files_are_refused(demo, classes, tmp_path, tensors):
    foreign, stamp = tmp_path / "foreign.safetensors", {"gsn_format": demo.FORMAT}
    cases = {
        "other keys": ({"lora.weight": torch.zeros(2, 2)}, None),
        "other keys under our name": ({"lora.weight": torch.zeros(2, 2)}, stamp),
        "our tensors without the name": (tensors, None),
        "one tensor missing": (dict(list(tensors.items())[1:]), stamp),
        "one tensor of another shape": ({**tensors, demo.TOKEN_TABLE: torch.zeros(21, 64)}, stamp),
    }
    for case, (content, metadata) in cases.items():
        safetensors.torch.save_file(content, foreign, metadata)
        with pytest.raises(ValueError, match="(?s)not the demo model.*Load Checkpoint"):
            demo.load_demo_model(foreign)
            pytest.fail(case)


def test_the_committed_file_tells_how_it_was_made(demo):
    assert demo.PATH.stat().st_size <= 8_000_000
    with safetensors.safe_open(demo.PATH, framework="pt") as file:
        about = file.metadata()
    stages = json.loads(about["recipe"])["stages"]
    assert [stage["name"] for stage in stages] == ["world", "attention", "binding"]
    assert [stage["pixel_weight"] > 0 for stage in stages] == [False, True, True]
    assert set(json.loads(about["final_losses"])) == {stage["name"] for stage in stages}
    assert {"torch", "numpy", "comfyui"} <= set(json.loads(about["versions"]))
    assert "tools/train_tiny.py" in json.loads(about["sha256"]) and about["seed"].isdigit()


def test_the_host_tokenizes_as_training_did(loaded):
    clip = loaded[1]
    for text in ("", "a red circle, a blue square and a green star", "a photo of a heart and a cross"):
        ids = [token[0] for token in clip.tokenize(text)["l"][0]]
        assert ids == [captions.TOKEN_IDS[captions.WORDS[row]] for row in captions.encode(text)]


def test_the_host_encodes_as_training_did(loaded, tensors):
    encoder = TextEncoder()
    encoder.load_state_dict(
        {k.removeprefix(TEXT): v.float() for k, v in tensors.items() if k.startswith(TEXT)}
    )
    text = "a photo of a purple triangle, a black star and a yellow cross"
    with torch.no_grad():
        ours = encoder(torch.from_numpy(captions.encode(text)).long()[None])
        theirs = loaded[1].encode_from_tokens(loaded[1].tokenize(text))
    assert torch.allclose(ours, theirs.float(), atol=2e-3)


def test_unknown_words_share_one_row(loaded):
    table = loaded[1].cond_stage_model.clip_l.transformer.text_model.embeddings.token_embedding.weight
    known = list(captions.TOKEN_IDS.values())
    assert torch.equal(table[1], table[2]) and not torch.equal(table[known[2]], table[1])
    assert len(torch.unique(table.detach().float(), dim=0)) == len(known) + 1


def test_the_frame_is_the_one_training_used(demo):
    assert torch.equal(demo.FRAME, latent_frame.FRAME) and torch.equal(demo.MU, latent_frame.MU)


def test_vae_is_the_linear_frame(loaded):
    vae = loaded[2]
    scenes = world.sample_scenes(np.random.default_rng(0), 4)
    rgb = torch.from_numpy(world.render(scenes)[0]).float() / 255  # (4, 32, 32, 3)
    latent = latent_frame.rgb_to_latent(rgb)
    with torch.inference_mode():
        encoded = vae.encode(rgb.repeat_interleave(8, 1).repeat_interleave(8, 2))
        decoded = vae.decode(latent)
    assert torch.allclose(encoded.float(), latent, atol=1e-2)
    assert decoded.shape == (4, 256, 256, 3) and decoded.min() >= 0 and decoded.max() <= 1
    images = (decoded.float() * 255).round().byte().cpu().numpy()
    for i, image in enumerate(images):
        found = [(f.colour, f.shape) for f in detect(image)]
        assert sorted(found) == sorted(scenes.objects(i, drawn_only=True))


def test_the_linear_preview_shows_true_colours(demo):
    rgb = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    latent = latent_frame.rgb_to_latent(rgb).movedim(1, -1)
    factors, bias = (
        torch.tensor(v) for v in (demo.DemoLatent.latent_rgb_factors, demo.DemoLatent.latent_rgb_factors_bias)
    )
    assert torch.allclose((latent @ factors + bias + 1) / 2, rgb, atol=1e-5)


def draw(loaded, prompt, steps=20):
    """One image by ComfyUI's own sampler -> latent [1, 4, 32, 32]."""
    import comfy.sample

    model, clip, _ = loaded
    with torch.inference_mode():
        positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(t)) for t in (prompt.text, ""))
        empty = torch.zeros(1, 4, 32, 32)
        return comfy.sample.sample(
            model,
            comfy.sample.prepare_noise(empty, prompt.seed),
            steps,
            7.5,
            "ddpm",
            "ddim_uniform",
            positive,
            negative,
            empty,
            disable_pbar=True,
            seed=prompt.seed,
        )


@pytest.mark.slow
def test_it_draws_single_objects(loaded):
    asked = prompts(1, 6, "test")
    right = 0
    for prompt in asked:
        rgb = latent_frame.latent_to_rgb(draw(loaded, prompt).float()).clamp(0, 1)[0]
        right += success(detect((rgb * 255).round().byte().numpy()), list(prompt.wanted))[0]
    assert right >= 5


def test_the_same_seed_gives_the_same_bits(loaded):
    (prompt,) = prompts(2, 1, "test")
    assert torch.equal(draw(loaded, prompt, steps=4), draw(loaded, prompt, steps=4))
