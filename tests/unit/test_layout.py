"""Layouts by hand: boxes of every source, the order of their numbers, the fit to the canvas, prompts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gsn_ops.layout.answer import read_layout
from gsn_ops.layout.drawn import drawn_layout
from gsn_ops.layout.geometry import fitted, refit
from gsn_ops.layout.layout import Layout, PlacedObject, editor_boxes, in_pixels
from gsn_ops.layout.lines import LayoutError
from gsn_ops.layout.literal import Literal, Percent
from gsn_ops.layout.order import LEFT_TOP, SIZE, TOP_LEFT
from gsn_ops.layout.prompts import UNWANTED, counted, negative_prompt, object_prompts, overall_prompt
from gsn_ops.layout.sources import chosen_layout
from gsn_ops.plurals import other_forms, plural

GREEN_CAR = "Objects: [('a green car', [21, 281, 211, 159]), ('a blue truck', [269, 283, 209, 160])]\n"
LANDSCAPE = GREEN_CAR + "Background prompt: A realistic landscape scene\nNegative prompt:"


def pixels(layout: Layout) -> list[tuple[int, int, int, int]]:
    return [in_pixels(placed.box, layout.canvas) for placed in layout.objects]


# --- reading


def test_the_papers_form():
    layout = read_layout(LANDSCAPE)
    assert [p.name for p in layout.objects] == ["a green car", "a blue truck"]
    assert layout.objects[0].box == (21 / 512, 281 / 512, 232 / 512, 440 / 512)
    assert layout.objects[1].box == (269 / 512, 283 / 512, 478 / 512, 443 / 512)
    assert (layout.background, layout.negative, layout.notes) == ("A realistic landscape scene", "", ())


def test_another_canvas_gives_other_fractions():
    layout = read_layout("Objects: [('a car', [0, 256, 512, 256])]", (1024, 512))
    assert layout.objects[0].box == (0, 0.5, 0.5, 1)
    assert pixels(layout) == [(0, 256, 512, 256)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, -2.5, +3, .5, 2.]", [1, -2.5, 3, 0.5, 2.0]),
        ("('a', \"b\", None, true, False)", ["a", "b", None, True, False]),
        ("{'a': 1, b: [2], \"c\": {d: 3}}", {"a": 1, "b": [2], "c": {"d": 3}}),
        ("{1, 2}", [1, 2]),
        ("[1,, 2,]", [1, 2]),
        ("[1 2 3]", [1, 2, 3]),
        ("['it\\'s', 'it's']", ["it's", "it's"]),
        ("[a red car, 1]", ["a red car", 1]),
        ("[1, # one\n 2, // two\n /* three */ 3]", [1, 2, 3]),
        ("[]", []),
    ],
)
def test_literals(text, value):
    literal = Literal(text + " and more", 0)
    assert (literal.value, literal.stop) == (value, len(text))


def test_percent_and_pixels():
    value = Literal("[12.5%, 30 %, 40px]", 0).value
    assert value == [12.5, 30.0, 40] and [isinstance(v, Percent) for v in value] == [True, True, False]


# --- the order of four numbers


def element(name: str, *bbox: float) -> dict:
    return {"type": "obj", "bbox": list(bbox), "desc": name}


def test_elements_are_top_left_bottom_right():
    """As Create Bounding Boxes and Ideogram 4's captions write them, 0 to 1000; and it is said."""
    layout = drawn_layout([element("a cat", 100, 200, 500, 600)], (1000, 500))
    assert layout.objects[0].box == (0.2, 0.1, 0.6, 0.5)
    assert layout.notes == (f"boxes read as {TOP_LEFT}, 0 to 1000",)


def test_descriptions_tell_the_other_order():
    elements = [
        element("a cat on the left", 50, 400, 300, 700),
        element("a dog on the right", 700, 400, 950, 700),
    ]
    layout = drawn_layout(elements)
    assert [p.box for p in layout.objects] == [(0.05, 0.4, 0.3, 0.7), (0.7, 0.4, 0.95, 0.7)]
    assert LEFT_TOP in layout.notes[0] and "descriptions" in layout.notes[0]


def test_corners_that_are_none_are_sizes():
    layout = drawn_layout([element("a cat", 600, 100, 300, 400), element("a dog", 100, 100, 200, 200)])
    assert layout.objects[0].box == (0.6, 0.1, 0.9, 0.5)
    assert SIZE in layout.notes[0]


def test_a_chosen_order_is_obeyed():
    given = [element("a cat", 100, 200, 500, 600)]
    assert drawn_layout(given, order=LEFT_TOP).objects[0].box == (0.1, 0.2, 0.5, 0.6)
    text = "Objects: [('a cat', [100, 100, 300, 300])]"
    assert pixels(read_layout(text)) == [(100, 100, 300, 300)]
    assert pixels(read_layout(text, order=LEFT_TOP)) == [(100, 100, 200, 200)]


