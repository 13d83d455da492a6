"""docs/troubleshooting.md has a row for every text that the pack can show, and no row for any other."""

from __future__ import annotations

import ast
import re

from ..support.user_texts import CLONE, PLACEHOLDER, TEXTS, is_message, literal

PAGE = (CLONE / "docs" / "troubleshooting.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]
QUOTED = [text for row in ROWS for text in re.findall(r"`([^`]+)`", row.split("|")[1])]


def missing(texts) -> list[str]:
    """The messages that no row quotes."""
    return [t for t in texts if is_message(t) and not any(quoted in t for quoted in QUOTED)]


def test_every_text_of_the_pack_has_a_row():
    lines = [f"{TEXTS[text]}: {text}" for text in missing(TEXTS)]
    assert not lines, "write a row in docs/troubleshooting.md for:\n" + "\n".join(lines)


def test_a_new_text_fails_until_it_has_a_row():
    assert missing(["The moon is made of cheese: eat it."]) == ["The moon is made of cheese: eat it."]
    assert missing(["no subjects found in the prompt: type them"]) == []


def test_a_row_quotes_what_the_pack_says():
    gone = [quoted for quoted in QUOTED if not any(quoted in text for text in TEXTS)]
    assert QUOTED and not gone, "no text of the pack has these words any more:\n" + "\n".join(gone)


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
