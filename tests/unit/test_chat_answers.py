"""Layouts as chat models write them: nothing that they say is lost without a word."""

from __future__ import annotations

import pytest

from gsn_ops.layout.answer import read_layout
from gsn_ops.layout.geometry import MAX_REMARKS
from gsn_ops.layout.lines import LayoutError

from ..support.chat_answers import LOST, OTHERS, SAID
from ..support.layout_answers import CAT_DOG
from .test_layout_answers import boxes_of


@pytest.mark.parametrize(("text", "background", "negative"), [c[1:] for c in SAID], ids=[c[0] for c in SAID])
def test_a_cat_and_a_dog(text, background, negative):
    layout = read_layout(text)
    assert boxes_of(layout) == CAT_DOG
    assert (layout.background, layout.negative) == (background, negative)


@pytest.mark.parametrize(
    ("text", "boxes", "background", "negative"), [c[1:] for c in OTHERS], ids=[c[0] for c in OTHERS]
)
def test_others(text, boxes, background, negative):
    layout = read_layout(text)
    assert boxes_of(layout) == boxes
    assert (layout.background, layout.negative) == (background, negative)


@pytest.mark.parametrize(("text", "pattern"), [c[1:] for c in LOST], ids=[c[0] for c in LOST])
def test_what_is_broken_is_not_read_in_part(text, pattern):
    with pytest.raises(LayoutError, match="(?s)" + pattern):
        read_layout(text)


def test_a_box_far_outside_is_left_out_with_a_remark():
    layout = read_layout(OTHERS[-1][1])
    assert layout.notes == ("'a dog' left out: its box is far outside the canvas",)
    larger = read_layout("Objects: [('a cat', [200, 0, 99, 99]), ('a dog', [800, 0, 99, 99])]", (128, 128))
    assert len(larger.objects) == 2  # all in another unit: fitted


def test_many_boxes_have_few_remarks():
    text = ", ".join(f"('a cat', [{n}, 0, 99, 99])" for n in range(100))
    notes = read_layout(f"Objects: [{text}]").notes
    assert len(notes) == MAX_REMARKS + 1 and "more pairs of boxes overlap" in notes[-1]
    entries = ", ".join(["('a cat', [0, 0, 99, 99])"] * 50)
    twice = read_layout(f"Objects: [{entries}]")
    assert twice.notes == ("'a cat' left out: the same entry stands there twice",)
