"""The demo in small: the shipped workflow through the queue, its pairs, its sheet."""

import io

import numpy as np
import pytest
from PIL import Image

from tools import demo
from tools.workflows import demo as demo_workflow

STEPS = 6


@pytest.fixture(scope="module")
def workflow() -> dict:
    """The shipped workflow with two shifts only, at a step that six steps have."""
    workflow = demo_workflow.shipped()
    workflow[demo_workflow.find(workflow, "GSNNursing")]["inputs"].update(
        overrides="shifts=2, learning_rate=0.1", at_step=1
    )
    return workflow


@pytest.fixture(scope="module")
def judged(server, workflow) -> list[demo.Judged]:
    return demo.run_all(demo.Client(server.url), workflow, demo.chosen(three=1, two=1), batch=2, steps=STEPS)


def without_our_patch(workflow: dict) -> dict:
    """The plain half alone: core nodes and the model, no nursing."""
    plain = {
        key: node
        for key, node in workflow.items()
        if not node["class_type"].startswith(("GSNNursing", "ImageStitch"))
    }
    refined = demo_workflow.find(workflow, "KSampler", "Refined")
    gone = {key for key in plain if refined in (key, plain[key]["inputs"].get("samples", [None])[0])}
    plain = {key: node for key, node in plain.items() if key not in gone}
    model = demo_workflow.find(workflow, "GSNDemoModel")
    (decoded,) = (key for key, node in plain.items() if node["class_type"] == "VAEDecode")
    for node in plain.values():
        if "clip" in node["inputs"]:
            node["inputs"]["clip"] = [model, 1]
        if node["class_type"] == "SaveImage":
            node["inputs"]["images"] = [decoded, 0]
    return plain


def test_every_prompt_gives_its_batch_of_pairs(judged):
    assert [(j.prompt, j.number) for j in judged] == [(p, n) for p in demo.chosen(1, 1) for n in (0, 1)]
    for j in judged:
        assert j.plain.shape == j.refined.shape == (256, 256, 3)


def test_the_plain_half_is_a_run_without_our_patch(judged, client, workflow):
    prompt = judged[0].prompt
    stock = without_our_patch(demo_workflow.substitute(workflow, prompt.text, prompt.seed, 2, STEPS))
    pictures = client.images(client.run(stock))
    for j, png in zip(judged[:2], pictures, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), j.plain)


def test_refined_differs_and_starts_from_the_same_noise(judged):
    for j in judged:
        assert not np.array_equal(j.plain, j.refined)
        assert np.abs(j.plain.astype(int) - j.refined).mean() < 40  # of 255: still the same picture
    assert not np.array_equal(judged[0].plain, judged[1].plain)


def test_the_sheet_holds_all_pairs(judged, tmp_path):
    demo.save_sheet(judged, tmp_path / "new folder" / "sheet.png", pairs=4, columns=2)
    sheet = Image.open(tmp_path / "new folder" / "sheet.png")
    assert sheet.size == demo.pair_sheet(judged, 2, title="any").size
    assert sheet.width > 4 * 160 and sheet.height > 2 * 160


def test_the_summary_counts_pairs(judged):
    text = demo.summary(judged)
    assert f"{len(judged)} pairs" in text and "fixed" in text


def test_substitution_leaves_the_shipped_workflow_alone(workflow):
    before = demo_workflow.shipped()
    changed = demo_workflow.substitute(before, "a red star", 5, 3, 9)
    assert before == demo_workflow.shipped()
    assert {n["inputs"]["steps"] for n in changed.values() if n["class_type"] == "KSampler"} == {9}
    assert changed[demo_workflow.find(changed, "EmptyLatentImage")]["inputs"]["batch_size"] == 3
    assert not {n["class_type"] for n in changed.values()} & set(demo_workflow.INSPECTION)


def test_a_workflow_without_the_expected_node_is_an_error_that_names_it():
    with pytest.raises(LookupError, match="0 nodes KSampler Third"):
        demo_workflow.find(demo_workflow.shipped(), "KSampler", "Third")
