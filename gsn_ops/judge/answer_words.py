"""Words of an answer as a number of objects: yes and no in some languages, marks, numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

YES = frozenset(
    "yes true present visible y found correct oui vrai pr\u00e9sent pr\u00e9sente si s\u00ed ja".split()
)
NO = frozenset(
    "no false absent missing none not n incorrect non faux absente aucun aucune nein nicht kein keine".split()
)
YES_MARKS, NO_MARKS = "\u2705\u2713\u2714\u2611", "\u274c\u2717\u2718\u2716\u2612"
YES_IN_CJK = (
    "\u662f",
    "\u6709",
    "\u5b58\u5728",
    "\u5728",
    "\u306f\u3044",
    "\u3042",
    "\u3044\u308b",
    "\u3044\u307e\u3059",
)
NO_IN_CJK = ("\u6ca1", "\u65e0", "\u4e0d", "\u5426", "\u7121", "\u3044\u3044\u3048", "\u306a", "\u3044\u306a")
NO_AT_THE_END = "\u307e\u305b\u3093"  # of a Japanese verb
BOTH_COLONS = ":\uff1a"
UNSURE = re.compile(r"\W*not\s+(?:sure|certain|clear|entirely|possible)\b")
NUMBER = re.compile(r"[^\w\-]*(-?\d+)(?:[.,](\d+))?")
NUMBER_WORDS: dict[str, int] = {
    word: n for n, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
SAYS = (
    "present", "visible", "answer", "count", "exists", "found", "detected", "is_present", "in_image",
    "status",
)  # fmt: skip
"""Keys of JSON under which it is said whether a thing is there."""
MOST_OBJECTS = 100
"""More of one thing are not told apart."""


def count_of(value: Any) -> int | None:
    """A statement as a number of objects, 0 ... MOST_OBJECTS; None if it is not one, as a probability."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        parts = [count_of(value[key]) for key in SAYS if key in value]
        known = [part for part in parts if part is not None]
        return 0 if 0 in known else max(known, default=None)
    if isinstance(value, list):  # of boxes
        return len(value) if all(isinstance(one, Mapping | list) for one in value) else None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        whole = math.isfinite(value) and value >= 0 and value == int(value)
        return min(int(value), MOST_OBJECTS) if whole else None
    return _count_of_text(str(value).strip().lower())


def is_number(value: Any) -> bool:
    """Whether a statement says how many there are, not only that there are some."""
    if isinstance(value, Mapping):
        return any(is_number(value[key]) for key in SAYS if key in value)
    if isinstance(value, bool):
        return False
    word = re.match(r"\W*(\w+)", str(value).lower())
    return isinstance(value, int | float | list) or bool(
        word and (word[1].isdecimal() or word[1] in NUMBER_WORDS)
    )


def _count_of_text(text: str) -> int | None:
    number = NUMBER.match(text)
    if number:
        if number[1].startswith("-") or (number[2] or "").strip("0"):
            return None
        return min(int(number[1].lstrip("0")[:4] or "0"), MOST_OBJECTS)
    if text[:1] and text[0] in YES_MARKS + NO_MARKS:
        return int(text[0] in YES_MARKS)
    word = re.match(r"\W*(\w+)", text)
    if word is None or UNSURE.match(text):
        return None
    if word[1] in NUMBER_WORDS:
        return NUMBER_WORDS[word[1]]
    if word[1] in YES or word[1] in NO:
        return int(word[1] in YES)
    if word[1].startswith(NO_IN_CJK) or NO_AT_THE_END in word[1]:
        return 0
    return 1 if word[1].startswith(YES_IN_CJK) else None
