"""Built-in parser: the noun phrases of an English caption or tag list, by parts of speech and word lists.

Noun phrases `(DET) (ADJ (and|,))* ADJ* NOUN+` and descriptions `NOUN (is|are|that is|which is) ADJ (and
ADJ)*`. The groups of words are those of SynGen's dependency rules (Rassin et al., NeurIPS 2023, appendix B).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from .image_words import TEMPLATES
from .matching import UNSPACED
from .noun_phrase import NounPhrase, describes, is_no_noun, is_number, names_a_thing, noun_size
from .prompt_cleanup import PromptWord, begins_phrase, begins_sentence, is_short_list, prompt_words
from .thing_words import MEASURES, PARTS, PURPOSES
from .word_lists import (
    CONJUNCTIONS,
    COPULAS,
    DEFINITE,
    FUNCTION_WORDS,
    INDEFINITE,
    NEGATING_PAIRS,
    NEGATION_ENDS,
    NEGATIONS,
    RELATIVES,
    is_adverb,
)
from .words_in_place import WordsInPlace

PRONOUNS = frozenset("something anything nothing everything someone anyone everyone somebody".split())
EMPTY = frozenset("empty deserted bare alone nothing nobody".split())
MAX_WORDS = 9
"""Of a noun phrase; of a longer row of words the last ones are taken."""
ATTACHED = frozenset("with of in from without".split())
"""Prepositions whose noun belongs to the one before."""
SIDE_DEGREES = frozenset("far very immediate direct".split())
"""Before "left of", where they name no thing."""
UNSPACED_WORD = re.compile(f"[{UNSPACED}]")


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


class _Parser(WordsInPlace):
    """One pass over the words of a prompt."""

    def __init__(self, words: Sequence[PromptWord]) -> None:
        super().__init__(words)
        self.phrases: list[NounPhrase] = []
        self.is_short_list = is_short_list(words)
        self.verb_read = False
        self.measured: str | None = None  # the preposition before "a stack" of things
        self.at = 0  # index of the word being read
        self.negated = False  # after "without"
        # Adjectives whose noun comes later: "a red" in "a red and a blue balloon".
        self.held: list[list[PromptWord]] = []
        self.sentence = 0  # number of the sentence
        self.things = 0  # phrases before this sentence

    def parse(self) -> list[NounPhrase]:
        n = 0
        while n < len(self.words):
            self.after_verb, self.verb_read = self.verb_read and not begins_phrase(self.words[n]), False
            n = self._step(n)
        self._close("")
        return self.phrases

    def _step(self, n: int) -> int:
        """Read word n; returns the index of the next one to read."""
        word = self.words[n]
        text = word.text
        self.at = n
        if begins_phrase(word) and not self._comma_continues(n):
            self._close(word.gap)
            self.negated = self.negated and self.listed_negation(n)
        if begins_phrase(word):
            self.link = ""
        if begins_sentence(word):
            self.sentence += 1
            self.things = len(self.phrases)
            self.negated = False
        if text.isdigit():
            return self._read_number(n)
        if text in RELATIVES and self.current and not self.is_relative(n):
            return self._read_function_word(n)
        if self._is_side(n):
            return self._read_side(n)
        if (text in DEFINITE | INDEFINITE or is_number(text)) and not self.is_relative(n):
            self._close(text)
            self.determiner = text
        elif text in CONJUNCTIONS and self.only_adjectives() and self.is_adjective(n + 1):
            pass  # "red and blue table": one phrase
        elif text in COPULAS or self.is_relative(n):
            return self._read_description(n)
        elif self.is_adverb(n):
            self.negated = self.negated and text not in NEGATION_ENDS
        elif self._is_function_word(n):
            return self._read_function_word(n)
        elif word.tag == "ING" and n and self.words[n - 1].text in ("i", "we", "am"):
            self.negated = True  # "I'm writing a novel"
        elif self.is_verb(n):
            self._acts(self._close(text))
            self.link = ""
            self.verb_read = True
        else:
            self.current.append(replace(word, tag="NOUN") if word.tag == "VERB" else word)
        return n + 1

    def _is_side(self, n: int) -> bool:
        """Whether "left of" or "right of" stands here, behind a thing: "a cat left of a dog"."""
        of = self.words[n].text in ("left", "right") and n + 1 < len(self.words)
        return of and bool(self.current) and self.words[n + 1].text in ("of", "from")

    def _read_side(self, n: int) -> int:
        """ "left of" ends the phrase; in "the far left of" there is none."""
        self.current = [] if all(w.text in SIDE_DEGREES for w in self.current) else self.current
        self._close(self.words[n].text)
        self.link = self.words[n].text
        return n + 2

    def _is_function_word(self, n: int) -> bool:
        """Also single letters, and Chinese and Japanese characters."""
        text = self.words[n].text
        if text in FUNCTION_WORDS:
            return not self.is_noun_can(n)
        return len(text) == 1 and text.isascii() or bool(UNSPACED_WORD.match(text))

    def _read_function_word(self, n: int) -> int:
        """Prepositions and the like end the phrase; behind "that" of a noun stands its verb."""
        text = self.words[n].text
        noun_before = bool(self.current)
        phrase = self._close(text)
        self.link = text if text != "of" or self.measured is None else self.measured
        self.measured = None
        self._read_negation(n)
        after = n + 1
        while after < len(self.words) and self.is_adverb(after):
            after += 1
        if text in RELATIVES and noun_before and self.is_verb_of_clause(after):
            self._acts(phrase)
            return after + 1
        return n + 1

    def _read_negation(self, n: int) -> None:
        """ "without", "instead of" negate what follows, until "but" or another phrase."""
        text = self.words[n].text
        pair = f"{self.words[n - 1].text} {text}" if n else ""
        if text == "except" and self._says_empty(n):
            self.negated = False
        elif text in NEGATIONS or pair in NEGATING_PAIRS:
            self.negated = True
        elif text in NEGATION_ENDS:
            self.negated = False

    def _says_empty(self, n: int) -> bool:
        """Whether nothing else is there: "empty except for a guard"."""
        return any(word.text in EMPTY for word in self.words[max(n - 4, 0) : n])

    def _acts(self, phrase: NounPhrase | None) -> None:
        """The phrase is the subject of a verb, or the one that it belongs to ("a boat with a flag sails")."""
        if phrase is None:
            return
        n = len(self.phrases) - 1
        while n > 0 and self.phrases[n].link in ATTACHED and self.phrases[n - 1].sentence == phrase.sentence:
            n -= 1
        self.phrases[n].acts = True

    def _read_number(self, n: int) -> int:
        """A count before a thing ("2 dogs"), else part of a name or a measure ("Fiat 500", "85 mm")."""
        following = self.words[n + 1] if n + 1 < len(self.words) else None
        counts = following is not None and not begins_phrase(following) and following.tag in ("NOUN", "ADJ")
        if counts or not self.current:
            self._close(self.words[n].text)
            self.determiner = "a" if counts else ""
        return n + 1

    def _comma_continues(self, n: int) -> bool:
        """Whether a comma before word n does not end the phrase: "a big, red car", "a dog, which is red"."""
        if self.words[n].gap != ",":
            return False
        between_adjectives = self.only_adjectives() and bool(self.determiner) and self.is_describing(n)
        return between_adjectives or self.is_relative(n)

    def _read_description(self, n: int) -> int:
        """NOUN (is|that is) ADJ (and ADJ)*: the adjectives belong to the noun just read."""
        relative = self.words[n].text in RELATIVES
        phrase = self._close(self.words[n].text)
        self.negated = n > 0 and self.words[n - 1].text == "you"  # "you are an artist"
        self._acts(phrase)
        n += 2 if relative else 1
        adjectives: list[PromptWord] = []
        while n < len(self.words):
            text = self.words[n].text
            if is_adverb(text) or adjectives and self.joins_adjective(n):
                n += 1
            elif self.is_predicate(n, adjectives):
                if adjectives and begins_phrase(self.words[n]) and self.words[n].gap != ",":
                    break
                adjectives.append(self.words[n])
                n += 1
            else:
                break
        if not adjectives and n < len(self.words) and self.is_participle(n):
            n += 1  # "is playing chess"
        if phrase is not None:
            (phrase.relative if relative else phrase.predicate).extend(adjectives)
        return n

    def _close(self, after: str) -> NounPhrase | None:
        """End the phrase before the word `after`. Returns it if it names a thing."""
        read, determiner = self.current, self.determiner
        self.current, self.determiner = [], ""
        link, self.link = self.link, ""
        words = read
        tag = self.is_short_list and not after[:1].isalnum()
        while words and noun_size(words) == 1 and is_no_noun(words, determiner, tag):
            words = words[:-1]
        if not words:
            self._hold(read, determiner, after)
            self.link = link if not read else ""
            return None
        held, negated = self.held, self.negated
        self.held = []
        words = words[-MAX_WORDS:]
        size = noun_size(words)
        noun, before = words[-size:], words[:-size]
        if negated:
            self.negated = after in ("or", "nor") or after in ("and", ",") and self.listed_negation(self.at)
            return None
        if words[0].text in PRONOUNS:
            return None
        if link == "by" and any(word.name for word in noun) and not determiner:
            return None  # "a robot made by Leonardo"
        if link == "for" and (determiner in ("my", "our", "your") or noun[-1].text in PURPOSES):
            return None
        if not self._names_a_thing(noun, before, determiner, after):
            self.measured = link if after == "of" and noun[-1].text in MEASURES else None
            owner = next((n for n in range(len(words) - 1) if words[n].owner), None)
            if owner is None or noun[-1].text not in PARTS | MEASURES or noun[0].text in TEMPLATES:
                return None
            noun, before = words[owner : owner + 1], words[:owner]
        if before and determiner:
            self.phrases += [
                NounPhrase(noun, adjectives, determiner, self.sentence, link) for adjectives in held
            ]
        phrase = NounPhrase(noun, before, determiner, self.sentence, link)
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
            keep = bool(determiner) and after in CONJUNCTIONS | {","} and all(map(describes, read))
        else:
            keep = after in CONJUNCTIONS | DEFINITE | INDEFINITE or after.isdigit()
        if not keep:
            self.held = []
        elif read:
            self.held = [*self.held, read]
