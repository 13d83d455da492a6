"""Scorers with ComfyUI's own towers, tiny and random: their embeddings are those of ComfyUI's nodes."""

import json
from types import SimpleNamespace

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


def test_a_vision_model_that_is_no_clip_is_refused(towers):
    with pytest.raises(ValueError, match="of the kind siglip_vision_model, which shares no space"):
        towers(SimpleNamespace(model_type="siglip_vision_model"))


@pytest.fixture
def own_folder(pack_module, tmp_path, monkeypatch):
    """models/gsn, somewhere else."""
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "gsn", ([str(tmp_path)], set()))
    monkeypatch.setitem(folder_paths.filename_list_cache, "gsn", ([], {}, 0.0))
    return tmp_path


def test_a_head_is_read_from_the_persons_file(pack_module, own_folder):
    towers = pack_module("gsn_ops.host.judge.clip_towers")
    torch.save(
        {"layers.0.weight": torch.ones(1, 3), "layers.0.bias": torch.zeros(1)}, own_folder / "head.pth"
    )
    assert towers.head_files() == ["head.pth"]
    assert set(towers.read_head("head.pth")) == {"layers.0.weight", "layers.0.bias"}
    with pytest.raises(ValueError, match="'other.pth' is not in models/gsn: put the head of the LAION"):
        towers.read_head("other.pth")
    for name in ("page.pth", "page.safetensors"):
        (own_folder / name).write_text("<html>404</html>")
        with pytest.raises(ValueError, match=f"'{name}' in models/gsn cannot be read"):
            towers.read_head(name)


@pytest.fixture
def score(pack):
    """Image Scores: (values by name of its JSON, the node's line, its outputs)."""
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNScores")

    def run(*args, **inputs):
        with torch.inference_mode():
            out = node.EXECUTE_NORMALIZED(*args, **inputs)
        return json.loads(out.args[3]), out.ui["text"][0], out.args

    return run


def test_the_node_gives_every_score_that_can_be_had(score, clip, towers, pack_module, own_folder):
    scorers, see = pack_module("gsn_ops.judge.scorers"), vision()
    weight = torch.linspace(-1, 1, 64)[None]
    torch.save({"layers.0.weight": weight, "layers.0.bias": torch.tensor([5.0])}, own_folder / "head.pth")
    prompt = "a red circle and a blue square"
    data, line, outputs = score(
        IMAGES, see, prompt, clip=clip, captions="a circle\n\na square\n", aesthetic_head="head.pth"
    )
    with torch.inference_mode():
        both = towers(see, clip)
        embedded = F.normalize(both.images(IMAGES), dim=-1)
        pooled = F.normalize(both.texts([prompt]), dim=-1)
        found = {label: scorers.cosine(embedded, scorers.templated(both, label)) for label in
                 (prompt, "a red circle", "a blue square")}  # fmt: skip
    images = data["images"]
    assert images["full prompt"] == pytest.approx(found[prompt].tolist())
    least = torch.minimum(found["a red circle"], found["a blue square"])
    assert images["minimum object"] == pytest.approx(least.tolist())
    assert images["CLIPScore"] == pytest.approx((100 * embedded @ pooled[0]).clamp(min=0).tolist(), abs=1e-4)
    assert images["aesthetic"] == pytest.approx((embedded @ weight[0] + 5).tolist(), abs=1e-4)
    assert len(images["text-text"]) == 2 and list(outputs[:3]) == pytest.approx(
        [data["mean"][name] for name in ("full prompt", "minimum object", "CLIPScore")]
    )
    with pytest.raises(ValueError, match="subjects is '@spacy': Image Scores has no spaCy"):
        score(IMAGES, see, prompt, clip=clip, subjects="@spacy")
    assert line.startswith(f"full prompt {found[prompt].mean():.3f}, minimum object {least.mean():.3f}, ")


def test_what_is_not_connected_is_left_out_or_refused(score, clip, own_folder):
    head = {"layers.0.weight": torch.ones(1, 64), "layers.0.bias": torch.zeros(1)}
    torch.save(head, own_folder / "head.pth")
    assert list(score(IMAGES, vision(), "", aesthetic_head="head.pth")[0]["images"]) == ["aesthetic"]
    assert "minimum object" not in score(IMAGES, vision(), "sunny", clip=clip)[0]["images"]
    for inputs, message in (
        ({}, "nothing to measure with: connect clip"),
        ({"clip": clip, "prompt": " "}, "prompt is empty"),
        ({"clip": clip, "captions": "one"}, "1 captions for 2 images"),
        ({"clip": clip, "aesthetic_head": "none.pth"}, "'none.pth' is not in models/gsn"),
    ):
        with pytest.raises(ValueError, match=message):
            score(IMAGES, vision(), **{"prompt": "a star", **inputs})
