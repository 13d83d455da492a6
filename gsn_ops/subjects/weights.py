"""The syntax of word weights, as text -> phrases with a number each.

`red car: 1.5, bench: 0.7, glasses: -1`: the phrases of the subjects field (`syntax`), each with a weight
after a colon or `=`; entries are separated as there. `(red car:1.5)` is the same, and so is a decimal comma.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from ..prompt import SubjectPhrase
from .syntax import BREAKS, DASHES, MARKS, UNWANTED, parse_subjects, without_bullets

LOWEST, HIGHEST = -2.0, 3.0
EXPLANATION = "Write each word with its weight after a colon, for example: red car: 1.5, bench: 0.7"
SOURCE = "weighted"
"""`SubjectPhrase.source` of these phrases: any word of the prompt may have a weight, an adjective too."""


SEPARATOR = re.compile(
    rf"(?<=[\d)])\s*[|/]\s*(?=\D)|(?<=\))\s*(?=\()|[{MARKS.replace('|', '').replace('/', '')}{BREAKS}]"
)
"""Between entries; a bar or slash only behind a weight."""
DECIMAL_COMMA = re.compile(r"([:=]\s*[-+]?\d+)[,\uff0c](\d+)(?=\s*(?:[,;)\n\uff0c]|\Z))")
MINUS = re.compile(rf"([:=]\s*)[{DASHES}\uff0d](?=[\d.])")
"""The sign of a weight, as phones and word processors write it."""


def parse_weights(text: str) -> tuple[tuple[SubjectPhrase, float], ...]:
    """The phrases and their weights, in order; () for an empty field.

    Raises ValueError naming an entry that cannot be read, or whose weight is out of range.
    """
    entries = [entry for entry in map(str.strip, SEPARATOR.split(_plain(text))) if entry]
    parts = [_split(entry) for entry in entries]
    phrases = parse_subjects(", ".join(phrase for phrase, _ in parts), any_word=True)
    # "salt and pepper: 1.2" is one entry of two phrases.
    weights = [weight for phrase, weight in parts for _ in parse_subjects(phrase, any_word=True)]
    return tuple((replace(phrase, source=SOURCE), w) for phrase, w in zip(phrases, weights, strict=True))


def _plain(text: str) -> str:
    """The text with this syntax's colon, minus and decimal point, without the bullets of a list."""
    text = MINUS.sub(r"\1-", text.replace("\uff1a", ":"))
    return without_bullets(DECIMAL_COMMA.sub(r"\1.\2", text))


def _split(entry: str) -> tuple[str, float]:
    """One entry as its phrase and its weight."""
    found = re.fullmatch(r"\(*\s*([^:=]*\w[^:=]*?)\s*[:=]\s*([-+]?\d*\.?\d+(?:e[-+]?\d+)?)\s*\)*\.?", entry)
    if found is None:
        raise ValueError(f"weights: '{entry}' cannot be read. {EXPLANATION}.")
    phrase, weight = found[1], float(found[2])
    sign = UNWANTED.match(phrase)
    if sign:
        raise ValueError(
            f"weights: '{entry}' has its sign before the word. Write "
            f"{phrase[sign.end() :]}: {-abs(weight):g}."
        )
    if not (math.isfinite(weight) and LOWEST <= weight <= HIGHEST):
        raise ValueError(
            f"weights: '{entry}' has the weight {weight:g}; choose {LOWEST:g} to {HIGHEST:g} (1 = unchanged, "
            "0 = taken out, below 0 = subtracted)."
        )
    return phrase, weight
