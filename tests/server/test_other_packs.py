"""Other node packs add an objective, a method, an architecture: one function in their __init__.py, whichever
pack loads first.
"""

import json

import pytest

from tools.host_env.client import Client, PromptFailed


@pytest.fixture
def client(server_with_packs) -> Client:
    return Client(server_with_packs.url)


def nursing_settings(changed: dict) -> dict:
    """Of Semantic Nursing: a published method at one step, with these changes."""
    return {"method": "Latent Refine (Grimal et al. 2025)", "at_step": 1, **changed}


def prompt(nursing: dict, objective: dict | None = None) -> dict:
    """A short run of the demo model with a report of what was done."""
    nodes = {
        "model": {"class_type": "GSNDemoModel", "inputs": {}},
        "nursing": {
            "class_type": "GSNNursing",
            "inputs": {"model": ["model", 0], "clip": ["model", 1], **nursing_settings(nursing)},
        },
        "positive": {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": ["nursing", 1], "text": "a red circle and a blue square"},
        },
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": ""}},
        "latent": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 256, "height": 256, "batch_size": 1},
        },
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["nursing", 0],
                "seed": 5,
                "steps": 4,
                "cfg": 7.5,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                "positive": ["positive", 0],
                "negative": ["negative", 0],
                "latent_image": ["latent", 0],
            },
        },
        "report": {
            "class_type": "GSNReport",
            "inputs": {"latent": ["sampler", 0], "report": ["nursing", 2], "label": ""},
        },
        "text": {"class_type": "PreviewAny", "inputs": {"source": ["report", 1]}},
    }
    if objective is not None:
        nodes["objective"] = {"class_type": "GSNObjective", "inputs": objective}
        nodes["nursing"]["inputs"].update(strength=0.0)
        nodes["refine"] = {
            "class_type": "GSNRefineModel",
            "inputs": {"model": ["nursing", 0], "objective": ["objective", 0], "shifts": 2, "at_step": 1},
        }
        nodes["sampler"]["inputs"]["model"], nodes["report"]["inputs"]["report"] = (
            ["refine", 0],
            ["refine", 1],
        )
    return nodes


def test_its_objective_and_method_are_offered(client):
    info = client.object_info()
    assert "brightest_corner" in str(info["GSNObjective"]["input"])
    assert "Corner (test 2026)" in str(info["GSNNursing"]["input"])


def test_its_method_runs(client):
    text = client.run(prompt({"method": "Corner (test 2026)"}))["outputs"]["text"]["text"][0]
    assert "Corner (test 2026): step 1 of 4" in text and "2 update steps" in text


def test_its_objective_runs_with_its_option(client):
    text = client.run(prompt({}, {"objective": "brightest_corner", "options": "factor=2"}))["outputs"][
        "text"
    ]["text"][0]
    assert "2 update steps" in text
    with pytest.raises(PromptFailed, match="there is no setting 'factr'"):
        client.run(prompt({}, {"objective": "brightest_corner", "options": "factr=2"}))


def test_its_model_is_refined(client):
    nodes = prompt({"method": "Latent Refine (Grimal et al. 2025)", "overrides": "shifts=2"})
    nodes["model of the pack"] = {"class_type": "LoadTwoStreams", "inputs": {}}
    nodes["nursing"]["inputs"].update(model=["model of the pack", 0])
    text = client.run(nodes)["outputs"]["text"]["text"][0]
    assert "Two Streams, sample_euler, 4 steps" in text and "step 1 of 4" in text and "2 update steps" in text
    assert "attention read: all blocks (ours: both blocks)" in text


def judged(detectors: dict, **inputs) -> dict:
    """A black picture twice, judged by tiny detectors with random weights."""
    return {
        "picture": {
            "class_type": "EmptyImage",
            "inputs": {"width": 96, "height": 64, "batch_size": 2, "color": 0},
        },
        "found": {"class_type": "LoadTinyDetectors", "inputs": {}},
        "judge": {
            "class_type": "GSNJudge",
            "inputs": {"images": ["picture", 0], "confidence": 0.0, **detectors, **inputs},
        },
        "data": {"class_type": "PreviewAny", "inputs": {"source": ["judge", 3]}},
    }


@pytest.mark.parametrize(
    "detectors, subjects, sources",
    (
        ({"detector": ["found", 0]}, "cat, dog", ["RT-DETR"]),
        ({"detector": ["found", 1], "clip": ["found", 2]}, "crown, wand", ["SAM 3"]),
        (
            {"detector": ["found", 0], "second_detector": ["found", 1], "clip": ["found", 2]},
            "cat, red crown",
            ["RT-DETR", "SAM 3"],
        ),
    ),
)
def test_comfyuis_detectors_judge_through_the_queue(client, detectors, subjects, sources):
    entry = client.run(judged(detectors, subjects=subjects))
    data = json.loads(entry["outputs"]["data"]["text"][0])
    assert data["sources"] == sources and data["not_judged"] == []
    assert len(data["images"]) == 2 and 0 <= data["score"] <= 1
    assert [s["label"] for s in data["images"][0]["subjects"]] == subjects.split(", ")


def test_a_noun_that_the_detector_does_not_know_is_named(client):
    entry = client.run(judged({"detector": ["found", 0]}, subjects="cat, crown"))
    assert json.loads(entry["outputs"]["data"]["text"][0])["not_judged"] == ["crown"]
