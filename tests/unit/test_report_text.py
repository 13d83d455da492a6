"""The report in words and as JSON."""

import json
import math
from dataclasses import replace

import torch

from gsn_ops.report.run_report import RecipeReport, RunReport, SubjectReport
from gsn_ops.report.text import counted, report_text

NAN = math.nan


def example() -> RunReport:
    action = RecipeReport(
        method="Latent Refine",
        status="Latent Refine: 2 shifts at step 4",
        step=4,
        sigma=5.585,
        losses=((1.0, 0.5), (0.6, NAN)),
        loss_after=(),
        updates=(2, 1),
        forwards=4,
        backwards=2,
        maxima_before=((0.1, 0.9), (0.8, 0.7)),
        maxima_after=((0.6, 0.95), (0.81, 0.72)),
        maps_before=torch.zeros(2, 2, 4, 4, dtype=torch.float16),
        predicted_before=torch.zeros(2, 4, 8, 8, dtype=torch.float16),
        settings={"shifts": 2},
        attention_read="level 4 (chosen)",
    )
    subjects = (
        SubjectReport("red car", "typed", {"l": ("red", "car")}, {"l": (2, 3)}),
        SubjectReport("Hund", "found", {"l": ("h\u00fcnd",), "g": ()}, {"l": (5,), "g": ()}),
    )
    return RunReport(
        "0.1.0",
        "SD15",
        "euler",
        20,
        subjects,
        (action,),
        ("one remark",),
        default_step="18 % is sigma 5.59 here (ours)",
    )


def test_text_names_subjects_with_their_columns_and_what_each_image_got():
    assert report_text(example()).splitlines() == [
        "Semantic Nursing 0.1.0: SD15, euler, 20 steps",
        "18 % is sigma 5.59 here (ours)",
        "subject red car (typed): l 'red' 'car' at 2 3",
        "subject Hund (found): l 'h\u00fcnd' at 5",
        "Latent Refine: 2 shifts at step 4",
        "  attention read: level 4 (chosen)",
        "  image 1: loss 1.000 -> 0.600 in 2 update steps",
        "    attention maximum of red car: 0.100 -> 0.600",
        "    attention maximum of Hund: 0.900 -> 0.950",
        "  image 2: loss 0.500 -> 0.500 in 1 update step",
        "    attention maximum of red car: 0.800 -> 0.810",
        "    attention maximum of Hund: 0.700 -> 0.720",
        "note: one remark",
    ]


def test_one_of_a_thing_is_singular():
    assert [counted(n, "image") for n in (0, 1, 2, 21)] == ["0 images", "1 image", "2 images", "21 images"]


def test_text_of_a_run_that_did_nothing():
    report = RunReport(
        "0.1.0",
        "SD15",
        "euler",
        20,
        (),
        (RecipeReport("Latent Refine", "Latent Refine: skipped, no subjects"),),
    )
    assert report_text(report).splitlines()[1:] == ["no subjects", "Latent Refine: skipped, no subjects"]


def test_the_loss_after_the_last_update_wins_over_the_last_evaluation():
    report = example()
    report = replace(report, recipes=(replace(report.recipes[0], loss_after=(0.3, 0.2), maxima_after=()),))
    text = report_text(report)
    assert "loss 1.000 -> 0.300 in 2 update steps" in text
    assert "attention maximum of red car: 0.100\n" in text


def test_json_is_valid_and_without_tensors():
    def refuse(constant):
        raise AssertionError(f"not JSON: {constant}")

    data = json.loads(example().to_json(), parse_constant=refuse)
    assert data["schema"] == 2
    assert data["recipes"][0]["losses"] == [[1.0, 0.5], [0.6, None]]
    assert not {"maps_before", "maps_after", "predicted_before"} & set(data["recipes"][0])
    assert data["subjects"][1]["pieces"]["l"] == ["h\u00fcnd"]
