"""How starts are scored and ranked, on maps made by hand."""

import math

import pytest
import torch

from gsn_ops.maps import AttentionMaps
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.start_scores import best_look, ranked, right_when_picked, score_start, spread


def maps_of(*rows):
    """Attention [1, 4, 4, 3] of the columns 1 to 3, each a 4 x 4 map."""
    cross = torch.stack([torch.as_tensor(row, dtype=torch.float32).expand(4, 4) for row in rows], -1)[None]
    return AttentionMaps({2: cross}, (1, 2, 3), (Span("l", 1, 4),))


def subject(label, column, role="wanted"):
    return SubjectColumns(SubjectPhrase(label, label, role=role), {"l": (column,)})


def peak(value, rest=0.0):
    m = torch.full((4, 4), rest)
    m[1, 1] = value
    return m


def test_presence_is_the_maximum_of_the_weakest_subject():
    found = score_start(maps_of(peak(0.2), peak(0.02), 0.0), [subject("cat", 1), subject("dog", 2)])
    assert found.maxima[0] > found.maxima[1] and found.value("presence") == found.maxima[1]
    assert found.weakest("presence") == "dog"


def test_focus_is_1_for_one_cell_and_0_for_a_flat_map():
    found = score_start(maps_of(peak(0.2), 0.1, 0.0), [subject("cat", 1), subject("dog", 2)])
    assert found.focus == pytest.approx((1.0, 0.0), abs=1e-6) and found.value("focus") == found.focus[1]
    half = torch.zeros(4, 4)
    half[:2] = 0.3
    (focus,) = score_start(maps_of(half, 0.0, 0.0), [subject("cat", 1)]).focus
    assert focus == pytest.approx(1 - math.log(8) / math.log(16), abs=1e-6)


def test_unwanted_subjects_do_not_count():
    found = score_start(maps_of(peak(0.2), 0.1, 0.0), [subject("cat", 1), subject("dog", 2, "unwanted")])
    assert found.labels == ("cat",)


def test_ranking_keeps_the_order_of_equal_starts():
    assert ranked([0.1, 0.5, 0.5, 0.9]) == [3, 1, 2, 0]


def test_a_start_without_a_number_comes_last():
    assert ranked([float("nan"), 0.1, float("nan"), 0.3]) == [3, 1, 0, 2]


def test_spread_is_the_standard_deviation():
    assert spread([0.2, 0.4]) == pytest.approx(0.1) and spread([0.3]) == 0


def test_of_equal_starts_the_one_with_less_overlap_comes_first():
    assert ranked([0.9, 0.9, 0.5], [0.4, 0.1, 0.0]) == [1, 0, 2]
    apart = score_start(maps_of(peak(0.2), peak(0.2).flip(0), 0.0), [subject("cat", 1), subject("dog", 2)])
    together = score_start(maps_of(peak(0.2), peak(0.2), 0.0), [subject("cat", 1), subject("dog", 2)])
    assert apart.overlap < together.overlap == pytest.approx(0.5)


def test_the_best_of_n_starts_is_right_more_often_the_better_the_ranking():
    assert right_when_picked(1, 0.35, 0.84) == pytest.approx(0.35, abs=1e-9)
    assert right_when_picked(8, 0.35, 0.5) == pytest.approx(0.35, abs=1e-9)  # a ranking that says nothing
    sharp = right_when_picked(4, 0.35, 1 - 1e-12)
    assert sharp == pytest.approx(1 - 0.65**4, abs=1e-3)  # right whenever any is
    rising = [right_when_picked(n, 0.35, 0.84) for n in (1, 2, 4, 8)]
    assert rising == sorted(rising)


@pytest.mark.parametrize(
    "steps, flow, call",
    [(20, False, 2), (1, False, 1), (20, True, 7), (8, True, 3), (4, True, 2), (1, True, 1)],
)
def test_the_model_call_of_the_look(steps, flow, call):
    assert best_look(steps, flow) == call
