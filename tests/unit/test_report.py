"""The report as JSON and as one line."""

from __future__ import annotations

import json
import math

import torch

from gsn_ops.report.run_report import SCHEMA, RecipeReport, RunReport, SubjectReport

SUBJECT = SubjectReport("caf\u00e9", "typed", {"l": ("caf", "\u00e9</w>")}, {"l": (5, 6)})
DONE = RecipeReport(
    "Latent Refine",
    "3 shifts at step 8",
    step=8,
    sigma=5.633,
    c=5.72,
    losses=((0.5, 0.7), (0.25, math.nan)),
    loss_after=(0.2, math.inf),
    updates=(2, 1),
    forwards=4,
    backwards=2,
    maxima_before=((0.5,), (0.3,)),
    maps_before=torch.rand(2, 1, 8, 8),
    maps_after=torch.rand(2, 1, 8, 8),
    predicted_before=torch.rand(2, 4, 8, 8),
    settings={"shifts": 2, "objective": "cn_iou", "strict": False},
)
SKIPPED = RecipeReport("Latent Refine", "skipped: not in this run")
RUN = RunReport(
    "0.1.0", "SD1", "euler", 20, (SUBJECT,), (DONE, SKIPPED), ("a \u732b is left out",), ((0.1, 0.2, 0.3),)
)


def test_json_round_trip():
    text = RUN.to_json()
    data = json.loads(
        text, parse_constant=lambda name: (_ for _ in ()).throw(AssertionError(f"{name} is no JSON"))
    )
    assert data == RUN.to_dict()
    assert data["schema"] == SCHEMA == 2
    assert data["subjects"][0] == {
        "label": "caf\u00e9",
        "source": "typed",
        "pieces": {"l": ["caf", "\u00e9</w>"]},
        "columns": {"l": [5, 6]},
    }
    first, second = data["recipes"]
    assert (first["step"], first["sigma"], first["updates"]) == (8, 5.633, [2, 1])
    assert first["settings"] == {"shifts": 2, "objective": "cn_iou", "strict": False}
    assert second["step"] is None and second["losses"] == []
    assert "\u732b" in text  # readable, not escaped


def test_numbers_that_are_not_finite_are_null():
    action = RUN.to_dict()["recipes"][0]
    assert action["losses"] == [[0.5, 0.7], [0.25, None]]
    assert action["loss_after"] == [0.2, None]


def test_no_tensors_in_the_data():
    def leaves(value):
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            return [leaf for v in value.values() for leaf in leaves(v)]
        return [leaf for v in value for leaf in leaves(v)] if isinstance(value, list) else [value]

    assert {type(leaf) for leaf in leaves(RUN.to_dict())} <= {str, int, float, bool, type(None)}
    assert not any(key.startswith(("maps_", "predicted_")) for key in RUN.to_dict()["recipes"][0])


def test_status_is_one_line_with_the_subjects():
    assert RUN.status() == "3 shifts at step 8; skipped: not in this run [caf\u00e9]"
