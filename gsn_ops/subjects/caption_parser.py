"""Built-in parser: the subjects of an English caption or tag list, by word lists and patterns.

Noun phrases `(DET) (ADJ (and|,))* ADJ* NOUN+` and descriptions `NOUN (is|are|that is|which is) ADJ (and
ADJ)*`. The groups of words are those of SynGen's dependency rules (Rassin et al., NeurIPS 2023, appendix B).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..prompt import SubjectPhrase
from .matching import UNSPACED, TextWord, phrase_at, split_words
from .prompt_cleanup import PromptWord, begins_phrase, prompt_words
from .word_lists import (
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
    NEGATIONS,
    NOT_THINGS,
    RELATIVES,
    TEMPLATES,
    is_adjective,
    is_adverb,
    is_listed_adjective,
    is_verb_form,
)

MAX_SUBJECTS = 5
COLOURED_THINGS = frozenset("orange rose violet peach olive lime cherry ruby pearl diamond crystal".split())
"""Colours or materials before a noun, things without one ("an apple and an orange")."""
TEMPLATE_LINKS = frozenset(
    "of with showing shows depicting depicts featuring features capturing captures".split()
)
UNSPACED_WORD = re.compile(f"[{UNSPACED}]")


@dataclass
class NounPhrase:
    """A noun with its modifiers: before it, after "that is", after "is". determiner: "a", "the" or ""."""

    noun: list[PromptWord]
    before: list[PromptWord]
    determiner: str = ""
    relative: list[PromptWord] = field(default_factory=list)
    predicate: list[PromptWord] = field(default_factory=list)

    @property
    def modifiers(self) -> list[PromptWord]:
        """All modifiers in text order."""
        return [*self.before, *self.relative, *self.predicate]


def subjects_of_caption(text: str) -> tuple[list[SubjectPhrase], list[str]]:
    """The things a prompt names, in order: at most five, and the labels of the others.

    Works on captions and tag lists, and on text as a tokenizer decodes it (lower case, spaced punctuation).
    """
    words = split_words(text)
    candidates = []
    for phrase in noun_phrases(text):
        subject = _as_subject(phrase, words)
        if subject and (subject.occurrence == 1 or phrase.determiner in INDEFINITE):
            candidates.append((subject, phrase.determiner in DEFINITE and not phrase.before))
    return first_subjects(candidates)


def first_subjects(
    candidates: Sequence[tuple[SubjectPhrase | None, bool]],
) -> tuple[list[SubjectPhrase], list[str]]:
    """The first five subjects of (subject, whether it is definite: "the dog"), and the labels of the others.

    Definite references to an earlier noun are not counted again, nor are subjects that are not in the text
    (None).
    """
    found: dict[str, SubjectPhrase] = {}
    for subject, definite in candidates:
        if subject and not (definite and any(s.noun == subject.noun for s in found.values())):
            found.setdefault(subject.label, subject)
    subjects = list(found.values())
    return subjects[:MAX_SUBJECTS], [s.label for s in subjects[MAX_SUBJECTS:]]


def names_a_thing(noun: str, after: str, modifiers: Sequence[str]) -> bool:
    """Whether this noun, before the word `after`, names something visible.

    Not "photo" of, "pair" of, "lighting"; but "blue sunset".
    """
    if noun in TEMPLATES and after in TEMPLATE_LINKS:
        return False
    if noun in MEASURES and after == "of":
        return False
    return noun not in NOT_THINGS or any(m in COLOURS for m in modifiers)


def modifier_groups(text: str, rule: str = "std") -> list[list[str]]:
    """SynGen's groups of words that belong together, noun last. Nouns without modifiers form no group.

    rule: "std", "with_verbs" ("a dog that is red") or "verb_root" ("the dog is brown", which is in text
    order).
    """
    groups = []
    for p in noun_phrases(text):
        words = {
            "std": [*p.before, *p.noun],
            "with_verbs": [*p.before, *p.relative, *p.noun],
            "verb_root": [*p.before, *p.noun, *p.predicate] if p.predicate else [],
        }[rule]
        if len(words) > len(p.noun):
            groups.append([word.text for word in words])
    return groups


def _as_subject(phrase: NounPhrase, words: Sequence[TextWord]) -> SubjectPhrase | None:
    """The phrase with the number of this very occurrence; None if the noun is part of a longer one."""
    noun = " ".join(word.text for word in phrase.noun)
    modifiers = tuple(word.text for word in phrase.modifiers)
    return phrase_at(noun, modifiers, phrase.noun[0].at.start, words)


def noun_phrases(text: str) -> list[NounPhrase]:
    """All noun phrases that name things, in text order."""
    return _Parser(prompt_words(text)).parse()


def _noun_size(words: Sequence[PromptWord]) -> int:
    """How many of the last words are the noun: more than one for compounds like "hot dog"."""
    for k in (3, 2):
        last = words[-k:]
        together = last[-1].at.stop - last[0].at.start == len(last)
        if " ".join(word.text for word in last) in COMPOUNDS and together:
            return len(last)
    return 1


class _Parser:
    """One pass over the words of a prompt."""

    def __init__(self, words: Sequence[PromptWord]) -> None:
        self.words = words
        self.phrases: list[NounPhrase] = []
        self.current: list[PromptWord] = []  # words of the phrase being read
        self.determiner = ""
        self.negated = False  # after "without"
        # Adjectives whose noun comes later: "a red" in "a red and a blue balloon".
        self.held: list[list[PromptWord]] = []

    def parse(self) -> list[NounPhrase]:
        n = 0
        while n < len(self.words):
            n = self._step(n)
        self._close("")
        return self.phrases

    def _step(self, n: int) -> int:
        """Read word n; returns the index of the next one to read."""
        word = self.words[n]
        text = word.text
        if begins_phrase(word) and not self._comma_continues(n):
            self._close(word.gap)
        if text in DEFINITE | INDEFINITE - RELATIVES and not self._is_relative(n) or text.isdigit():
            self._close(text)
            self.determiner = "a" if text.isdigit() else text
        elif text in CONJUNCTIONS and self._only_adjectives() and self._is_adjective(n + 1):
            pass  # "red and blue table": one phrase
        elif text in COPULAS or self._is_relative(n):
            return self._read_description(n)
        elif is_adverb(text):
            pass
        elif text in FUNCTION_WORDS or len(text) == 1 and text.isascii() or UNSPACED_WORD.match(text):
            self._close(text)
            self.negated = text in NEGATIONS
        elif self.current and not self._only_adjectives() and is_verb_form(text, self.current[-1].text):
            self._close(text)
        else:
            self.current.append(word)
        return n + 1

    def _comma_continues(self, n: int) -> bool:
        """Whether a comma before word n does not end the phrase: "a big, red car", "a dog, which is red"."""
        if self.words[n].gap != ",":
            return False
        between_adjectives = self._only_adjectives() and bool(self.determiner) and self._is_adjective(n)
        return between_adjectives or self._is_relative(n)

    def _only_adjectives(self) -> bool:
        """Whether the phrase has words so far, all of them adjectives."""
        return bool(self.current) and all(is_adjective(word.text) for word in self.current)

    def _is_adjective(self, n: int) -> bool:
        """Whether the first word from n on that is no adverb is an adjective."""
        while n < len(self.words) and is_adverb(self.words[n].text):
            n += 1
        return n < len(self.words) and is_adjective(self.words[n].text)

    def _is_relative(self, n: int) -> bool:
        """Whether word n is "that", "which" or "who" followed by "is" (also as "that's")."""
        if self.words[n].text not in RELATIVES:
            return False
        return n + 1 < len(self.words) and self.words[n + 1].text in COPULAS

    def _read_description(self, n: int) -> int:
        """NOUN (is|that is) ADJ (and ADJ)*: the adjectives belong to the noun just read."""
        relative = self.words[n].text in RELATIVES
        phrase = self._close(self.words[n].text)
        n += 2 if relative else 1
        adjectives: list[PromptWord] = []
        while n < len(self.words):
            text = self.words[n].text
            if is_adverb(text) or adjectives and self._joins_adjective(n):
                n += 1
            elif is_adjective(text) and not self._noun_follows(n):
                if adjectives and begins_phrase(self.words[n]) and self.words[n].gap != ",":
                    break
                adjectives.append(self.words[n])
                n += 1
            else:
                break
        if not adjectives and n < len(self.words) and self._is_participle(n):
            n += 1  # "is playing chess"
        if phrase is not None:
            (phrase.relative if relative else phrase.predicate).extend(adjectives)
        return n

    def _joins_adjective(self, n: int) -> bool:
        """Whether word n is an "and" before an adjective that has no noun of its own."""
        if self.words[n].text not in CONJUNCTIONS:
            return False
        return self._is_adjective(n + 1) and not self._noun_follows(n + 1)

    def _is_participle(self, n: int) -> bool:
        text = self.words[n].text
        return text.endswith("ing") and is_verb_form(text)

    def _noun_follows(self, n: int) -> bool:
        """Whether the adjective at n is followed by a word that could be its noun ("is red meat")."""
        if n + 1 >= len(self.words) or begins_phrase(self.words[n + 1]):
            return False
        text = self.words[n + 1].text
        if text in FUNCTION_WORDS or text in ADVERBS:
            return False
        return not (is_adjective(text) or is_adverb(text) or is_verb_form(text))

    def _close(self, after: str) -> NounPhrase | None:
        """End the phrase before the word `after`. Returns it if it names a thing."""
        read, determiner = self.current, self.determiner
        self.current, self.determiner = [], ""
        words = read
        while words and _noun_size(words) == 1 and self._is_no_noun(words, determiner):
            words = words[:-1]
        if not words:
            self._hold(read, determiner, after)
            return None
        held, negated = self.held, self.negated
        self.held, self.negated = [], False
        size = _noun_size(words)
        noun, before = words[-size:], words[:-size]
        last = " ".join(word.text for word in noun)
        if negated or not names_a_thing(last, after, [word.text for word in before]):
            return None
        if before and determiner:
            self.phrases += [NounPhrase(noun, adjectives, determiner) for adjectives in held]
        phrase = NounPhrase(noun, before, determiner)
        self.phrases.append(phrase)
        return phrase

    def _hold(self, read: list[PromptWord], determiner: str, after: str) -> None:
        """Keep adjectives without a noun if their noun may come later: "a red" and "a blue balloon"."""
        if read:
            adjectives = all(is_adjective(word.text) for word in read)
            keep = bool(determiner) and after in CONJUNCTIONS | {","} and adjectives
        else:
            keep = after in CONJUNCTIONS | DEFINITE | INDEFINITE or after.isdigit()
        if not keep:
            self.held = []
        elif read:
            self.held = [*self.held, read]

    @staticmethod
    def _is_no_noun(words: list[PromptWord], determiner: str) -> bool:
        """Whether the last word is no noun: a verb form, or an adjective that stands alone."""
        last = words[-1].text
        alone = len(words) == 1 and bool(determiner)
        if is_listed_adjective(last):
            thing = last in COLOURED_THINGS or last in MATERIALS
            return not (thing and alone) and not (last in COLOURED_THINGS and len(words) > 1)
        return is_verb_form(last) and not alone
