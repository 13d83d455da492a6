"""Scorers with ComfyUI's own towers, tiny and random: their embeddings are those of ComfyUI's nodes."""

import pytest
import torch
import torch.nn.functional as F

VISION = {
    "hidden_act": "quick_gelu", "hidden_size": 32, "image_size": 224, "intermediate_size": 64,
    "layer_norm_eps": 1e-5, "model_type": "clip_vision_model", "num_attention_heads": 2, "num_channels": 3,
    "num_hidden_layers": 2, "patch_size": 32, "projection_dim": 64,
}  # fmt: skip
IMAGES = torch.rand(2, 64, 48, 3, generator=torch.Generator().manual_seed(2))


def random_weights(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for tensor in module.parameters():
        tensor.data = torch.randn(tensor.shape, generator=generator, dtype=torch.float32) * 0.1
    return module


def vision(**changes):
    import comfy.clip_vision

    made = comfy.clip_vision.ClipVisionModel({**VISION, **changes})
    random_weights(made.model, 3)
    return made


@pytest.fixture
def clip(tiny):
    """The demo model's text encoder, 64 wide, with a projection."""
    with torch.inference_mode():
        clip = tiny.load()[1]
        encoder = clip.cond_stage_model.clip_l
        weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(4))
        encoder.transformer.text_projection.weight = torch.nn.Parameter(weight, requires_grad=False)
    return clip


@pytest.fixture
def towers(pack_module):
    return pack_module("gsn_ops.host.judge.clip_towers").ClipTowers


def test_embeddings_are_comfyuis(towers, clip, pack_module):
    scorers = pack_module("gsn_ops.judge.scorers")
    with torch.inference_mode():
        see = vision()
        both = towers(see, clip)
        images, texts = both.images(IMAGES), both.texts(["a star", "a red circle"])
        assert torch.equal(images, see.encode_image(IMAGES)["image_embeds"])
        pooled = clip.encode_from_tokens(clip.tokenize("a star"), return_pooled=True)[1]
        assert torch.equal(texts[:1], pooled) and texts.shape == (2, 64) and images.shape == (2, 64)
        found = scorers.ClipScore(both).score(IMAGES, scorers.ScoreRequest("a star"))
    wanted = 100 * F.cosine_similarity(images, texts[:1]).clamp(min=0)
    assert found == pytest.approx(wanted.tolist(), abs=1e-4)


def test_a_text_encoder_without_projection_or_of_another_clip_is_refused(towers, clip):
    with torch.inference_mode():
        with pytest.raises(ValueError, match="embeddings have 64 numbers and those of CLIP Vision 16"):
            towers(vision(projection_dim=16), clip)
        clip.cond_stage_model.clip_l.transformer.text_projection.weight.copy_(torch.eye(64))
        with pytest.raises(ValueError, match="gives no projected text embedding"):
            towers(vision(), clip)


def test_a_head_is_read_from_the_persons_file(pack_module, tmp_path):
    read_head = pack_module("gsn_ops.host.judge.clip_towers").read_head
    torch.save({"layers.0.weight": torch.ones(1, 3), "layers.0.bias": torch.zeros(1)}, tmp_path / "head.pth")
    assert set(read_head(str(tmp_path / "head.pth"))) == {"layers.0.weight", "layers.0.bias"}
