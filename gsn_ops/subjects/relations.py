"""Where subjects are to each other, as an English prompt says it.

"A to the left of B", "A above B", "A on top of B", "to the left of B is A", "A on the left and B on the
right". Nothing is guessed: the words between the two nouns must say the relation and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from .nouns_in_text import NounInText, introduces, words_of
from .word_lists import CONJUNCTIONS, COPULAS, DEFINITE, INDEFINITE, NEGATIONS, is_verb_form

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
RELATIONS = tuple(OPPOSITE)
Found = dict[str, tuple[tuple[str, str], ...]]
"""Label -> (relation, label of the other subject) each."""

_SIDE = (
    r"(?:(?:to|on|at|from) (?:the |its )?)?(?:far |immediate |upper |lower )?(left|right) "
    r"(?:- )?(?:hand )?(?:side )?(?:of|from)"
)
_LEVEL = (
    r"(?:on top of|on the top of|(?:right |directly )?above|atop|higher than)|"
    r"((?:right |directly )?below|(?:right |directly )?under|beneath|underneath|lower than)"
)
PHRASE = re.compile(rf"\b(?:{_SIDE}|{_LEVEL})(?= |$)")
IMAGE = r"(?: (?:side|corner|half|edge))?(?: of (?:the |this )?(?:image|picture|photo|frame|scene|canvas))?"
POSITION = re.compile(
    rf"(?:on|at|in) the (?:far |very )?(left|right|top|bottom|middle|cent(?:er|re))(?: hand)?{IMAGE}(?! of\b)"
)
AXES = {
    "left": (0, 0), "middle": (0, 1), "center": (0, 1), "centre": (0, 1), "right": (0, 2),
    "top": (1, 0), "bottom": (1, 2),
}  # fmt: skip
NAMES = (("left of", "right of"), ("above", "below"))
"""Per axis: of a subject before the other, behind the other."""
STANDING = frozenset(
    "there is are sits stands hangs lies floats flies rests sit stand hang lie float fly".split()
)
ENDS = frozenset(".;!?:")


def relations_in(text: str, nouns: Sequence[NounInText]) -> Found:
    """The relations between these subjects, in text order. text: in lower case; nouns: in text order."""
    gaps = _gaps(text, nouns)
    found: dict[str, list[tuple[str, str]]] = {}
    for i, (a, b) in enumerate(pairwise(nouns)):
        if relation := _between(gaps[i + 1], b):
            found.setdefault(a.label, []).append((relation, b.label))
        elif relation := _turned(gaps[i], a, gaps[i + 1], b):
            found.setdefault(b.label, []).append((relation, a.label))
    for a, relation, b in _by_position(gaps, nouns):
        if not any(b in (other, label) for label in (a, b) for _, other in found.get(label, ())):
            found.setdefault(a, []).append((relation, b))
    return {label: tuple(dict.fromkeys(pairs)) for label, pairs in found.items()}


def _gaps(text: str, nouns: Sequence[NounInText]) -> list[str]:
    """The words before the first noun, between each two, and behind the last one, joined by single spaces."""
    starts = [0, *(noun.stop for noun in nouns)]
    stops = [*(noun.start for noun in nouns), len(text)]
    return [" ".join(words_of(text[a:b])) if a < b else "" for a, b in zip(starts, stops)]


def _relation(found: re.Match) -> str:
    if found[1]:
        return f"{found[1]} of"
    return "below" if found[2] else "above"


def _between(gap: str, b: NounInText) -> str:
    """The relation of the words between A and B to "A RELATION B"; "" if they say something else."""
    phrases = list(PHRASE.finditer(gap))
    if not phrases or not introduces(gap[phrases[-1].end() :].split(), b):
        return ""
    before = gap[: phrases[-1].start()].split()
    others = ENDS | DEFINITE - {"that"} | INDEFINITE | CONJUNCTIONS | NEGATIONS
    return "" if others & set(before) or any(word.isdigit() for word in before) else _relation(phrases[-1])


def _turned(before: str, a: NounInText, gap: str, b: NounInText) -> str:
    """The relation of B to A in "RELATION A is B", at the start of a sentence."""
    phrases = list(PHRASE.finditer(before))
    if not phrases or not introduces(before[phrases[-1].end() :].split(), a):
        return ""
    led = before[: phrases[-1].start()].split()
    if led and led[-1] not in ENDS:
        return ""
    words = gap.split()
    says = [word for word in words if word in STANDING or word in COPULAS or word == ","]
    rest = [word for word in words if word not in STANDING and word != "," and not is_verb_form(word)]
    return _relation(phrases[-1]) if says and introduces(rest, b) else ""


def _by_position(gaps: Sequence[str], nouns: Sequence[NounInText]) -> list[tuple[str, str, str]]:
    """(A, relation, B) of neighbours whose places in the image the text names."""
    places = _places_before(gaps, nouns) or _places_behind(gaps, nouns)
    found = []
    for (a, at), (b, then) in pairwise(places):
        if at[0] == then[0] and at[1] != then[1]:
            found.append((a, NAMES[at[0]][at[1] > then[1]], b))
    return found


def _places_before(gaps: Sequence[str], nouns: Sequence[NounInText]) -> list[tuple[str, tuple[int, int]]]:
    """(label, axis and place) of "on the left a cat", if the first noun has one."""
    found = []
    for gap, noun in zip(gaps, nouns):
        places = list(POSITION.finditer(gap))
        rest = gap[places[-1].end() :].split() if places else []
        rest = [word for word in rest if word not in STANDING and word not in (",", ":", "-")]
        if places and introduces(rest, noun):
            found.append((noun.label, AXES[places[-1][1]]))
        elif not found:
            return []
    return found


def _places_behind(gaps: Sequence[str], nouns: Sequence[NounInText]) -> list[tuple[str, tuple[int, int]]]:
    """(label, axis and place) of "a cat on the left"."""
    found = []
    for gap, noun in zip(gaps[1:], nouns):
        place = POSITION.search(gap)
        led = gap[: place.start()].split() if place else []
        if place and all(word in STANDING or word in COPULAS or is_verb_form(word) for word in led):
            found.append((noun.label, AXES[place[1]]))
    return found
