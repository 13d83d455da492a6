"""The labelled lines of an LLM's answer ("Objects: ...", "Background prompt: ..."), and what is around it."""

from __future__ import annotations

import re
from dataclasses import dataclass

LABEL = r"(?im)^[ \t>*_#\-\d.)]*[\"']?{name}[\"']?[ \t]*[*_]*[ \t]*(?:[:=]|\uff1a)[ \t]*[*_]*"
OBJECTS = re.compile(LABEL.format(name="(?:objects?|layout|bounding boxes|boxes)(?: with [a-z ]+)?"))
BACKGROUND = re.compile(LABEL.format(name="background(?: prompt| description)?"))
NEGATIVE = re.compile(LABEL.format(name="negative(?: prompt| description)?"))
CAPTION = re.compile(LABEL.format(name="(?:caption|instruction|user|prompt)"))
"""The question of a new example, which a model may invent behind its answer."""
THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
NOTHING = frozenset(("", "none", "n/a", "na", "null", "nothing", "empty", "no", "-", "''", '""', "[]"))
MAX_LISTS = 5
"""Lists of objects of one answer that are tried."""
BULLET = re.compile(
    r"^[ \t]*(?:[-*\u2022\u00b7+]|\(?\d{1,2}[.)])?[ \t]*[\"'*(\[`]*"
    r"(?P<name>[^\W\d_][^\n:\[\](){}=|]{0,150}?)[\"'*`]*"
    r"[ \t]*(?:[:,=|\u2013\u2014-]|->|\u2192|\bat\b)?[ \t]*(?P<box>[\[(][^\[\]()\n]*[\])])",
    re.MULTILINE,
)
"""A line "- a red car: [21, 281, 211, 159]"."""


@dataclass(frozen=True)
class Labelled:
    """An answer. objects: where its list may begin, the likeliest place first."""

    text: str
    objects: tuple[int, ...]
    background: str
    negative: str


def blanked(text: str) -> str:
    """The text with a model's reasoning and code fences as spaces, so that lines keep their numbers."""

    def blank(found: re.Match) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    return FENCE.sub(blank, THINKING.sub(blank, text))


def read_labels(text: str) -> Labelled:
    """The labelled lines of an answer that was `blanked`.

    Of several lists of objects the last one comes first, as a model that thinks aloud corrects itself; but
    none behind an example that the model invented behind its answer.
    """
    lists = [found.end() for found in OBJECTS.finditer(text)]
    invented = next((c.start() for c in CAPTION.finditer(text) if lists and c.start() > lists[0]), len(text))
    answer = text[:invented]
    kept = [start for start in lists if start <= invented]
    return Labelled(
        text, tuple(reversed(kept[-MAX_LISTS:])), _line(answer, BACKGROUND), _line(answer, NEGATIVE)
    )


def _line(text: str, label: re.Pattern) -> str:
    """What stands behind the last such label: the rest of its line, or the next line if that is text."""
    found = list(label.finditer(text))
    if not found:
        return ""
    rest = text[found[-1].end() :]
    line, _, below = rest.partition("\n")
    below = below.partition("\n")[0]
    if not line.strip() and not any(mark in below for mark in ":[{("):
        line = below
    return without_none(line)


def without_none(value: object) -> str:
    """A text (or several) without quotes and emphasis; "" for none, and for anything else."""
    if isinstance(value, list):
        value = ", ".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return ""
    line = " ".join(value.split()).strip(" *_`\"'\u201c\u201d,}")
    return "" if line.lower().rstrip(".") in NOTHING else line
