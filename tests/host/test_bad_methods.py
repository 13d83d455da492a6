"""What a method cannot do with this prompt, layout, model or text is refused by the nodes in words, before
the first model call.
"""

import pytest
import torch

from ..support.demo_model import PROMPT, recording

LMD, FOCUS, NEGLECT, SYNGEN = (
    "LMD energy (Lian et al. 2024)",
    "FOCUS (2025)",
    "Neglect (USTC study 2024)",
    "SynGen (Rassin et al. 2023)",
)


@pytest.fixture(scope="module")
def run(pack):
    """A function: a node's outputs, run as ComfyUI's executor does."""
    nodes = {node.GET_SCHEMA().node_id: node for node in pack.NODES}

    def call(node: str, *args, **kwargs) -> tuple:
        with torch.inference_mode():
            return nodes[node].EXECUTE_NORMALIZED(*args, **kwargs).args

    return call


@pytest.fixture
def refused(tiny, run):
    """A function: a run with this method and conditioning raises an error with these words, and the network
    was not called.
    """

    def check(method: str, *words: str, positive=None, **settings):
        seen = []
        model, _, _ = run("GSNNursing", recording(tiny.model, seen), method=method, **settings)
        with pytest.raises(ValueError) as error:
            tiny.sample(model, positive=positive)
        assert not [word for word in words if word not in str(error.value)], str(error.value)
        assert seen == []

    return check


LAYOUT_METHODS = {
    "BoxDiff (Xie et al. 2023)",
    "Layout Guidance (Chen et al. 2024)",
    LMD,
    "Point Layout (USTC study 2024)",
    "R&B, Region and Boundary (Xiao et al. 2024)",
    "Bounded Attention, loss (Dahary et al. 2024)",
}


@pytest.mark.parametrize("method", sorted(LAYOUT_METHODS))
def test_a_layout_method_without_regions(refused, method):
    refused(
        method, "where a subject shall be", "Subject Region", "'red circle', 'blue square', 'green triangle'"
    )


def test_a_region_of_somebody_else(refused, run, tiny):
    """A region for words that the prompt has, but not for a subject that the person typed: it is one more
    subject, so this works.
    """
    (positive,) = run("GSNRegion", tiny.encode(PROMPT), subject="circle")
    model, _, book = run("GSNNursing", tiny.model, method=LMD, subjects="blue square", strength=0.1)
    assert set(book.find(tiny.sample(model, positive=positive)).recipes[0].subjects) == {
        "blue square",
        "circle",
    }


@pytest.mark.parametrize(
    "settings, cause, cure",
    (
        (
            {"subject": "circle", "x": 1.0, "width": 0.5},
            "from (1, 0) to (1.5, 1) is outside the image",
            "from 0 to 1",
        ),
        ({"subject": "circle", "width": 0.0}, "has no area (width 0, height 1)", "make it wider"),
        ({"subject": "circle", "mask": torch.zeros(1, 8, 8)}, "mask is empty", "paint where"),
        ({"subject": "circle", "boxes": []}, "no box in boxes", "draw one"),
        (
            {"subject": "circle", "boxes": [{"x": 600, "y": 0, "width": 50, "height": 50}]},
            "outside the image",
            "canvas_width",
        ),
        ({"subject": "zebra"}, "'zebra' is not in the prompt", "Its words are"),
        ({"subject": "red"}, "'red' only describes 'circle'", "'red circle'"),
        ({"subject": ""}, "subject", "words"),
    ),
)
def test_a_region_that_cannot_be(run, tiny, refused, settings, cause, cure):
    try:
        (positive,) = run("GSNRegion", tiny.encode(PROMPT), **settings)
    except ValueError as error:
        assert cause in str(error) and cure in str(error), str(error)
    else:  # words are looked up when the run begins
        refused(LMD, cause, cure, positive=positive)


def test_a_modifier_without_its_noun(refused):
    refused(SYNGEN, "'blue' only describes 'square'", "'blue square'", subjects="red circle, blue")


def test_a_picture_instead_of_noise_for_a_method_that_chooses_noise(tiny, run):
    """A patch leaves such a run alone and says so: the picture would be lost."""
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    model, _, book = run("GSNNursing", tiny.model, method="InitNO (Guo et al. 2024)")
    out = tiny.sample(model, latent=latent)
    assert "starts from an image" in book.find(out).recipes[0].status
    assert torch.equal(out, tiny.sample(latent=latent))


