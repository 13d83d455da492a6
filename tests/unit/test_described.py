"""Which words of a prompt the descriptions of boxes mean, and what an LLM is asked."""

from __future__ import annotations

import pytest

from gsn_ops.layout.answer import read_layout
from gsn_ops.layout.examples import EXAMPLES, FOREIGN
from gsn_ops.layout.lines import LayoutError
from gsn_ops.layout.prompts import overall_prompt
from gsn_ops.layout.request import request
from gsn_ops.layout.sources import chosen_layout
from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens
from gsn_ops.subjects.described import phrases_of
from gsn_ops.subjects.matching import split_words


def prompt(text: str) -> PromptTokens:
    """One encoder with a token per word, as CLIP shows it."""
    pieces = tuple(Piece(w.text, w.start, w.stop, n + 1) for n, w in enumerate(split_words(text)))
    return PromptTokens((EncoderTokens("l", text, pieces, ((1, len(pieces) + 1, 77),)),), 77)


def labels(names: list[str], text: str) -> list[str]:
    found, errors = phrases_of(names, prompt(text))
    assert not errors, errors
    return [found[n].label for n in range(len(names))]


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (["a red car", "a blue bench"], "a red car and a blue bench", ["red car", "blue bench"]),
        (["car"], "a red car on a road", ["car"]),
        (["an orange cat"], "a cat on a sofa", ["cat"]),  # a colour that the prompt does not have
        (["a girl in a yellow raincoat"], "a girl in a yellow raincoat walks", ["girl in a yellow raincoat"]),
        (["a girl in a yellow raincoat"], "a girl and a dog", ["girl"]),
        (["a very large, fluffy grey dog"], "a dog and a cat", ["dog"]),
        (["a dog", "a dog"], "a dog and another dog", ["dog", "dog#2"]),
        (["an apple", "an apple"], "two apples on a table", ["apples", "apples"]),
        (["a woman"], "two women at a bar", ["women"]),
        (["dogs"], "a dog in a park", ["dog"]),
        (["a hot dog"], "a hot dog and a dog", ["hot dog"]),
        (["Teddy Bear"], "a teddy bear", ["Teddy Bear"]),
        (["a person standing on the left"], "a person and a dog", ["person"]),
        (["a cat sleeping on a sofa"], "a cat sleeping on a sofa", ["cat"]),
        (["a red car parked at a kerb"], "a red car parked at a kerb", ["red car"]),
        (["sleeping cats", "a dog running"], "sleeping cats and a dog", ["sleeping cats", "dog"]),
        (["(a cat:1.2)"], "(a cat:1.2) and a dog", ["cat"]),
        (["cat#2 (big, [asleep])"], "a big cat", ["cat"]),  # marks of the subjects field do nothing here
    ],
)
def test_a_description_finds_its_words(names, text, expected):
    assert labels(names, text) == expected


def test_what_the_prompt_does_not_have_is_told():
    found, errors = phrases_of(["a cat", "a unicorn"], prompt("a cat and a horse"))
    assert list(found) == [0]
    assert "The box 'a unicorn' belongs to no word of the prompt" in str(errors[1])
    assert "Its words are: a, cat, and, horse" in str(errors[1])


@pytest.mark.parametrize("name", ["no dog", "without a dog"])
def test_a_box_for_something_unwanted_is_refused(name):
    _, errors = phrases_of([name], prompt("a cat, no dog"))
    assert "is for something unwanted: remove the box" in str(errors[0])


def test_the_prompt_of_a_layout_has_all_its_boxes():
    for example in (*EXAMPLES, FOREIGN):
        objects = ", ".join(f"({name!r}, {list(box)})" for name, box in example.objects)
        layout = read_layout(f"Objects: [{objects}]\nBackground prompt: {example.background}")
        found, errors = phrases_of([p.name for p in layout.objects], prompt(overall_prompt(layout)))
        assert not errors and len(found) == len(example.objects), errors


# --- the request


def test_the_request_has_task_seven_examples_and_the_caption():
    text = request("a cat above a dog")
    assert len(EXAMPLES) == 7
    assert text.count("Caption: ") == 8 and text.rstrip().endswith("Caption: a cat above a dog")
    assert "512 pixels wide and 512 pixels high" in text


@pytest.mark.parametrize("canvas", [(512, 512), (1024, 768)])
def test_its_examples_are_what_the_reader_reads(canvas):
    blocks = request("x", canvas).split("Caption: ")[1:-1]
    for block, example in zip(blocks, EXAMPLES, strict=True):
        layout = read_layout(block.partition("\n")[2], canvas)
        assert [p.name for p in layout.objects] == [name for name, _ in example.objects]
        assert (layout.background, layout.negative) == (example.background, example.negative)
        assert not [note for note in layout.notes if "overlap" not in note]
        for placed, (_, (x, y, w, h)) in zip(layout.objects, example.objects, strict=True):
            assert placed.box == pytest.approx((x / 512, y / 512, (x + w) / 512, (y + h) / 512), abs=0.002)


def test_another_language_gets_an_example_of_its_kind():
    text = request("\u4e00\u53ea\u732b\u548c\u4e00\u53ea\u72d7")
    assert FOREIGN.caption in text and text.count("Caption: ") == 9
    assert FOREIGN.caption not in request("a cat")


@pytest.mark.parametrize("prompt", ["\u201ca cat\u201d \u2013 a dog\u2026", "a 20\u00b0 slope"])
def test_typographic_marks_are_no_other_language(prompt):
    assert request(prompt) == request("a cat").replace("Caption: a cat\n", f"Caption: {prompt}\n")


def test_the_next_round_has_the_last_layout_and_the_instruction():
    layout = read_layout("Objects: [('a cat', [50, 200, 150, 150])]\nBackground prompt: a park")
    text = request("a cat", previous=layout, instruction="move the cat left, add a bird")
    assert "Objects: [('a cat', [50, 200, 150, 150])]" in text and "a park" in text
    assert "Change it: move the cat left, add a bird" in text and "complete new layout" in text
    assert "Caption: as before" in request("", previous=layout, instruction="add a bird")
    assert "last layout" not in request("a cat", previous=layout)  # without an instruction: a first layout


def test_nothing_to_ask_for_is_refused():
    with pytest.raises(LayoutError, match="prompt is empty"):
        request("  ")
    with pytest.raises(LayoutError, match="no previous layout"):
        request("a cat", instruction="move it left")


# --- text, boxes, or both


CAT = {"x": 0, "y": 0, "width": 256, "height": 256, "metadata": {"desc": "a cat"}}
ANSWER = "Objects: [('a dog', [0, 0, 99, 99])]\nBackground prompt: a park\nNegative prompt: rain"


def test_edited_boxes_keep_the_background_of_the_text():
    layout = chosen_layout(ANSWER, [[CAT]])
    assert [p.name for p in layout.objects] == ["a cat"]
    assert (layout.background, layout.negative) == ("a park", "rain")


def test_boxes_as_text_and_as_nothing():
    as_json = '[{"bbox": [0, 0, 500, 500], "desc": "a cat"}]'
    assert chosen_layout("", as_json).objects[0].box == (0, 0, 0.5, 0.5)
    for nothing in (None, [], "", " "):
        assert chosen_layout(ANSWER, nothing).objects[0].name == "a dog"
        with pytest.raises(LayoutError, match="There is no layout"):
            chosen_layout("", nothing)


def test_unknown_coordinates_are_refused():
    with pytest.raises(LayoutError, match="coordinates is 'x': choose one of auto, x, y, width, height"):
        chosen_layout(ANSWER, order="x")
