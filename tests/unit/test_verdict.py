"""The verdict on a run, in words for the person who made it."""

import pytest

from gsn_ops.report.verdict import LENGTH, courses, cure_first, verdict

LABELS = ("red circle", "green star")


def said(before, after, one_step=True, labels=LABELS) -> str:
    return verdict(courses(labels, [before], [after] if after else []), one_step)


def test_m4_a_missing_subject_that_is_there_now():
    assert said((0.9, 0.01), (0.9, 0.7)) == "green star was missing (0.01), now 0.70"


def test_m4_a_weak_subject_and_one_that_is_still_weak():
    line = said((0.35, 0.2), (0.8, 0.3))
    assert line == "red circle was weak (0.35), now 0.80; still weak: green star (0.20, now 0.30)"


def test_m4_nothing_was_missing():
    assert said((0.9, 0.6), (0.8, 0.7)) == "nothing was missing (least: green star 0.60, now 0.70)"


def test_m8_a_subject_that_lost_attention_but_has_enough_is_no_damage():
    assert said((0.999, 0.9), (0.617, 0.9)) == "nothing was missing (least: green star 0.90, now 0.90)"


def test_of_several_steps_only_the_end_is_judged():
    assert said((0.01, 0.01), (0.8, 0.7), one_step=False) == "all subjects have attention"
    assert said((0.01, 0.01), (0.8, 0.2), one_step=False) == "still weak: green star (0.01, now 0.20)"


def test_without_an_evaluation_afterwards_only_the_beginning_is_said():
    assert said((0.9, 0.01), ()) == "before: green star missing (0.01)"
    assert said((0.9, 0.01), (), one_step=False) == "" == verdict([], True)


def test_a_batch_is_judged_by_its_worst_image():
    found = courses(LABELS, [(0.9, 0.8), (0.1, 0.8)], [(0.9, 0.8), (0.6, 0.8)])
    assert verdict(found, True) == "red circle was missing (0.10), now 0.60"


@pytest.mark.parametrize("count", (1, 2, 5, 12))
def test_m4_a_verdict_fits_a_node(count):
    labels = [f"a subject with a long name {n}" for n in range(count)]
    line = said((0.1,) * count, (0.6,) * count, labels=labels)
    assert len(line) <= LENGTH and line.startswith("a subject with a long name 0 was missing")
    assert ("more in the report" in line) == (count > 1)
    assert len(said((0.1,), (0.6,), labels=["x" * 200])) <= LENGTH


def test_m4_a_cure_stands_first():
    assert cure_first("The window is empty: widen it.") == "widen it (the window is empty)"
    reason = "it failed (RuntimeError: no (real) shape); in the way is x: bypass it"
    assert cure_first(reason) == "bypass it (it failed (RuntimeError: no (real) shape); in the way is x)"
    assert cure_first("its step was not reached") == "its step was not reached"
