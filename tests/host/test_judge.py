"""The judge node with ComfyUI's own detectors, tiny and random, and on images of the demo models."""

import json

import pytest
import torch

from ..support import detectors

IMAGE = torch.rand(2, 64, 48, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def node(pack_module):
    return pack_module("nodes.judge").GSNJudge


@pytest.fixture(scope="module")
def found(pack_module):
    return pack_module("gsn_ops.host.judge.detectors")


def run(node, images=IMAGE, **inputs):
    with torch.inference_mode():
        return node.execute(images, **inputs).args


def test_rt_detr_tiny_through_comfyuis_node(node, found):
    from comfy_extras.nodes_rtdetr import RTDETR_detect

    model = detectors.rt_detr()
    with torch.inference_mode():
        boxes = RTDETR_detect.execute(model, IMAGE, 0.0, "all", 100).args[0]
        ours = found.detector_of(model).find(IMAGE, ["cat"], 0.0)
    assert [[d.label for d in frame] for frame in ours] == [[b["label"] for b in frame] for frame in boxes]
    assert len(boxes[0]) > 0
    label = boxes[0][0]["label"]
    right, score, _, data, images, masks = run(node, subjects=label, detector=model, confidence=0.0)
    assert images.shape == IMAGE.shape and masks.shape == (2, 64, 48)
    data = json.loads(data)
    assert data["sources"] == ["RT-DETR"] and data["images"][0]["subjects"][0]["count"] >= 0
    assert right == data["all_present"] and score == data["score"]


def test_sam_3_tiny_through_comfyuis_node(node, found):
    model, clip = detectors.sam3(), detectors.sam3_clip()
    with torch.inference_mode():
        frames = found.detector_of(model, clip).find(IMAGE[:1], ["crown", "wand"], 0.0)
    assert {d.label for d in frames[0]} == {"crown", "wand"}
    assert all(d.mask.shape == (64, 48) and d.mask.dtype == torch.bool for d in frames[0])
    assert max(sum(d.label == name for d in frames[0]) for name in ("crown", "wand")) > 1


def test_a_noun_outside_coco_goes_to_sam_3(node):
    *_, data, _, _ = run(
        node, IMAGE[:1], subjects="cat, red crown", detector=detectors.rt_detr(), clip=detectors.sam3_clip(),
        second_detector=detectors.sam3(), confidence=0.0,
    )  # fmt: skip
    data = json.loads(data)
    assert data["sources"] == ["RT-DETR", "SAM 3"] and data["not_judged"] == []
    assert data["images"][0]["subjects"][1]["colour_share"] is not None
    *_, data, _, _ = run(node, IMAGE[:1], subjects="cat, crown", detector=detectors.rt_detr())
    assert json.loads(data)["not_judged"] == ["crown"]


def test_other_models_and_a_missing_or_wrong_clip_are_refused(node, tiny):
    with pytest.raises(ValueError, match="detector input holds UNetModel, which does not detect"):
        run(node, subjects="cat", detector=tiny.model)
    with pytest.raises(ValueError, match="second_detector input holds UNetModel"):
        run(node, subjects="cat", detector=detectors.rt_detr(), second_detector=tiny.model)
    with pytest.raises(ValueError, match="SAM 3 is asked in words"):
        run(node, subjects="cat", detector=detectors.sam3())
    with pytest.raises(ValueError, match="not the text encoder of SAM 3.*64 numbers.*reads 128"):
        run(node, subjects="cat", detector=detectors.sam3(), clip=tiny.clip)


def test_without_subjects_or_source_it_is_refused(node, tiny):
    with pytest.raises(ValueError, match="no subjects to look for"):
        run(node, subjects="")
    with pytest.raises(ValueError, match="Nothing is connected that can say"):
        run(node, subjects="cat")
    with pytest.raises(ValueError, match="@spacy', which needs the prompt's text"):
        run(node, subjects="@spacy", judge_by="shapes of the demo models")
    with pytest.raises(ValueError, match="judge_by is 'x': choose one of"):
        run(node, subjects="cat", judge_by="x")
    with pytest.raises(ValueError, match="IMAGE input is empty"):
        run(node, None, subjects="cat")


@pytest.mark.parametrize("typed", ["", "red circle, blue square, green triangle"])
def test_an_image_of_the_demo_model_is_judged_by_its_prompt(node, tiny, typed):
    latent = tiny.sample(latent=torch.zeros(1, 4, 32, 32), sampler="euler", steps=8)
    with torch.inference_mode():
        image = tiny.vae.decode(latent)
    inputs = {"conditioning": tiny.encode("a red circle, a blue square and a green triangle")}
    right, score, missing, data, drawn, masks = run(
        node, image, subjects=typed, judge_by="shapes of the demo models", **inputs
    )
    assert [s["label"] for s in json.loads(data)["images"][0]["subjects"]] == [
        "red circle", "blue square", "green triangle"
    ]  # fmt: skip
    assert right == (score == 1) == (missing == "") and drawn.shape == image.shape
    assert masks.shape == (3, 256, 256) and not torch.equal(drawn, image)


def test_a_conditioning_without_token_data_is_refused_with_the_cure(node, tiny):
    with pytest.raises(ValueError, match="no token data from this pack"):
        run(node, conditioning=tiny.encode("no words that anyone has recorded", plain=True),
            judge_by="shapes of the demo models")  # fmt: skip


def test_boxes_of_another_node_and_an_answer(node):
    boxes = [[{"x": 4, "y": 4, "width": 20, "height": 30, "label": "kitten", "score": 0.9}]]
    right, score, missing, *_ = run(node, IMAGE[:1], subjects="cat, dog", boxes=boxes)
    assert (right, score, missing) == (False, 0.5, "dog")
    right, *_ = run(node, IMAGE[:1], subjects="cat, dog", answer="cat: yes, dog: yes")
    assert right


def test_grey_images_are_judged_and_broken_ones_refused(node):
    inputs = {"subjects": "black cat", "boxes": {"x": 0, "y": 0, "width": 9, "height": 9, "label": "cat"}}
    for channels in (1, 2, 4):
        right, *_, drawn, masks = run(node, torch.zeros(1, 20, 24, channels), **inputs)
        assert right and drawn.shape == (1, 20, 24, 3) and masks.shape == (1, 20, 24)
    assert run(node, torch.zeros(1, 1, 1, 3), **inputs)[0] is True
    with pytest.raises(ValueError, match="Image 2 has values that are not numbers"):
        run(node, torch.stack([IMAGE[0], IMAGE[0] * float("nan")]), **inputs)
    with pytest.raises(ValueError, match="images input holds no image"):
        run(node, IMAGE[:0], **inputs)


def test_sam_3_is_asked_for_every_word_of_a_class(found, monkeypatch):
    source, asked = found.detector_of(detectors.sam3(), object()), []
    monkeypatch.setattr(type(source), "_encode", lambda self, noun: asked.append(noun))
    box = {"x": 0, "y": 0, "width": 9, "height": 9, "score": 0.9}
    mask = torch.ones(64, 48)
    made = found._found_by_name
    monkeypatch.setattr(type(source), "_objects", lambda self, i, w, noun, c: [made(box, noun, mask > 0.5)])
    (frame,) = source.find(IMAGE[:1], ["man", "woman", "Man"], 0.5)
    assert asked == ["man", "woman"] and [(d.label, d.exact) for d in frame] == [
        ("man", True),
        ("woman", True),
    ]