def test_sizes_that_may_be_corners_are_remarked():
    layout = read_layout("Objects: [('a cat', [100, 100, 300, 300]), ('a dog', [310, 100, 500, 300])]")
    assert "choose that under coordinates" in layout.notes[0]


def test_comfyui_boxes():
    """In pixels: one, a list, a list of frames; with the editor's metadata or a detector's label."""
    cat = {"x": 0, "y": 128, "width": 256, "height": 256, "metadata": {"type": "obj", "desc": "a cat"}}
    dog = {"x": 256, "y": 128, "width": 128, "height": 256, "label": "dog", "score": 0.9}
    for given in ([cat, dog], [[cat, dog]], [[cat, dog], [dog]]):
        layout = drawn_layout(given)
        assert [p.name for p in layout.objects] == ["a cat", "dog"]
        assert [p.box for p in layout.objects] == [(0, 0.25, 0.5, 0.75), (0.5, 0.25, 0.75, 0.75)]
    assert drawn_layout(cat).objects[0].name == "a cat"


def test_names_for_boxes_without_one():
    bare = [{"x": 0, "y": 0, "width": 100, "height": 100}, {"x": 200, "y": 0, "width": 100, "height": 100}]
    assert [p.name for p in drawn_layout(bare, names=["cat", "dog"]).objects] == ["cat", "dog"]
    with pytest.raises(LayoutError, match="Box 2 has no description"):
        drawn_layout(bare, names=["cat"])
    assert drawn_layout([[10, 10, 60, 60]], names=["cat"]).objects[0].box == (
        10 / 512,
        10 / 512,
        60 / 512,
        60 / 512,
    )


def test_boxes_of_detectors_as_tensors_and_arrays():
    """Bare numbers have no name; without names that is said."""
    for boxes in (torch.tensor([[10.0, 20, 60, 60]]), [tuple(np.float32([10, 20, 60, 60]))]):
        (cat,) = chosen_layout("", boxes, names="cat").objects
        assert (cat.name, cat.box) == ("cat", (10 / 512, 20 / 512, 60 / 512, 60 / 512))
        with pytest.raises(LayoutError, match="Box 1 has no description"):
            chosen_layout("", boxes)
    with pytest.raises(LayoutError, match="These are no boxes: a int"):
        chosen_layout("", 5)


def test_names_that_no_box_needs_are_remarked():
    described = [element("a cat", 100, 100, 300, 300)]
    layout = drawn_layout(described, names=["cat", "dog"])
    assert layout.notes[-1] == "names has more than the boxes need: cat, dog"
    assert drawn_layout([[10, 10, 60, 60]], names=["cat"]).notes == ()


@pytest.mark.parametrize("names", [("a cat 1", "a cat 2"), ("a cat #1", "a cat (2)"), ("a cat", "a cat_2")])
def test_numbers_that_tell_equal_objects_apart_are_no_part_of_the_name(names):
    layout = read_layout(f"Objects: [('{names[0]}', [0, 0, 99, 99]), ('{names[1]}', [200, 0, 99, 99])]")
    assert [p.name for p in layout.objects] == ["a cat", "a cat"] and overall_prompt(layout) == "two cats"


def test_a_number_that_tells_nothing_apart_stays():
    layout = read_layout("Objects: [('route 66', [0, 0, 99, 99]), ('area 51', [200, 0, 99, 99])]")
    assert [p.name for p in layout.objects] == ["route 66", "area 51"]


def test_what_the_editor_gets_comes_back():
    layout = read_layout(LANDSCAPE)
    again = drawn_layout(editor_boxes(layout))
    assert pixels(again) == pixels(layout) == [(21, 281, 211, 159), (269, 283, 209, 160)]
    assert [p.name for p in again.objects] == [p.name for p in layout.objects]


@pytest.mark.parametrize("data", [5, "text", [5], [[1, 2]], {"a": 1}, [{"bbox": [1, 2, 3]}], None])
def test_no_boxes_are_refused(data):
    with pytest.raises(LayoutError):
        drawn_layout(data)


# --- what is dropped, and the fit


def objects(*boxes) -> list[PlacedObject]:
    return [PlacedObject(f"o{n}", box) for n, box in enumerate(boxes)]


def test_no_area_and_the_whole_canvas_are_dropped():
    kept, notes = fitted(objects((0, 0, 1, 1), (0.1, 0.1, 0.1, 0.9), (0.2, 0.2, 0.6, 0.6)))
    assert [p.name for p in kept] == ["o2"]
    assert len(notes) == 2 and "whole canvas" in notes[0] and "no area" in notes[1]


def test_an_entry_twice_is_one_object_and_a_repeated_name_two():
    one = PlacedObject("a cat", (0.1, 0.1, 0.3, 0.3))
    other = PlacedObject("a cat", (0.5, 0.1, 0.7, 0.3))
    kept, notes = fitted([one, one, other])
    assert kept == (one, other) and "twice" in notes[0]


