"""Finding the subjects of an English caption or tag list with word lists and patterns: nothing to install.

Noun phrases `(DET) (ADJ (and|,))* ADJ* NOUN+` and descriptions `NOUN (is|are|that is|which is) ADJ (and ADJ)*`.
Groups of words as SynGen's dependency rules give them (Rassin et al., NeurIPS 2023, appendix B).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..prompt import SubjectPhrase
from .matching import SINGLES, Word, phrase_at, split_words
from .prompt_cleanup import Unit, breaks, units_of
from .word_lists import (
    ABSENT,
    ADVERBS,
    COLOURS,
    COMPOUNDS,
    CONJUNCTIONS,
    COPULAS,
    DEFINITE,
    FUNCTION_WORDS,
    INDEFINITE,
    MATERIALS,
    MEASURES,
    NOT_THINGS,
    RELATIVES,
    TEMPLATES,
    is_adjective,
    is_adverb,
    is_listed_adjective,
    is_verb_form,
)

MOST = 5
COLOURED_THINGS = frozenset("orange rose violet peach olive lime cherry ruby pearl diamond crystal".split())
"""Words that are colours or materials before a noun, and things without one ("an apple and an orange")."""
TEMPLATE_LINKS = frozenset(
    "of with showing shows depicting depicts featuring features capturing captures".split()
)
SINGLE = re.compile(f"[{SINGLES}]")


@dataclass
class NounPhrase:
    """A noun with what describes it: before it, after "that is", after "is". determiner: "a", "the" or ""."""

    noun: list[Unit]
    before: list[Unit]
    determiner: str = ""
    relative: list[Unit] = field(default_factory=list)
    predicate: list[Unit] = field(default_factory=list)

    @property
    def modifiers(self) -> list[Unit]:
        return [*self.before, *self.relative, *self.predicate]


def find_subjects(text: str) -> tuple[list[SubjectPhrase], list[str]]:
    """The things a prompt names, in order: at most five, and the labels of the others.

    Works on captions and tag lists, and on text as a tokenizer decodes it (lower case, spaced punctuation).
    """
    words = split_words(text)
    found = [(_as_subject(phrase, words), phrase) for phrase in noun_phrases(text)]
    return most(
        [
            (subject, phrase.determiner in DEFINITE and not phrase.before)
            for subject, phrase in found
            if subject and (subject.occurrence == 1 or phrase.determiner in INDEFINITE)
        ]
    )


def most(candidates: Sequence[tuple[SubjectPhrase | None, bool]]) -> tuple[list[SubjectPhrase], list[str]]:
    """The first five of (subject, does it only point back: "the dog"), and the labels of the others.

    Those that point back to a noun that was named already are no new things, nor are those without a place (None).
    """
    found: dict[str, SubjectPhrase] = {}
    for subject, points_back in candidates:
        if subject and not (points_back and any(s.noun == subject.noun for s in found.values())):
            found.setdefault(subject.label, subject)
    subjects = list(found.values())
    return subjects[:MOST], [s.label for s in subjects[MOST:]]


def names_a_thing(noun: str, after: str, modifiers: Sequence[str]) -> bool:
    """Is this noun, before the word `after`, a thing to be seen? Not "photo" of, "pair" of, "lighting"; but "blue sunset"."""
    if noun in TEMPLATES and after in TEMPLATE_LINKS or noun in MEASURES and after == "of":
        return False
    return noun not in NOT_THINGS or any(m in COLOURS for m in modifiers)


def groups(text: str, rule: str = "std") -> list[list[str]]:
    """SynGen's groups of words that belong together: rule "std", "with_verbs" ("a dog that is red") or "verb_root" ("the dog is brown").

    Noun last, except for "verb_root", which is in text order. Nouns without modifiers form no group.
    """
    out = []
    for p in noun_phrases(text):
        units = {
            "std": [*p.before, *p.noun],
            "with_verbs": [*p.before, *p.relative, *p.noun],
            "verb_root": [*p.before, *p.noun, *p.predicate] if p.predicate else [],
        }[rule]
        if len(units) > len(p.noun):
            out.append([u.text for u in units])
    return out


def _as_subject(phrase: NounPhrase, words: Sequence[Word]) -> SubjectPhrase | None:
    """The phrase with the number that makes `places` find this very place; None where that is part of a longer name."""
    noun, modifiers = " ".join(u.text for u in phrase.noun), tuple(u.text for u in phrase.modifiers)
    return phrase_at(noun, modifiers, phrase.noun[0].at.start, words)


def noun_phrases(text: str) -> list[NounPhrase]:
    """All noun phrases that name things, in text order."""
    return _Reader(units_of(text)).read()


def _noun_size(words: Sequence[Unit]) -> int:
    """How many of the last words are the noun: more than one for things like "hot dog"."""
    for k in (3, 2):
        last = words[-k:]
        if " ".join(u.text for u in last) in COMPOUNDS and last[-1].at.stop - last[0].at.start == len(last):
            return len(last)
    return 1


class _Reader:
    """One pass over the units; holds the phrase being read."""

    def __init__(self, units: Sequence[Unit]):
        self.units, self.phrases = units, []
        self.words: list[Unit] = []
        self.determiner = ""
        self.absent = False  # after "without"
        self.held: list[
            list[Unit]
        ] = []  # adjectives whose noun comes later: "a red" in "a red and a blue balloon"

    def read(self) -> list[NounPhrase]:
        n = 0
        while n < len(self.units):
            n = self._step(n)
        self._close("")
        return self.phrases

    def _step(self, n: int) -> int:
        """Read unit n; returns the index of the next one to read."""
        unit = self.units[n]
        text = unit.text
        if breaks(unit) and not (
            unit.gap == ","
            and (self._describes() and self.determiner and self._adjective(n) or self._relative(n))
        ):
            self._close(unit.gap)
        if text in DEFINITE | INDEFINITE - RELATIVES and not self._relative(n) or text.isdigit():
            self._close(text)
            self.determiner = "a" if text.isdigit() else text
        elif text in CONJUNCTIONS and self._describes() and self._adjective(n + 1):
            pass  # "red and blue table": one phrase
        elif text in COPULAS or self._relative(n):
            return self._describe(n)
        elif is_adverb(text):
            pass
        elif text in FUNCTION_WORDS or len(text) == 1 and text.isascii() or SINGLE.match(text):
            self._close(text)
            self.absent = text in ABSENT
        elif self.words and not self._describes() and is_verb_form(text, self.words[-1].text):
            self._close(text)
        else:
            self.words.append(unit)
        return n + 1

    def _describes(self) -> bool:
        """Are there words so far, and only adjectives?"""
        return bool(self.words) and all(is_adjective(u.text) for u in self.words)

    def _adjective(self, n: int) -> bool:
        """Is the next word that is not a degree word an adjective?"""
        while n < len(self.units) and is_adverb(self.units[n].text):
            n += 1
        return n < len(self.units) and is_adjective(self.units[n].text)

    def _relative(self, n: int) -> bool:
        """Is this "that", "which" or "who" followed by "is" (also as "that's")?"""
        if self.units[n].text not in RELATIVES:
            return False
        return n + 1 < len(self.units) and self.units[n + 1].text in COPULAS

    def _describe(self, n: int) -> int:
        """NOUN (is|that is) ADJ (and ADJ)*: the adjectives belong to the noun just read."""
        relative = self.units[n].text in RELATIVES
        phrase = self._close(self.units[n].text)
        n += 2 if relative else 1
        adjectives: list[Unit] = []
        while n < len(self.units):
            text = self.units[n].text
            if is_adverb(text) or (
                adjectives
                and text in CONJUNCTIONS
                and self._adjective(n + 1)
                and not self._noun_follows(n + 1)
            ):
                n += 1
            elif is_adjective(text) and not self._noun_follows(n):
                if adjectives and breaks(self.units[n]) and self.units[n].gap != ",":
                    break
                adjectives.append(self.units[n])
                n += 1
            else:
                break
        if (
            not adjectives
            and n < len(self.units)
            and self.units[n].text.endswith("ing")
            and is_verb_form(self.units[n].text)
        ):
            n += 1  # "is playing chess"
        if phrase is not None:
            (phrase.relative if relative else phrase.predicate).extend(adjectives)
        return n

    def _noun_follows(self, n: int) -> bool:
        """Is the adjective at n followed by a word that could be its noun ("is red meat")?"""
        if n + 1 >= len(self.units) or breaks(self.units[n + 1]):
            return False
        text = self.units[n + 1].text
        return not (
            text in FUNCTION_WORDS
            or is_adjective(text)
            or is_adverb(text)
            or is_verb_form(text)
            or text in ADVERBS
        )

    def _close(self, after: str) -> NounPhrase | None:
        """End the phrase before the word `after`. Returns it if it names a thing."""
        read, determiner = self.words, self.determiner
        words, self.words, self.determiner = read, [], ""
        while words and _noun_size(words) == 1 and self._no_noun(words, determiner):
            words = words[:-1]
        if not words:
            self._hold(read, determiner, after)
            return None
        held, absent, self.held, self.absent = self.held, self.absent, [], False
        size = _noun_size(words)
        noun, before = words[-size:], words[:-size]
        last = " ".join(u.text for u in noun)
        if absent or not names_a_thing(last, after, [u.text for u in before]):
            return None
        phrase = NounPhrase(noun, before, determiner)
        self.phrases += [
            *(NounPhrase(noun, adjectives, determiner) for adjectives in held if before and determiner),
            phrase,
        ]
        return phrase

    def _hold(self, read: list[Unit], determiner: str, after: str) -> None:
        """Keep what was read without a noun, if its noun may come later: "a red" and "a blue balloon"."""
        if read:
            keep = determiner and after in CONJUNCTIONS | {","} and all(is_adjective(u.text) for u in read)
        else:
            keep = after in CONJUNCTIONS | DEFINITE | INDEFINITE or after.isdigit()
        self.held = [*self.held, *([read] if read else [])] if keep else []

    @staticmethod
    def _no_noun(words: list[Unit], determiner: str) -> bool:
        """Is the last word no noun: a verb form, or an adjective that stands alone?"""
        last = words[-1].text
        alone = len(words) == 1 and determiner
        if is_listed_adjective(last):
            thing = last in COLOURED_THINGS or last in MATERIALS
            return not (thing and alone) and not (last in COLOURED_THINGS and len(words) > 1)
        return is_verb_form(last) and not alone