@pytest.mark.parametrize(
    "node, settings, cause, cure",
    (
        (
            "GSNGuidanceModel",
            {"thresholds": "0:0.05, half:0.5"},
            "thresholds, character 9",
            "step:attention",
        ),
        ("GSNGuidanceModel", {"levels": "big"}, "levels is 'big'", "write auto"),
        ("GSNGuidanceModel", {"scale_factor": -1.0}, "scale_factor is -1", "0 (off)"),
        (
            "GSNObjective",
            {"objective": "presence", "options": "kernel_size=5, kernel=3"},
            "options, character 16",
            "kernel_sigma",
        ),
        (
            "GSNObjective",
            {"objective": "syngen", "options": "variant=groups"},
            "'variant' cannot be 'groups'",
            "group_mean",
        ),
        (
            "GSNObjective",
            {"objective": "presence", "options": "kernel_size=big"},
            "kernel_size wants a whole number",
            "'big'",
        ),
        ("GSNObjective", {"objective": "lmd", "options": "blocks=12-5"}, "blocks is '12-5'", "such as 5-12"),
        ("GSNObjective", {"objective": "magic"}, "Unknown objective 'magic'", "syngen"),
        (
            "GSNNursing",
            {"method": SYNGEN, "overrides": "scale_factor=3, end=0.4"},
            "overrides, character 17",
            "end_percent",
        ),
    ),
)
def test_text_that_does_not_parse_names_its_place_and_the_keys(tiny, run, node, settings, cause, cure):
    with pytest.raises(ValueError) as error:
        run(node, *(() if node == "GSNObjective" else (tiny.model,)), **settings)
    assert cause in str(error.value) and cure in str(error.value), str(error.value)


def test_a_window_that_is_empty_in_this_run_is_said_on_the_node(tiny, run):
    model, book = run("GSNGuidanceModel", tiny.model, start_percent=0.001, end_percent=0.002)
    out = tiny.sample(model, denoise=0.4)
    assert (
        "no step of this run lies between 0.1% and 0.2% of the noise schedule: widen the window"
        in book.find(out).recipes[0].status
    )
    assert torch.equal(out, tiny.sample(denoise=0.4))


CONFORM = "CONFORM (Meral et al. 2024)"


@pytest.mark.parametrize(
    "method, prompt, words",
    (
        (SYNGEN, "a circle and a square", ("no subject has an attribute", "choose Latent Refine")),
        ("SynGen+ (Grimal et al. 2025)", "a star, a heart", ("no subject has an attribute",)),
        (NEGLECT, "a red circle", ("no subject is marked as unwanted", "put a minus before one")),
        (FOCUS, "a red circle and a star", ("velocity of flow models", "such as SynGen")),
        (CONFORM, "a red circle", ("it keeps subjects apart", "only 'red circle'", "name a second subject")),
        (CONFORM, "a photo of a heart", ("it keeps subjects apart", "only 'heart'")),
    ),
)
def test_d1_d3_a_method_that_cannot_act_on_the_subjects_is_skipped_with_the_reason(
    tiny, run, method, prompt, words
):
    """Before its first pass: as many calls of the network as in a plain run, and the same bits."""
    seen, plain = [], []
    positive = tiny.encode(prompt)
    expected = tiny.sample(recording(tiny.model, plain), positive=positive)
    model, _, book = run("GSNNursing", recording(tiny.model, seen), method=method)
    out = tiny.sample(model, positive=positive)
    for recipe in book.find(out).recipes:
        assert recipe.status.startswith(f"{method}: skipped, ")
        assert not [word for word in words if word not in recipe.status], recipe.status
    assert torch.equal(out, expected) and len(seen) == len(plain) > 0


def test_d3_a_separation_loss_of_one_subject_is_skipped_at_one_step_too(tiny, run):
    (objective,) = run("GSNObjective", objective="iou")
    model, book = run("GSNRefineModel", tiny.model, objective=objective, shifts=3)
    positive = tiny.encode("a red circle")
    out = tiny.sample(model, positive=positive)
    assert "skipped, it keeps subjects apart" in book.find(out).recipes[0].status
    assert torch.equal(out, tiny.sample(positive=positive))
