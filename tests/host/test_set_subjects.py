"""Set Subjects with clip and text: the rows decide what BREAK, AND and [a:b:0.5] meant to the text node."""

import pytest
import torch

from ..support.text_encoder_checks import clip_of
from ..support.text_encoder_checks import encode as encode_with


@pytest.fixture(scope="module")
def pt(pack_module):
    return pack_module("gsn_ops.host.prompts.conditioning")


@pytest.fixture(scope="module")
def given(pack_module):
    return pack_module("gsn_ops.host.prompts.given_text")


def made_elsewhere(tiny, *parts):
    """A conditioning without token data: these parts encoded one by one and appended."""
    rows = [tiny.encode(part, plain=True)[0][0] for part in parts]
    return [torch.cat(rows, 1), {"pooled_output": torch.zeros(1, 8)}]


def columns(tiny, subjects, tokens, typed):
    found = subjects.resolve(subjects.parse_subjects(typed), tokens)
    return [dict(s.noun)["l"] for s in found]


@pytest.mark.parametrize(
    "text, parts, expected",
    [
        ("a red circle BREAK a blue square", ("a red circle", "a blue square"), [(3,), (80,)]),
        ("a red circle BREAK a blue square", ("a red circle ", " a blue square"), [(3,), (80,)]),
        ("a red circle BREAK a blue square", ("a red circle BREAK a blue square",), [(3,), (7,)]),
        (
            "a star\nBREAK\na red circle, BREAK a blue square",
            ("a star", "a red circle,", "a blue square"),
            [(80,), (157,)],
        ),
        ("a [red:green:0.5] circle and a blue square", ("a red circle and a blue square",), [(3,), (7,)]),
        ("a [yellow green:red:.5] circle, a square", ("a yellow green circle, a square",), [(4,), (7,)]),
        ("a [big:3] circle and a square", ("a  circle and a square",), [(2,), (5,)]),
        ("a [big:3] circle and a square", ("a big circle and a square",), [(3,), (6,)]),
        ("a [red|blue] circle, a square", ("a blue circle, a square",), [(3,), (6,)]),
        ("[a star:a red circle BREAK a square:.5]", ("a red circle", "a square"), [(3,), (79,)]),
    ],
)
def test_f13_the_columns_are_those_of_the_reading_that_was_encoded(tiny, pt, subjects, text, parts, expected):
    out = pt.with_subjects([made_elsewhere(tiny, *parts)], (), tiny.plain_clip, text)
    assert columns(tiny, subjects, out[0][1][pt.KEY], "circle, square") == expected


def test_f13_each_entry_of_and_gets_its_own_words(tiny, pt, subjects):
    entries = [made_elsewhere(tiny, part) for part in ("a red circle", "a blue square and a star")]
    out = pt.with_subjects(entries, (), tiny.plain_clip, "a red circle AND a blue square and a star")
    assert [extra[pt.KEY].encoders[0].text for _, extra in out] == [
        "a red circle",
        "a blue square and a star",
    ]
    patched, book = tiny.attach()
    tiny.sample(patched, positive=pt.with_subjects(out, subjects.parse_subjects("star, circle")))
    assert sorted(s.label for s in book.last().subjects) == ["circle", "star"]


def test_f13_each_entry_of_a_schedule_gets_its_own_words(tiny, pt, subjects):
    entries = [made_elsewhere(tiny, f"a {word} circle") for word in ("red", "light green")]
    out = pt.with_subjects(entries, (), tiny.plain_clip, "a [red:light green:0.5] circle")
    assert [columns(tiny, subjects, extra[pt.KEY], "circle") for _, extra in out] == [[(3,)], [(4,)]]


@pytest.mark.parametrize("text", ["a green star and a cross", "two dogs, a yellow moon", "x BREAK y AND z"])
def test_f13_a_text_that_did_not_make_the_rows_is_refused(tiny, pt, text):
    with pytest.raises(ValueError, match="was not made from the text .*the very text and CLIP"):
        pt.with_subjects([made_elsewhere(tiny, "a red circle in a blue square")], (), tiny.plain_clip, text)


@pytest.mark.parametrize(
    "text", ["a red circle and a blue square", "a (red:1.3) circle and a (blue square:0.8)"]
)
def test_f13_weights_by_another_rule_do_not_hide_the_words(tiny, pt, subjects, text):
    rows, extra = made_elsewhere(tiny, "a red circle and a blue square")
    rows = rows.clone()
    rows[:, 2] *= 1.3
    rows[:, 6:8] *= 0.8
    out = pt.with_subjects([[rows * 1.02, extra]], (), tiny.plain_clip, text)
    assert columns(tiny, subjects, out[0][1][pt.KEY], "circle, square") == [(3,), (7,)]


def test_f13_clip_skip_of_the_other_node_does_not_hide_the_words(host, tiny, pt, subjects):
    (skipped,) = host.CLIPSetLastLayer().set_last_layer(tiny.plain_clip, -2)
    with torch.inference_mode():
        made = host.CLIPTextEncode().encode(skipped, "a red circle and a blue square")[0]
    out = pt.with_subjects(made, (), tiny.plain_clip, "a red circle and a blue square")
    assert columns(tiny, subjects, out[0][1][pt.KEY], "square") == [(7,)]


@pytest.mark.parametrize("name", ["SDXL", "Flux", "SD3", "Qwen-Image"])
def test_f13_on_other_text_encoders(name, pt, subjects):
    clip = clip_of(name)
    text = "a red fire truck and a blue dog"
    ((rows, extra),) = encode_with(clip, text)
    conditioning = [[rows, {name: value for name, value in extra.items() if name != pt.KEY}]]
    out = pt.with_subjects(conditioning, subjects.parse_subjects("dog"), clip, text)
    assert out[0][1][pt.KEY].subjects[0].label == "dog"
    with pytest.raises(ValueError, match="was not made from the text"):
        pt.with_subjects(conditioning, (), clip, "gold milk or stone chair")


def test_readings_are_few_and_begin_with_the_text_itself(given):
    text = "[a:b:.5] [c|d|e|f|g] AND h BREAK i AND [j:3]"
    found = list(given.readings(text))
    assert found[0] == (text,) and len(found) <= 24 and ("h", "i") in found
    assert list(given.readings("a plain text, with (weights:1.2)")) == [("a plain text, with (weights:1.2)",)]
