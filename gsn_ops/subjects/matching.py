"""Finding phrases in a text: whole words, whatever case, spacing or punctuation the tokenizer left."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..prompt import SubjectPhrase
from .word_lists import COMPOUNDS, CONJUNCTIONS, LINKS, is_adverb

SINGLES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Chinese characters: written without spaces, so each is a word of its own here."""
WORD = re.compile(rf"[{SINGLES}]|(?:(?![{SINGLES}])[^\W\d_])(?:(?![{SINGLES}])[^\W\d_]|[\u0300-\u036f])*|\d")
ELISION = re.compile(r"['\u2019]\s*(?:s|t|re|ve|ll|d|m)\b", re.IGNORECASE)
JOINERS = frozenset("-\u2010\u2011_'\u2019\"()\\")
"""Marks that may stand inside a phrase: "t-shirt", "red_hair", "red (car)"."""


@dataclass(frozen=True)
class Word:
    """A run of letters, or one digit. start, stop: its characters. gap: what stands before it, spaces left out."""

    text: str
    start: int
    stop: int
    gap: str


@dataclass(frozen=True)
class Place:
    """Where a phrase stands: indices of words. exact: the words of the phrase are together."""

    noun: range
    modifiers: tuple[range, ...]
    exact: bool


def fold(text: str) -> str:
    """Case, width and Latin accents do not matter for a match."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", plain))


def split_words(text: str) -> list[Word]:
    """The words of a text. Letters and digits are parted ("1girl" is what CLIP shows as "1 girl"), as is 's from its noun."""
    words: list[Word] = []
    end = 0
    elided = {m.end() for m in ELISION.finditer(text)}
    for m in WORD.finditer(text):
        if m.end() in elided and words:
            continue
        gap = re.sub(r"\s+", "", ELISION.sub("", text[end : m.start()]))
        words.append(Word(fold(m.group()), m.start(), m.end(), gap))
        end = m.end()
    return words


def _joined(gap: str, also: str = "") -> bool:
    return set(gap) <= JOINERS | set(also)


def stands_at(words: Sequence[Word], i: int, wanted: Sequence[Word]) -> bool:
    """Do the wanted words stand at word i, next to each other?"""
    if i < 0 or i + len(wanted) > len(words):
        return False
    return all(
        word.text == want.text and (k == 0 or _joined(word.gap, want.gap))
        for k, (word, want) in enumerate(zip(words[i:], wanted))
    )


def find(words: Sequence[Word], wanted: Sequence[Word]) -> list[int]:
    """All indices at which the wanted words stand."""
    return [i for i in range(len(words)) if stands_at(words, i, wanted)] if wanted else []


def _before(words: Sequence[Word], noun: int, modifiers: Sequence[Sequence[Word]]) -> list[range] | None:
    """The modifiers directly before the noun: "red and blue table", "big, red car", "cup of tea"."""
    at, found = noun, []
    for modifier in reversed(modifiers):
        j, last = at - len(modifier), at == noun
        while j >= 0:
            if not _joined(words[j + len(modifier)].gap, "" if last else ",&"):
                return None
            if stands_at(words, j, modifier):
                break
            between = words[j + len(modifier) - 1].text
            if between not in ({"of", "the", "a", "an"} if last else CONJUNCTIONS) and not is_adverb(between):
                return None
            j -= 1
        if j < 0:
            return None
        at = j
        found.insert(0, range(j, j + len(modifier)))
    return found


def _after(words: Sequence[Word], end: int, modifiers: Sequence[Sequence[Word]]) -> list[range] | None:
    """The modifiers directly after the noun: "dog that is red and big"."""
    j, found = end, []
    for modifier in modifiers:
        while not stands_at(words, j, modifier):
            first = not found
            if (
                j >= len(words)
                or words[j].text not in (LINKS if first else CONJUNCTIONS)
                and not is_adverb(words[j].text)
            ):
                return None
            j += 1
        if not all(
            _joined(w.gap, ",&" if found else "") for w in words[(found[-1].stop if found else end) : j + 1]
        ):
            return None
        found.append(range(j, j + len(modifier)))
        j += len(modifier)
    return found


def _together(
    words: Sequence[Word], i: int, noun: Sequence[Word], modifiers: Sequence[Sequence[Word]]
) -> Place | None:
    for split in range(len(modifiers), -1, -1):
        before, after = _before(words, i, modifiers[:split]), _after(words, i + len(noun), modifiers[split:])
        if before is not None and after is not None:
            return Place(range(i, i + len(noun)), (*before, *after), True)
    return None


def _inside_compound(words: Sequence[Word], i: int, length: int) -> bool:
    """Is the word part of a longer thing ("dog" in "hot dog")?"""
    for a in range(max(0, i - 2), i + 1):
        for b in range(max(i + length, a + 2), min(a + 4, len(words) + 1)):
            if (
                b - a > length
                and " ".join(w.text for w in words[a:b]) in COMPOUNDS
                and all(_joined(w.gap) for w in words[a + 1 : b])
            ):
                return True
    return False


def places(phrase: SubjectPhrase, words: Sequence[Word]) -> list[Place]:
    """Where the phrase stands, in text order.

    All words together wherever that occurs; else every place of the noun, each with the nearest place of each modifier.
    Empty if the noun or a modifier is nowhere.
    """
    noun, modifiers = split_words(phrase.noun), [split_words(m) for m in phrase.modifiers]
    at = find(words, noun)
    free = [i for i in at if not _inside_compound(words, i, len(noun))]
    together = [p for i in at if (p := _together(words, i, noun, modifiers))]
    together = [p for p in together if p.noun.start in free] or together
    if together:
        return together
    where = [find(words, modifier) for modifier in modifiers]
    if not all(where):
        return []
    return [
        Place(
            range(i, i + len(noun)),
            tuple(
                range(j, j + len(m))
                for m, js in zip(modifiers, where)
                for j in [min(js, key=lambda j: (abs(j - i), j))]
            ),
            False,
        )
        for i in free or at
    ]


def phrase_at(
    noun: str, modifiers: tuple[str, ...], start: int, words: Sequence[Word]
) -> SubjectPhrase | None:
    """The phrase found in the text, with the number that makes `places` find its noun at word `start`.

    Without its modifiers where it is not found with them; None where the noun is part of a longer name.
    """
    for kept in (modifiers, ()):
        phrase = SubjectPhrase(" ".join([*kept, noun]), noun, kept, source="found")
        starts = [place.noun.start for place in places(phrase, words)]
        if start in starts:
            n = starts.index(start) + 1
            return replace(phrase, label=phrase.label + (f"#{n}" if n > 1 else ""), occurrence=n)
    return None