def test_overlap_is_kept_and_remarked():
    kept, notes = fitted(objects((0.1, 0.1, 0.6, 0.6), (0.2, 0.2, 0.6, 0.6)))
    assert len(kept) == 2 and "overlap" in notes[0]


def close(found, *expected) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-12) for a, b in zip(found, expected, strict=True))


def test_refit_moves_and_scales_all_boxes_alike():
    """Union (-0.25, 0.25) to (1, 0.75): scale min(0.8, 2, 3) = 0.8, height 0.4, lower edge stays 0.75."""
    a, b = refit([(-0.25, 0.25, 0.25, 0.75), (0.5, 0.5, 1.0, 0.75)])
    assert close(a, 0, 0.35, 0.4, 0.75)
    assert close(b, 0.6, 0.55, 1.0, 0.75)


def test_refit_below_the_canvas():
    """Union (0.5, 0.5) to (1, 1.5): scale min(2, 1, 3) = 1, height 1, so the lower edge is the canvas's."""
    (box,) = refit([(0.5, 0.5, 1.0, 1.5)])
    assert close(box, 0, 0, 0.5, 1.0)


def test_refit_scales_by_three_at_most():
    """Union (0.9, 0.8) to (1.1, 1.0): min(5, 5, 3) = 3, size 0.6, lower edge at 1."""
    (box,) = refit([(0.9, 0.8, 1.1, 1.0)])
    assert close(box, 0, 0.4, 0.6, 1.0)


def test_only_boxes_that_leave_the_canvas_are_fitted():
    inside = objects((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1))
    assert fitted(inside) == (tuple(inside), ())
    kept, notes = fitted(objects((0.5, 0.5, 1.005, 1.0)))  # rounding: cut off, not moved
    assert kept[0].box == (0.5, 0.5, 1.0, 1.0) and notes == ()
    kept, notes = fitted(objects((-0.25, 0.25, 0.25, 0.75), (0.5, 0.5, 1.0, 0.75)))
    assert "moved and scaled" in notes[0] and close(kept[1].box, 0.6, 0.55, 1.0, 0.75)


# --- prompts


def test_prompts():
    layout = read_layout(LANDSCAPE)
    scene = "A realistic landscape scene"
    assert overall_prompt(layout) == f"{scene} with a green car and a blue truck"
    assert object_prompts(layout) == [f"{scene} with a green car", f"{scene} with a blue truck"]


def test_equal_names_are_counted():
    text = "Objects: [('an apple', [0, 0, 9, 9]), ('a pear', [20, 0, 9, 9]), ('an apple', [40, 0, 9, 9])]"
    assert overall_prompt(read_layout(text)) == "two apples and a pear"


@pytest.mark.parametrize(
    ("name", "n", "expected"),
    [
        ("a red apple", 1, "a red apple"),
        ("a red apple", 3, "three red apples"),
        ("a box", 2, "two boxes"),
        ("a woman in a red dress", 2, "two women in a red dress"),
        ("the cherry", 2, "two cherries"),
        ("two dogs", 2, "four dogs"),
        ("3 big dogs in a park", 3, "nine big dogs in a park"),
        ("people", 2, "people"),
        ("a lens", 2, "two lenses"),
        ("a woman, smiling", 2, "two women, smiling"),
        ("a toy", 2, "two toys"),
        ("a cat", 20, "20 cats"),
        ("\u732b", 2, "\u732b x2"),
    ],
)
def test_counted(name, n, expected):
    assert counted(name, n) == expected


def test_plurals():
    assert [plural(w) for w in ("dog", "bus", "fox", "dish", "berry", "knife", "fire truck")] == [
        "dogs", "buses", "foxes", "dishes", "berries", "knives", "fire trucks",
    ]  # fmt: skip


def test_other_forms():
    for one, many in (
        ("dog", "dogs"),
        ("box", "boxes"),
        ("berry", "berries"),
        ("woman", "women"),
        ("man", "men"),
    ):
        assert many in other_forms(one) and one in other_forms(many)


def test_the_sources_own_description_is_the_prompt_if_it_names_all():
    elements = [element("a cat", 100, 200, 500, 600)]
    caption = {
        "high_level_description": "A cat asleep.",
        "compositional_deconstruction": {"background": "a room.", "elements": elements},
    }
    assert overall_prompt(drawn_layout(caption)) == "A cat asleep."
    other = {**caption, "high_level_description": "An animal asleep."}
    assert overall_prompt(drawn_layout(other)) == "a room with a cat"


def test_negative_prompt():
    layout = read_layout("Objects: [('a cat', [0, 0, 9, 9])]\nNegative prompt: dogs")
    assert negative_prompt(layout) == f"dogs, {UNWANTED}"
    assert negative_prompt(layout, standard=False) == "dogs"
