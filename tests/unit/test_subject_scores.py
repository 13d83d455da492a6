"""Subjects of 408 prompts: precision, recall and the share without a fault stay at the measured level."""

import pytest

from tools.study.subject_scores import compare, score
from tools.study.subjects import HALVES, built_in, prompts

MEASURED = {"own": (0.99, 0.99, 0.98), "long": (0.98, 0.86, 0.43), "fresh": (0.95, 0.93, 0.77)}


@pytest.mark.parametrize("half", HALVES)
def test_the_measured_level_is_held(half):
    scores = score(prompts(half), built_in)
    precision, recall, fault_free = MEASURED[half]
    assert scores.precision >= precision
    assert scores.recall >= recall
    assert scores.fault_free >= fault_free


def test_the_set_is_as_described():
    rows = [row for half in HALVES for row in prompts(half)]
    assert len(rows) == 408 and len({row["id"] for row in rows}) == 408
    assert len({row["kind"] for row in prompts("fresh")}) >= 15
    assert sum(row["language"] != "en" for row in rows) == 29


@pytest.mark.parametrize(
    "found, wrong, missed",
    [
        ([("cat", "red cat"), ("hat", "hat")], [], []),
        ([("cat", "cat"), ("wrote", "wrote")], ["wrote"], []),
        ([("hats", "hats")], [], ["cat"]),
        ([], [], ["cat"]),
        ([("tower", "eiffel tower"), ("cats", "cats")], ["eiffel tower"], []),
    ],
)
def test_what_counts_as_wrong_and_missed(found, wrong, missed):
    assert compare(found, ["cat"], ["hat"]) == (wrong, missed)


def test_alternatives_count_once():
    assert compare([("tower", "clock tower")], ["clock tower|tower", "bell"], []) == ([], ["bell"])


def test_another_language_is_right_if_it_is_said():
    row = {"id": "1", "prompt": "x", "core": ["Katze"], "acceptable": [], "language": "de"}
    said = score([row], lambda text: ([], True))
    unsaid = score([row], lambda text: ([], False))
    assert (said.fault_free, said.core, said.refused) == (1, 0, 1)
    assert (unsaid.fault_free, unsaid.core_found, unsaid.refused) == (0, 0, 0)
