"""Built-in parser: the noun phrases of an English caption or tag list, by parts of speech and word lists.

Noun phrases `(DET) (ADJ (and|,))* ADJ* NOUN+` and descriptions `NOUN (is|are|that is|which is) ADJ (and
ADJ)*`. The groups of words are those of SynGen's dependency rules (Rassin et al., NeurIPS 2023, appendix B).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .image_words import IMAGE_NOUNS, IMAGE_VERBS, TEMPLATES, UNITS
from .matching import UNSPACED
from .prompt_cleanup import PromptWord, begins_phrase, begins_sentence, prompt_words
from .thing_words import CONCRETE, MEASURES, NOT_THINGS, PARTS
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
    NEGATIONS,
    RELATIVES,
    is_adjective,
    is_adverb,
    is_listed_adjective,
    is_listed_noun,
    is_verb_form,
)

COLOURED_THINGS = frozenset("orange rose violet peach olive lime cherry ruby pearl diamond crystal".split())
"""Colours or materials before a noun, things without one ("an apple and an orange")."""
TEMPLATE_LINKS = IMAGE_VERBS | frozenset("of with where that which about for".split())
UNSPACED_WORD = re.compile(f"[{UNSPACED}]")
VERBS = frozenset(("VERB", "ING", "EN"))


@dataclass
class NounPhrase:
    """A noun with its modifiers: before it, after "that is", after "is". determiner: "a", "the" or "".

    sentence: number of the sentence. link: the preposition before the phrase, or "".
    """

    noun: list[PromptWord]
    before: list[PromptWord]
    determiner: str = ""
    sentence: int = 0
    link: str = ""
    relative: list[PromptWord] = field(default_factory=list)
    predicate: list[PromptWord] = field(default_factory=list)

    @property
    def modifiers(self) -> list[PromptWord]:
        """All modifiers in text order."""
        return [*self.before, *self.relative, *self.predicate]

    @property
    def name(self) -> str:
        """The noun."""
        return " ".join(word.text for word in self.noun)

    @property
    def label(self) -> str:
        """Modifiers and noun."""
        return " ".join([*(word.text for word in self.modifiers), self.name])


def names_a_thing(noun: str, after: str, modifiers: Sequence[str], determiner: str = "", first: bool = True) -> bool:
    """Whether this noun, before the word `after`, names something visible.

    Not "photo" of, "pair" of, "lighting", "the image"; but "blue sunset". first: whether it begins a sentence or a
    tag, so that "poster of" says what kind of image is wanted.
    """
    if noun in TEMPLATES and after in TEMPLATE_LINKS and (first or determiner in ("the", "this")):
        return False
    if noun in IMAGE_NOUNS and determiner in ("the", "this") and not set(modifiers) & COLOURS:
        return False
    if noun in MEASURES and after == "of" or noun in UNITS:
        return False
    if noun.endswith(("ness", "ity")) and noun not in CONCRETE and len(noun) > 5:
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


@lru_cache(maxsize=8)
def noun_phrases(text: str) -> tuple[NounPhrase, ...]:
    """All noun phrases that name things, in text order. A run asks several times for the same text."""
    return tuple(_Parser(prompt_words(text)).parse())


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
        self.link = ""  # the preposition before the phrase
        self.sentence = 0  # number of the sentence
        self.things = 0  # phrases before this sentence

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
        if begins_phrase(word):
            self.link = ""
        if begins_sentence(word):
            self.sentence += 1
            self.things = len(self.phrases)
            self.negated = False
        if text.isdigit():
            return self._read_number(n)
        if text in RELATIVES and self.current and not self._is_relative(n):
            return self._read_function_word(n)
        if text in DEFINITE | INDEFINITE and not self._is_relative(n):
            self._close(text)
            self.determiner = text
        elif text in CONJUNCTIONS and self._only_adjectives() and self._is_adjective(n + 1):
            pass  # "red and blue table": one phrase
        elif text in COPULAS or self._is_relative(n):
            return self._read_description(n)
        elif self._is_adverb(n):
            pass
        elif text in FUNCTION_WORDS or len(text) == 1 and text.isascii() or UNSPACED_WORD.match(text):
            return self._read_function_word(n)
        elif self._is_verb(n):
            self._close(text)
            self.link = ""
        else:
            self.current.append(word)
        return n + 1

    def _read_function_word(self, n: int) -> int:
        """Prepositions and the like end the phrase; behind "that" of a noun stands its verb."""
        text = self.words[n].text
        noun_before = bool(self.current)
        self._close(text)
        self.negated = text in NEGATIONS
        self.link = text
        after = n + 1
        while after < len(self.words) and self._is_adverb(after):
            after += 1
        if text in RELATIVES and noun_before and self._is_verb_of_clause(after):
            return after + 1
        return n + 1

    def _is_verb_of_clause(self, n: int) -> bool:
        """Whether word n, behind a relative pronoun, is a verb: "that reads", "that follow it"."""
        if n >= len(self.words) or self.words[n].text in FUNCTION_WORDS or begins_phrase(self.words[n]):
            return False
        last = n + 1 >= len(self.words) or begins_phrase(self.words[n + 1])
        return last or self.words[n].tag in VERBS or self.words[n + 1].text in FUNCTION_WORDS - COPULAS

    def _read_number(self, n: int) -> int:
        """A count before a thing ("2 dogs"), else part of a name or a measure ("Fiat 500", "85 mm")."""
        following = self.words[n + 1] if n + 1 < len(self.words) else None
        counts = following is not None and not begins_phrase(following) and following.tag in ("NOUN", "ADJ")
        if counts or not self.current:
            self._close(self.words[n].text)
            self.determiner = "a" if counts else ""
        return n + 1

    def _is_adverb(self, n: int) -> bool:
        word = self.words[n]
        if is_adverb(word.text):
            return True
        return word.tag == "ADV" and not is_listed_adjective(word.text) and not is_listed_noun(word.text)

    def _is_verb(self, n: int) -> bool:
        """Whether word n is a verb here, by its part of speech and its place in the phrase."""
        word = self.words[n]
        if is_listed_adjective(word.text):
            return False
        if not self.current:
            return word.tag == "VERB" and not self.determiner and not word.text.endswith("ed")
        if self._only_adjectives():
            return False
        if word.tag in VERBS:
            return not (is_listed_noun(word.text) and word.tag != "VERB" and not self._object_follows(n))
        return word.tag != "NOUN" and is_verb_form(word.text, self.current[-1].text)

    def _object_follows(self, n: int) -> bool:
        """Whether an object of a verb stands behind word n: "a man painting a wall"."""
        if n + 1 >= len(self.words) or begins_phrase(self.words[n + 1]):
            return False
        return self.words[n + 1].text in DEFINITE | INDEFINITE

    def _comma_continues(self, n: int) -> bool:
        """Whether a comma before word n does not end the phrase: "a big, red car", "a dog, which is red"."""
        if self.words[n].gap != ",":
            return False
        between_adjectives = self._only_adjectives() and bool(self.determiner) and self._is_adjective(n)
        return between_adjectives or self._is_relative(n)

    def _only_adjectives(self) -> bool:
        """Whether the phrase has words so far, all of them adjectives."""
        return bool(self.current) and all(map(_describes, self.current))

    def _is_adjective(self, n: int) -> bool:
        """Whether the first word from n on that is no adverb is an adjective."""
        while n < len(self.words) and is_adverb(self.words[n].text):
            n += 1
        return n < len(self.words) and _describes(self.words[n])

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
            elif self._is_predicate(n, adjectives):
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

    def _is_predicate(self, n: int, adjectives: Sequence[PromptWord]) -> bool:
        """Whether word n tells what the noun is like: an adjective, or one word alone ("is glass.")."""
        if _describes(self.words[n]):
            return not self._noun_follows(n)
        word = self.words[n]
        ends = n + 1 >= len(self.words) or begins_phrase(self.words[n + 1])
        alone = ends and word.tag in ("NOUN", "ADJ") and word.text not in FUNCTION_WORDS
        return alone and not begins_phrase(word) and not word.text.endswith("s") and not is_listed_noun(word.text)

    def _joins_adjective(self, n: int) -> bool:
        """Whether word n is an "and" before an adjective that has no noun of its own."""
        if self.words[n].text not in CONJUNCTIONS:
            return False
        return self._is_adjective(n + 1) and not self._noun_follows(n + 1)

    def _is_participle(self, n: int) -> bool:
        word = self.words[n]
        return word.tag in VERBS or word.text.endswith("ing") and is_verb_form(word.text)

    def _noun_follows(self, n: int) -> bool:
        """Whether the adjective at n is followed by a word that could be its noun ("is red meat")."""
        if n + 1 >= len(self.words) or begins_phrase(self.words[n + 1]):
            return False
        after = self.words[n + 1]
        if after.text in FUNCTION_WORDS or after.text in ADVERBS or after.tag in VERBS:
            return False
        return not (_describes(after) or is_adverb(after.text) or is_verb_form(after.text))

    def _close(self, after: str) -> NounPhrase | None:
        """End the phrase before the word `after`. Returns it if it names a thing."""
        read, determiner = self.current, self.determiner
        self.current, self.determiner = [], ""
        words = read
        while words and _noun_size(words) == 1 and _is_no_noun(words, determiner):
            words = words[:-1]
        if not words:
            self._hold(read, determiner, after)
            return None
        held, negated = self.held, self.negated
        self.held, self.negated = [], False
        size = _noun_size(words)
        noun, before = words[-size:], words[:-size]
        if negated:
            self.negated = after in CONJUNCTIONS
            return None
        if not self._names_a_thing(noun, before, determiner, after):
            owner = next((n for n in range(len(words) - 1) if words[n].owner), None)
            if owner is None or noun[0].text in TEMPLATES:
                return None
            noun, before = words[owner : owner + 1], words[:owner]
        if before and determiner:
            self.phrases += [NounPhrase(noun, adjectives, determiner, self.sentence, self.link) for adjectives in held]
        phrase = NounPhrase(noun, before, determiner, self.sentence, self.link)
        self.phrases.append(phrase)
        return phrase

    def _names_a_thing(
        self, noun: list[PromptWord], before: list[PromptWord], determiner: str, after: str
    ) -> bool:
        begins = begins_phrase((before or noun)[0]) and not determiner
        last = " ".join(word.text for word in noun)
        if last in PARTS and any(word.owner for word in before):
            return False  # "a rabbit on a turtle's back"
        first = begins or len(self.phrases) == self.things
        return names_a_thing(last, after, [word.text for word in before], determiner, first)

    def _hold(self, read: list[PromptWord], determiner: str, after: str) -> None:
        """Keep adjectives without a noun if their noun may come later: "a red" and "a blue balloon"."""
        if read:
            keep = bool(determiner) and after in CONJUNCTIONS | {","} and all(map(_describes, read))
        else:
            keep = after in CONJUNCTIONS | DEFINITE | INDEFINITE or after.isdigit()
        if not keep:
            self.held = []
        elif read:
            self.held = [*self.held, read]


def _describes(word: PromptWord) -> bool:
    """Whether the word is an adjective here."""
    if word.text in FUNCTION_WORDS:
        return False
    if is_listed_adjective(word.text):
        return True
    return is_adjective(word.text) and word.tag not in ("NOUN", "VERB") or word.tag == "ADJ"


def _is_no_noun(words: Sequence[PromptWord], determiner: str) -> bool:
    """Whether the last word is no noun: a verb form, or an adjective that stands alone."""
    last = words[-1]
    alone = len(words) == 1 and bool(determiner)
    if is_listed_adjective(last.text):
        thing = last.text in COLOURED_THINGS or last.text in MATERIALS
        return not (thing and alone) and not (last.text in COLOURED_THINGS and len(words) > 1)
    if is_listed_noun(last.text) or last.tag == "NOUN" and (determiner or not is_verb_form(last.text)):
        return False
    return (last.tag in VERBS or is_verb_form(last.text)) and not alone
