"""Reads a treebank in the CoNLL-U format as the tagger sees text: lower case, marks with the next word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .made_captions import Tagged

CLASSES = {"NOUN": "NOUN", "PROPN": "NOUN", "ADJ": "ADJ", "ADV": "ADV", "INTJ": "ADV", "X": "NOUN"}
"""Universal parts of speech as the tagger's; all others but verbs are OTHER."""
STOPS = ".!?;:"


def sentences(folder: Path) -> Iterator[tuple[str, Tagged]]:
    """(document, words) of every sentence below a folder, in the order of file names."""
    for file in sorted(folder.rglob("*.conllu")):
        for block in file.read_text(encoding="utf-8").split("\n\n"):
            rows = [line.split("\t") for line in block.splitlines() if line[:1].isdigit()]
            rows = [row for row in rows if row[0].isdigit()]
            words = list(_words(rows))
            if words:
                yield file.stem, words


def _words(rows: list[list[str]]) -> Iterator[tuple[str, str, str]]:
    gap, held = "", None
    for n, row in enumerate(rows):
        form, tag, fine = row[1].lower().replace("\u2019", "'"), row[3], row[4]
        if fine == "POS":
            gap = "'"
        elif form in ("'s", "n't", "'re", "'ve", "'ll", "'d", "'m"):
            gap = "'"
        elif tag in ("PUNCT", "SYM") and not form.isalnum():
            hyphen = form == "-" and n and "SpaceAfter=No" in row[9] and "SpaceAfter=No" in rows[n - 1][9]
            if hyphen and held:
                form, mark, _ = held
                held = (form + "-", mark, "")
                continue
            gap = "." if form in STOPS else ","
        else:
            current = _class(tag, fine)
            if held and held[0].endswith("-"):
                held = (held[0] + form, held[1], current)
            else:
                if held:
                    yield held
                held = (form, gap, current)
            gap = ""
    if held and held[2]:
        yield held


def _class(tag: str, fine: str) -> str:
    if tag == "VERB":
        return {"VBG": "ING", "VBN": "EN"}.get(fine, "VERB")
    return CLASSES.get(tag, "OTHER")
