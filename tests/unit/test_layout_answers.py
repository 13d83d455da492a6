"""Layouts in the answers of LLMs: read or refused as expected, fuzzed, and never evaluated."""

from __future__ import annotations

import ast
import random
import re
from pathlib import Path

import pytest

from gsn_ops.layout.answer import read_layout
from gsn_ops.layout.layout import Layout, as_text, editor_boxes
from gsn_ops.layout.lines import LayoutError

from ..support.layout_answers import BROKEN, CAT_DOG, PLAIN, READ

FOLDER = Path(__file__).parents[2] / "gsn_ops" / "layout"


def boxes_of(layout: Layout) -> dict[str, tuple[int, int, int, int]]:
    """Name -> box in pixels; a name that repeats gets its number."""
    found: dict[str, tuple[int, int, int, int]] = {}
    for box in editor_boxes(layout):
        name, n = box["metadata"]["desc"], 2
        while name in found:
            name, n = f"{box['metadata']['desc']}#{n}", n + 1
        found[name] = (box["x"], box["y"], box["width"], box["height"])
    return found


def test_sixty_answers():
    assert len(READ) == 40 and len(BROKEN) == 20
    assert len({text for _, text, *_ in [*READ, *BROKEN]}) == 60


@pytest.mark.parametrize(
    ("text", "boxes", "background", "negative"),
    [case[1:] for case in READ],
    ids=[case[0] for case in READ],
)
def test_read(text, boxes, background, negative):
    layout = read_layout(text)
    assert boxes_of(layout) == boxes
    assert (layout.background, layout.negative) == (background, negative)


@pytest.mark.parametrize(("text", "pattern"), [c[1:] for c in BROKEN], ids=[c[0] for c in BROKEN])
def test_refused_in_one_sentence_with_the_cure(text, pattern):
    with pytest.raises(LayoutError, match="(?s)" + pattern) as caught:
        read_layout(text)
    told = str(caught.value)
    assert len(told) < 400 and "\n" not in told
    assert re.search(r"Ask for it again|Give each object", told)


def test_the_line_is_named_and_shown():
    text = PLAIN.replace("('a dog', [300, 210, 160, 160])", "\n('a dog', [300, 210, 160])")
    with pytest.raises(LayoutError, match=r"^Line 2 .*: \('a dog', \[300, 210, 160\]\)\]"):
        read_layout(text)


def test_a_thought_keeps_the_number_of_the_line():
    with pytest.raises(LayoutError, match="^Line 4 "):
        read_layout("<think>\nhm\n</think>\nObjects: [('a cat', [1, 2, 3])]")


def test_nothing_is_evaluated():
    """The parser calls no eval, no exec and no compile, and literals are no code."""
    for file in FOLDER.glob("*.py"):
        calls = [n.func for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Call)]
        names = {c.id for c in calls if isinstance(c, ast.Name)}
        assert not names & {"eval", "exec", "compile", "__import__", "getattr", "open"}, file.name


def test_what_it_writes_it_reads():
    layout = read_layout(PLAIN)
    again = read_layout(as_text(layout))
    assert boxes_of(again) == CAT_DOG == boxes_of(layout)
    assert (again.background, again.negative) == (layout.background, layout.negative)


@pytest.mark.parametrize("name", ["a dog's bowl", 'a 19" screen', "a cat \\ dog", "\u4e00\u53ea\u732b"])
def test_any_name_survives_the_round(name):
    layout = read_layout(as_text(read_layout(PLAIN.replace("a cat", name.replace("\\", "\\\\"))))).objects
    assert name in [placed.name for placed in layout]


@pytest.mark.parametrize("seed", range(8))
def test_fuzz(seed):
    """Answers cut, joined and with characters changed are read or refused, and nothing else happens."""
    rng = random.Random(seed)
    texts = [text for _, text, *_ in [*READ, *BROKEN] if len(text) < 1000]
    alphabet = "[](){}'\",:0123456789.-%\n #/`\\abc\u201c\u00e9"
    for _ in range(250):
        text = list(rng.choice(texts) + rng.choice(["", rng.choice(texts)]))
        for _ in range(rng.randrange(6)):
            at = rng.randrange(len(text) + 1)
            text[at : at + rng.randrange(4)] = rng.choices(alphabet, k=rng.randrange(3))
        try:
            layout = read_layout("".join(text))
        except LayoutError as error:
            assert str(error)
        else:
            for placed in layout.objects:
                x1, y1, x2, y2 = placed.box
                assert placed.name and 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1


def test_long_answers_end_soon():
    with pytest.raises(LayoutError, match="at most"):
        read_layout("x" * 200_000)
    for part in ("(", "[('a',", "- a ", "'", "Objects:\n", "- a: [1", "a\n", "# ", "<think>", "{'a':"):
        text = "Objects: " + part * (19_000 // len(part))
        with pytest.raises(LayoutError):
            read_layout(text)
