"""Finding phrases in a text: whole words, whatever case, spacing or punctuation the tokenizer left."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..prompt import SubjectPhrase
from .word_lists import COMPOUNDS, CONJUNCTIONS, LINKS, is_adverb

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Chinese characters: written without spaces, so each counts as a word."""
WORD = re.compile(
    rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W\d_])(?:(?![{UNSPACED}])[^\W\d_]|[\u0300-\u036f])*|\d"
)
ELISION = re.compile(r"['\u2019]\s*(?:s|t|re|ve|ll|d|m)\b", re.IGNORECASE)
ARTICLES = frozenset(("a", "an", "the"))
JOINERS = frozenset("-\u2010\u2011_'\u2019\"()\\")
"""Marks that may stand inside a phrase: "t-shirt", "red_hair", "red (car)"."""


@dataclass(frozen=True)
class TextWord:
    """A run of letters, or one digit. start, stop: its characters.

    gap: the marks before it, without spaces.
    """

    text: str
    start: int
    stop: int
    gap: str


class Words(list[TextWord]):
    """The words of a text, and where each one stands. indices: of these words in a longer text."""

    indices: list[int] = []

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Indices of each word, in text order."""
        found: dict[str, list[int]] = {}
        for n, word in enumerate(self):
            found.setdefault(word.text, []).append(n)
        return found

    @cached_property
    def without_articles(self) -> Words:
        """These words without "a" and "the". indices: where each one stands in these."""
        return without_articles(self)


def without_articles(words: Words) -> Words:
    """The words without "a", "an" and "the", and their indices."""
    bare, indices, gap = Words(), [], ""
    for n, word in enumerate(words):
        gap += word.gap
        if word.text not in ARTICLES:
            bare.append(replace(word, gap=gap))
            indices.append(n)
            gap = ""
    bare.indices = indices
    return bare


@dataclass(frozen=True)
class PhraseMatch:
    """One occurrence of a phrase in a text, as indices of words. adjacent: its words stand together."""

    noun: range
    modifiers: tuple[range, ...]
    adjacent: bool


def fold(text: str) -> str:
    """The text without differences of case, width and Latin accents."""
    bare = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", bare))


def split_words(text: str) -> Words:
    """The words of a text, folded.

    Letters and digits are separate words (CLIP shows "1girl" as "1 girl"), and an elision such as 's is none.
    """
    words = Words()
    end = 0
    elided = {m.end() for m in ELISION.finditer(text)}
    for m in WORD.finditer(text):
        if m.end() in elided and words:
            continue
        gap = re.sub(r"\s+", "", ELISION.sub("", text[end : m.start()]))
        words.append(TextWord(fold(m.group()), m.start(), m.end(), gap))
        end = m.end()
    return words


def _joined(gap: str, also: str = "") -> bool:
    return set(gap) <= JOINERS | set(also)


def matches_at(words: Sequence[TextWord], i: int, wanted: Sequence[TextWord]) -> bool:
    """Whether the wanted words stand at word i, next to each other."""
    if i < 0 or i + len(wanted) > len(words):
        return False
    return all(
        word.text == want.text and (k == 0 or _joined(word.gap, want.gap))
        for k, (word, want) in enumerate(zip(words[i:], wanted))
    )


def find_all(words: Words, wanted: Sequence[TextWord]) -> list[int]:
    """All indices at which the wanted words stand, in text order."""
    if not wanted:
        return []
    return [i for i in words.places.get(wanted[0].text, ()) if matches_at(words, i, wanted)]


def _nearest(places: Sequence[int], to: int) -> int:
    """The place next to `to`; of two the earlier one."""
    n = bisect_left(places, to)
    return min(places[max(n - 1, 0) : n + 1], key=lambda place: (abs(place - to), place))


def _before(
    words: Sequence[TextWord], noun: int, modifiers: Sequence[Sequence[TextWord]]
) -> list[range] | None:
    """The modifiers directly before the noun: "red and blue table", "big, red car", "cup of tea"."""
    at = noun
    found: list[range] = []
    for modifier in reversed(modifiers):
        j, last = at - len(modifier), at == noun
        skipped = {"of", "the", "a", "an"} if last else CONJUNCTIONS
        while j >= 0:
            if not _joined(words[j + len(modifier)].gap, "" if last else ",&"):
                return None
            if matches_at(words, j, modifier):
                break
            between = words[j + len(modifier) - 1].text
            if between not in skipped and not is_adverb(between):
                return None
            j -= 1
        if j < 0:
            return None
        at = j
        found.insert(0, range(j, j + len(modifier)))
    return found


def _after(
    words: Sequence[TextWord], end: int, modifiers: Sequence[Sequence[TextWord]]
) -> list[range] | None:
    """The modifiers directly after the noun: "dog that is red and big"."""
    j = end
    found: list[range] = []
    for modifier in modifiers:
        start = found[-1].stop if found else end
        skipped = CONJUNCTIONS if found else LINKS
        while not matches_at(words, j, modifier):
            if j >= len(words):
                return None
            if words[j].text not in skipped and not is_adverb(words[j].text):
                return None
            j += 1
        also = ",&" if found else ""
        if not all(_joined(word.gap, also) for word in words[start : j + 1]):
            return None
        found.append(range(j, j + len(modifier)))
        j += len(modifier)
    return found


def _adjacent_match(
    words: Sequence[TextWord], i: int, noun: Sequence[TextWord], modifiers: Sequence[Sequence[TextWord]]
) -> PhraseMatch | None:
    """The match with the noun at word i, if all modifiers stand directly before and after it."""
    for split in range(len(modifiers), -1, -1):
        before = _before(words, i, modifiers[:split])
        after = _after(words, i + len(noun), modifiers[split:])
        if before is not None and after is not None:
            return PhraseMatch(range(i, i + len(noun)), (*before, *after), True)
    return None


def _is_inside_compound(words: Sequence[TextWord], i: int, length: int) -> bool:
    """Whether the `length` words at i are part of a longer noun ("dog" in "hot dog")."""
    for a in range(max(0, i - 2), i + 1):
        for b in range(max(i + length, a + 2), min(a + 4, len(words) + 1)):
            is_compound = " ".join(w.text for w in words[a:b]) in COMPOUNDS
            if b - a > length and is_compound and all(_joined(w.gap) for w in words[a + 1 : b]):
                return True
    return False


def phrase_matches(phrase: SubjectPhrase, words: Words) -> list[PhraseMatch]:
    """The occurrences of a phrase, in text order.

    All words together wherever that occurs; else every occurrence of the noun, each with the nearest one of
    each modifier. Empty if the noun or a modifier is not in the text.
    """
    noun, modifiers = split_words(phrase.noun), [split_words(m) for m in phrase.modifiers]
    if as_typed := _as_typed(phrase, noun, modifiers, words):
        return as_typed
    nouns = find_all(words, noun)
    free = [i for i in nouns if not _is_inside_compound(words, i, len(noun))]
    together = [match for i in nouns if (match := _adjacent_match(words, i, noun, modifiers))]
    unbound = set(free)
    together = [match for match in together if match.noun.start in unbound] or together
    if together:
        return together
    found = [find_all(words, modifier) for modifier in modifiers]
    if not all(found):
        return []
    matches = []
    for i in free or nouns:
        starts = [_nearest(places, i) for places in found]
        nearest = tuple(range(j, j + len(m)) for j, m in zip(starts, modifiers))
        matches.append(PhraseMatch(range(i, i + len(noun)), nearest, False))
    return matches


def _as_typed(
    phrase: SubjectPhrase, noun: Sequence[TextWord], modifiers: Sequence[Sequence[TextWord]], words: Words
) -> list[PhraseMatch]:
    """The occurrences of a phrase that goes on behind its noun, word for word: "woman in a red dress"."""
    typed = without_articles(split_words(re.sub(r"#\d+$", "", phrase.label)))
    starts = [find_all(typed, wanted)[:1] for wanted in (noun, *modifiers)]
    if not modifiers or not all(starts) or max(starts)[0] == starts[0][0]:
        return []
    first, bare = min(starts)[0], words.without_articles
    begins = find_all(bare, typed[first:])

    def at(begin: int, n: int, wanted: Sequence[TextWord]) -> range:
        start = bare.indices[begin + starts[n][0] - first]
        return range(start, start + len(wanted))

    return [
        PhraseMatch(at(i, 0, noun), tuple(at(i, n + 1, m) for n, m in enumerate(modifiers)), True)
        for i in begins
    ]


def phrase_at(noun: str, modifiers: tuple[str, ...], start: int, words: Words) -> SubjectPhrase | None:
    """The found phrase with the occurrence number that makes `phrase_matches` find its noun at word `start`.

    Without its modifiers if it is not found with them; None if the noun is part of a longer one.
    """
    for kept in (modifiers, ()):
        phrase = SubjectPhrase(" ".join([*kept, noun]), noun, kept, source="found")
        starts = [match.noun.start for match in phrase_matches(phrase, words)]
        if start in starts:
            n = starts.index(start) + 1
            return replace(phrase, label=phrase.label + (f"#{n}" if n > 1 else ""), occurrence=n)
    return None
