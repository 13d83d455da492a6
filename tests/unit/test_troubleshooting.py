"""docs/troubleshooting.md has a row for every text that the pack can show, and no row for any other."""

from __future__ import annotations

import ast
import re

import pytest

from gsn_ops.optimise.methods import METHODS

from ..support.user_texts import CLONE, PLACEHOLDER, literal, user_texts

PAGE = (CLONE / "docs" / "troubleshooting.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]
QUOTED = [text for row in ROWS for text in re.findall(r"`([^`]+)`", row.split("|")[1])]
TEXTS = user_texts()
NOT_MESSAGES = (
    r"(ours|published)\b.*",  # where a default of a model family comes from, in the report
    r"(, the text tokens of|middle and first up block).*",  # what a report says it read
    r"predicted (before|after) the update steps|Loss over the update steps|no update step was made",  # charts
    r"attention \.\.\. the (update steps|change)|Highest attention per subject|no attention was measured",
    r"\.\.\.: \.\.\. wants a \.\.\., not '\.\.\.'\.",  # two rows: whole numbers and others
    r"[\w.]+",  # names of modules and weights
    r"mkldnn::.*|gsn-tiny-.*",
    r"a language in Cyrillic letters",  # what a remark is filled with
    r"\(\?.*",  # patterns of the language half
    r"(artifacts, blurry|several, a crowd).*",  # negative prompts
    r"(You plan where things stand|This was the last layout).*",  # what an LLM is told
)


def is_message(text: str) -> bool:
    if TEXTS.get(text, "").startswith("gsn_ops/layout/examples.py"):
        return False  # what an LLM is shown
    return text not in METHODS and not any(re.fullmatch(p, text, re.DOTALL) for p in NOT_MESSAGES)


def missing(texts) -> list[str]:
    """The messages that no row quotes."""
    return [t for t in texts if is_message(t) and not any(quoted in t for quoted in QUOTED)]


def test_every_text_of_the_pack_has_a_row():
    lines = [f"{TEXTS[text]}: {text}" for text in missing(TEXTS)]
    assert not lines, "write a row in docs/troubleshooting.md for:\n" + "\n".join(lines)


def test_a_new_text_fails_until_it_has_a_row():
    assert missing(["The moon is made of cheese: eat it."]) == ["The moon is made of cheese: eat it."]
    assert missing(["no subjects found in the prompt: type them"]) == []


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_row_quotes_what_the_pack_says(quoted):
    assert any(quoted in text for text in TEXTS), "no text of the pack has these words any more"


def test_the_texts_are_found_however_they_are_written():
    assert len(TEXTS) > 180
    tree = ast.parse('f"a {b} c" + d')
    assert literal(tree.body[0].value) == f"a {PLACEHOLDER} c{PLACEHOLDER}"
    for known in (
        "no subjects found",
        "Semantic Nursing's CLIP output is used",
        "The option '...' cannot be",
    ):
        assert any(known in text for text in TEXTS), known


def test_links_of_the_first_table_lead_to_headings():
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)}
    links = re.findall(r"\]\(#([\w-]+)\)", PAGE)
    assert links and set(links) <= headings
