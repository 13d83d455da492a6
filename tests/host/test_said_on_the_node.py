"""What matters about a run stands in the status line of the node that acts, without a report node."""

import pytest
import torch

from ..support.demo_model import PROMPT, empty

REFINE, SYNGEN = "Latent Refine (Grimal et al. 2025)", "SynGen (Rassin et al. 2023)"


@pytest.fixture
def said(tiny, pack, monkeypatch):
    """A function: the lines on Semantic Nursing after a run with this prompt (or conditioning)."""
    nodes = {node.GET_SCHEMA().node_id: node for node in pack.NODES}
    inner = tiny.module("nodes.nursing")

    def run(positive, method=REFINE, lines=None, latent=None, **settings) -> str:
        lines = [] if lines is None else lines
        monkeypatch.setattr(inner, "status_reporter", lambda node: lines.append)
        with torch.inference_mode():
            model = nodes["GSNNursing"].EXECUTE_NORMALIZED(tiny.model, method=method, **settings).args[0]
        positive = tiny.encode(positive) if isinstance(positive, str) else positive
        tiny.sample(model, positive=positive, latent=latent)
        return lines[-1]

    return run


@pytest.mark.parametrize(
    "prompt, settings, words",
    (
        (
            "a red circle, a blue square, a green star, a yellow heart, a purple cross, a black triangle",
            {},
            ". Note: left out: ",
        ),
        (PROMPT, {"subjects": "circle, red circle"}, "are the same word of the prompt"),
        (PROMPT, {"subjects": "red triangle"}, "the words of 'red triangle' do not stand together"),
    ),
)
def test_c7_a_remark_that_matters_stands_in_the_line(said, prompt, settings, words):
    line = said(prompt, report_level="numbers only", overrides="shifts=1", **settings)
    assert words in line and line.startswith(f"{REFINE}: step ") and line.count("Note: ") == 1, line


def test_c7_a_part_of_the_prompt_that_is_not_read(said, tiny):
    (positive,) = tiny.host.ConditioningConcat().concat(
        tiny.encode(PROMPT), [[torch.randn(1, 77, tiny.encode(PROMPT)[0][0].shape[-1]), {}]]
    )
    line = said(positive, report_level="numbers only", overrides="shifts=1")
    assert "Note: a part of the prompt is not read (appended by a node)" in line, line


def test_c7_why_a_run_was_skipped_is_in_the_line(said):
    assert said("a circle and a square", SYNGEN).startswith(f"{SYNGEN}: skipped, it binds attributes")
    assert "skipped, no subjects found in the prompt" in said("a photo of")
    line = said("ein roter Fuchs und ein blauer Vogel sitzen auf einem Baum")
    assert "skipped, " in line and "the prompt is not English (German), type its subjects" in line, line


def test_a_run_without_remarks_has_no_note(said):
    line = said(PROMPT, report_level="numbers only", overrides="shifts=1")
    assert "Note" not in line and line.endswith("[red circle, blue square, green triangle]"), line


def test_d4_a_loss_that_cannot_fall_is_said_with_the_cure(said):
    line = said("a red circle", overrides="pieces=phrase, shifts=2", report_level="numbers only")
    assert "the words of a phrase share the attention, so a loss cannot fall far: choose pieces=noun" in line
    line = said("a red circle", overrides="shifts=8", report_level="numbers only")
    assert "share the attention" not in line and "did not fall" not in line
    line = said(PROMPT, overrides="shifts=2, learning_rate=1e-5", report_level="numbers only")
    assert ", the loss did not fall [" in line


class Flat:
    """A loss of 7 with a gradient of 0, as another pack may have it."""

    def __init__(self, needs):
        self.needs = needs

    def __call__(self, maps, subjects, context):
        return 7 + 0 * next(iter(maps.cross.values())).sum((1, 2, 3))


def test_d2_an_unknown_loss_without_a_slope_changes_no_bit_and_says_so(tiny):
    lines = []
    objective = Flat(tiny.module("gsn_ops.maps").MapNeeds())
    model, _ = tiny.attach(step=1, on_status=lines.append, objective=objective)
    assert torch.equal(tiny.sample(model), tiny.sample())
    assert "0 update steps" in lines[-1] and "nothing was changed: the loss has no slope" in lines[-1]


def test_a_loss_of_another_pack_with_the_wrong_shape_is_named(tiny):
    class Scalar(Flat):
        def __call__(self, maps, subjects, context):
            return super().__call__(maps, subjects, context).mean()

    objective = Scalar(tiny.module("gsn_ops.maps").MapNeeds())
    for report in ("full", "curve"):
        model, _ = tiny.attach(step=1, objective=objective, report=report)
        with pytest.raises(ValueError, match="The objective Scalar .* returned a tensor of shape"):
            tiny.sample(model)


def test_of_subjects_that_may_be_missing_none_was_drawn(said):
    line = said(PROMPT, subjects="cat?, dog?")
    assert f"{REFINE}: skipped, none of the subjects that were typed is in the prompt" in line, line


def test_a_line_reads_as_one_sentence(said, tiny):
    line = said(PROMPT, at_sigma=10000.0)
    assert ": skipped, the wanted noise level (at_sigma 10000) is not in this run" in line, line
    line = said(PROMPT, overrides="shifts=1", report_level="numbers only")
    assert "1 update step, " in line and ", 1 forward and 1 backward pass" in line, line
    assert "passes" not in line


@pytest.mark.parametrize("method", (SYNGEN, "Divide & Bind (Li et al. 2023)"))
def test_a_saved_at_percent_that_a_method_does_not_use_is_a_remark(said, method):
    """Workflows saved with 0.18 go on; a step that was chosen on purpose is still refused."""
    short = {"report_level": "numbers only", "overrides": "max_rounds=1"}
    line = said(PROMPT, method, at_percent=0.18, **short)
    assert line.startswith(f"{method}: ") and "Note: at_percent is not used by this method" in line, line
    assert "at_percent" not in said(PROMPT, method, **short)
    with pytest.raises(ValueError, match="has no refinement at one step"):
        said(PROMPT, method, at_step=2)


def test_the_loss_of_a_star_is_told_from_the_step_on_that_has_all_its_terms(said):
    line = said(PROMPT, "A-STAR (Agarwal et al. 2023)", report_level="numbers only")
    assert " from step 1 on, " in line and "loss 0.000" not in line, line
    assert " from step " not in said(PROMPT, "Attend-and-Excite (Chefer et al. 2023)")


def test_d4_what_a_phrase_cannot_reach_is_said_before_the_run(said):
    lines = []
    said("a red circle", lines=lines, overrides="shifts=1, pieces=phrase")
    assert lines[0].startswith("With pieces=phrase the words") and lines[1].startswith(f"{REFINE}: step")


@pytest.mark.parametrize("method", (REFINE, "Attend-and-Excite (Chefer et al. 2023)", SYNGEN))
def test_a_latent_of_one_position_is_left_alone_with_the_cure(said, method):
    line = said(PROMPT, method, latent=empty(height=1, width=1))
    assert line.startswith(f"{method}: skipped, this latent has a single position"), line
    assert "choose a larger image" in line
