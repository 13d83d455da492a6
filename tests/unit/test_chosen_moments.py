"""The file of steps that a study chose: written, read, and left alone where it is another kind of file."""

import json

import pytest

from gsn_ops.chosen_moments import ChosenMoment, read_moments, with_moment
from gsn_ops.schedule import Schedule

CHOSEN = ChosenMoment(0.1, 8.39, 2, 20, 600, "2026-11-26", "study", "blocks=3")


def test_what_is_written_is_read():
    text = with_moment("", "abc", "A", CHOSEN)
    text = with_moment(text, "abc", "B", ChosenMoment(0.0))
    text = with_moment(text, "def", "A", ChosenMoment(0.3))
    found = read_moments(text)
    assert found == {"abc": {"A": CHOSEN, "B": ChosenMoment(0.0)}, "def": {"A": ChosenMoment(0.3)}}


def test_a_later_choice_replaces_the_earlier_one():
    text = with_moment(with_moment("", "abc", "A", CHOSEN), "abc", "A", ChosenMoment(0.2))
    assert read_moments(text) == {"abc": {"A": ChosenMoment(0.2)}}


def whole(**entry) -> str:
    return json.dumps({"gsn_moments": 1, "models": {"abc": {"A": entry}}})


def test_a_key_of_a_later_pack_is_left_out():
    assert read_moments(whole(at_percent=0.1, weather="fine")) == {"abc": {"A": ChosenMoment(0.1)}}


@pytest.mark.parametrize(
    "text, why",
    (
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no file of steps"),
        ('{"models": {}}', "no file of steps"),
        ('{"gsn_moments": 2, "models": {}}', "version 2, this pack reads version 1"),
        ('{"gsn_moments": 1}', "no list of models"),
        ('{"gsn_moments": 1, "models": {"abc": 3}}', "no list of models"),
        ('{"gsn_moments": 1, "models": {"abc": {"A": 0.1}}}', "the entry of A has no at_percent"),
        (whole(step=3), "the entry of A has no at_percent"),
        (whole(at_percent="0.1"), "the entry of A: at_percent is '0.1', not a number"),
        (whole(at_percent=True), "at_percent is True, not a number"),
        (whole(at_percent=1.5), "at_percent is 1.5, not a share"),
        (whole(at_percent=0.1, reads=3), "the entry of A: reads is 3, not a text"),
        (whole(at_percent=10**400), "at_percent is 1000.*, not a share"),
        (whole(at_percent=-1), "at_percent is -1, not a share"),
        (whole(at_percent=float("nan")), "at_percent is nan, not a share"),
    ),
)
def test_another_file_is_refused_and_never_overwritten(text, why):
    with pytest.raises(ValueError, match=why):
        read_moments(text)
    if text:
        with pytest.raises(ValueError, match=why):
            with_moment(text, "abc", "A", CHOSEN)


@pytest.mark.parametrize("flow", (False, True))
def test_the_share_of_a_noise_level_is_the_inverse_of_comfyui_s(flow):
    def level(percent):
        if flow:
            return 3 * (1 - percent) / (1 + 2 * (1 - percent))
        return 999999999.9 if percent <= 0 else 14.6 * (1 - percent) ** 2

    schedule = Schedule((level(1e-6), level(0.5), 0.0), level, flow)
    for percent in (0.02, 0.1, 0.18, 0.5, 0.9):
        assert schedule.percent_of(level(percent)) == pytest.approx(percent, abs=1e-6)
    assert schedule.percent_of(level(1e-6)) == 0.0
    assert schedule.percent_of(1e9) == 0.0
    assert schedule.percent_of(0.0) < 1
