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
    assert words in line and REFINE not in line and line.count("Note: ") == 1, line


@pytest.mark.parametrize("end", ("cancelled", "failed"))
def test_m2_a_run_that_did_not_end_says_so(said, end):
    """The count of update steps stayed on the node."""
    import comfy.model_management as management

    class Ends(list):
        def append(self, line):
            super().append(line)
            if line.startswith("update step 2"):
                if end == "failed":
                    raise ZeroDivisionError
                management.interrupt_current_processing()

    lines = Ends()
    with pytest.raises((management.InterruptProcessingException, ZeroDivisionError)):
        said(PROMPT, lines=lines, overrides="shifts=4", report_level="numbers only")
    assert lines[-2].startswith("update step 2") and lines[-1] == "stopped before the end of this run"


def test_c7_a_part_of_the_prompt_that_is_not_read(said, tiny):
    (positive,) = tiny.host.ConditioningConcat().concat(
        tiny.encode(PROMPT), [[torch.randn(1, 77, tiny.encode(PROMPT)[0][0].shape[-1]), {}]]
    )
    line = said(positive, report_level="numbers only", overrides="shifts=1")
    assert "Note: a part of the prompt is not read (appended by a node)" in line, line


def test_c7_why_a_run_was_skipped_is_in_the_line(said):
    assert said("a circle and a square", SYNGEN).startswith("Skipped: add an attribute to the prompt")
    line = said("a photo of")
    assert line.startswith("Skipped: type subjects") and "(no subjects found in the prompt)" in line
    line = said("ein roter Fuchs und ein blauer Vogel sitzen auf einem Baum")
    assert line.startswith("Skipped: ") and "the prompt is not English (German), type its subjects" in line, (
        line
    )


def test_a_run_without_remarks_has_no_note(said):
    line = said(PROMPT, report_level="numbers only", overrides="shifts=1")
    assert "Note" not in line and line.startswith("before: "), line


def test_without_maps_the_verdict_is_that_of_the_last_evaluation(said):
    line = said(PROMPT, report_level="numbers only", overrides="shifts=3")
    assert not line.startswith("before: ") and (", now 0." in line or line.startswith("nothing was")), line


def test_where_nothing_is_missing_that_is_the_whole_line(said):
    """It was "before: ... there (...), 1 of 1 image left alone, ...", half of it English everywhere."""
    settings = {"report_level": "numbers only", "only_if_needed": True}
    assert said(PROMPT, overrides="present_at=0.0001", **settings).startswith("nothing was missing; cost")


def test_d4_a_loss_that_cannot_fall_is_said_with_the_cure(said):
    line = said("a red circle", overrides="pieces=phrase, shifts=2", report_level="numbers only")
    assert "the words of a phrase share the attention, so a loss cannot fall far: choose pieces=noun" in line
    line = said("a red circle", overrides="shifts=8", report_level="numbers only")
    assert "share the attention" not in line and "did not fall" not in line
    line = said(PROMPT, overrides="shifts=2, learning_rate=1e-5", report_level="numbers only")
    assert ", the loss did not fall" in line


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
    assert "nothing was changed: the loss has no slope" in lines[-1]


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
    assert line.startswith("Skipped: use words of the prompt, or leave"), line
    assert "(none of the subjects that were typed is in the prompt)" in line


def test_a_line_reads_as_one_sentence(said, tiny):
    line = said(PROMPT, at_sigma=10000.0)
    assert line.startswith("Skipped: raise denoise (or start earlier), choose a later step, or connect")
    assert "(at_sigma 10000) is not in this run" in line, line


@pytest.mark.parametrize("method", (SYNGEN, "Divide & Bind (Li et al. 2023)"))
def test_a_saved_at_percent_that_a_method_does_not_use_is_a_remark(said, method):
    """Workflows saved with 0.18 go on, and so does one in which another method had its step."""
    short = {"report_level": "numbers only", "overrides": "max_rounds=1"}
    line = said(PROMPT, method, at_percent=0.18, **short)
    assert "Note: at_percent is not used by this method" in line, line
    assert "at_percent" not in said(PROMPT, method, **short)
    assert "Note: at_step is not used by this method" in said(PROMPT, method, at_step=2, **short)


def test_the_loss_of_a_star_is_told_from_the_step_on_that_has_all_its_terms(said, caplog):
    caplog.set_level("INFO")
    said(PROMPT, "A-STAR (Agarwal et al. 2023)", report_level="numbers only")
    assert " from step 1 on, " in caplog.text and "loss 0.000" not in caplog.text
    caplog.clear()
    said(PROMPT, "Attend-and-Excite (Chefer et al. 2023)")
    assert "loss " in caplog.text and " from step " not in caplog.text


def test_d4_what_a_phrase_cannot_reach_is_said_before_the_run(said):
    lines = []
    said("a red circle", lines=lines, overrides="shifts=1, pieces=phrase")
    assert lines[0].startswith("With pieces=phrase the words") and "; at step " in lines[1]


@pytest.mark.parametrize("method", (REFINE, "Attend-and-Excite (Chefer et al. 2023)", SYNGEN))
def test_a_latent_of_one_position_is_left_alone_with_the_cure(said, method):
    line = said(PROMPT, method, latent=empty(height=1, width=1))
    assert line.startswith("Skipped: choose a larger image (this latent has a single position"), line


def test_m4_the_subjects_and_the_step_are_said_before_and_counted_during_the_updates(said):
    lines = []
    line = said(PROMPT, lines=lines, overrides="shifts=3")
    assert lines[0].startswith("red circle, blue square, green triangle; at step ") and " of " in lines[0]
    assert [text for text in lines if text.startswith("update step")] == [
        "update step 1 of 3",
        "update step 2 of 3",
    ]
    assert len(line.partition(", the loss did not fall")[0]) <= 90 and REFINE not in line, line


def test_m4_a_skip_is_said_before_the_run_with_the_cure_first(said):
    lines = []
    said(PROMPT, lines=lines, at_sigma=10000.0)
    assert lines[0] == lines[-1] and lines[0].startswith("Skipped: raise denoise"), lines


def test_m8_two_recipes_of_one_node_are_two_verdicts_without_the_numbers_of_losses(said):
    line = said(PROMPT, "Latent Refine + SynGen, Ours+ (Grimal et al. 2025)", overrides="shifts=1")
    assert "loss 0" not in line and "->" not in line and len(line.splitlines()) <= 2, line
