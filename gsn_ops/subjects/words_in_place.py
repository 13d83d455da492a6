"""What a word is at its place in a prompt: verb, adverb, adjective of the noun before or behind it."""

from __future__ import annotations

from collections.abc import Sequence

from .noun_phrase import VERBS, describes
from .prompt_cleanup import PromptWord, begins_phrase, begins_sentence
from .word_lists import (
    ADVERBS,
    CONJUNCTIONS,
    COPULAS,
    DEFINITE,
    FUNCTION_WORDS,
    INDEFINITE,
    MATERIALS,
    NEGATION_ENDS,
    PAIRS,
    PAST_FORMS,
    PLURAL_VERBS,
    RELATIVES,
    THIRD_PERSONS,
    is_adjective,
    is_adverb,
    is_listed_adjective,
    is_listed_noun,
    is_verb_form,
)

SINGULAR = frozenset(("a", "an", "another", "each", "every", "this"))
"""Articles before one thing."""


class WordsInPlace:
    """The words of a prompt and the noun phrase that is being read.

    current: its words so far. determiner: "a", "the" or "". after_verb: whether the word before is a verb.
    link: the preposition before the phrase.
    """

    def __init__(self, words: Sequence[PromptWord]) -> None:
        self.words = words
        self.current: list[PromptWord] = []
        self.determiner = ""
        self.after_verb = False
        self.link = ""

    def is_adverb(self, n: int) -> bool:
        word = self.words[n]
        if is_adverb(word.text):
            return not (word.text == "still" and n + 1 < len(self.words) and self.words[n + 1].text == "of")
        if word.text in FUNCTION_WORDS or self.determiner and self.phrase_ends(n) and not self.has_noun():
            return False
        return word.tag == "ADV" and not is_listed_adjective(word.text) and not is_listed_noun(word.text)

    def is_noun_can(self, n: int) -> bool:
        """ "a watering can"."""
        if self.words[n].text != "can":
            return False
        after = self.words[n + 1 : n + 2]
        verb = any(word.tag == "VERB" or word.text in ("be", *COPULAS) for word in after)
        return bool(self.determiner) and not verb

    def is_last(self, n: int) -> bool:
        """Whether a mark or the end of the prompt stands behind word n."""
        return n + 1 >= len(self.words) or begins_phrase(self.words[n + 1])

    def _is_of_one(self) -> bool:
        """Whether the phrase names one thing."""
        one = self.determiner in SINGULAR and not self.current[-1].text.endswith("s")
        return one and self.link not in CONJUNCTIONS

    def phrase_ends(self, n: int) -> bool:
        """Whether word n is the last before a mark or a function word."""
        if n + 1 >= len(self.words) or begins_phrase(self.words[n + 1]):
            return True
        return self.words[n + 1].text in FUNCTION_WORDS

    def has_noun(self) -> bool:
        return bool(self.current) and not self.only_adjectives()

    def is_verb(self, n: int) -> bool:
        """Whether word n is a verb here, by its part of speech and its place in the phrase."""
        word = self.words[n]
        if is_listed_adjective(word.text):
            return False
        if not self.current:
            return self.is_verb_alone(n)
        if all(map(_only_describes, self.current)):
            return False
        base = word.tag == "VERB" and not word.text.endswith(("s", "ed")) and word.text not in PAST_FORMS
        if base and self._is_of_one() and self.is_last(n):
            return False  # "a lightning bolt": no verb without -s stands behind one thing
        if word.tag in VERBS:
            return not (is_listed_noun(word.text) and word.tag != "VERB" and not self.object_follows(n))
        if word.tag != "NOUN":
            return is_verb_form(word.text, self.current[-1].text)
        return self.is_verb_by_form(n)

    def is_verb_alone(self, n: int) -> bool:
        """Whether word n, the first of a phrase, is a verb; a tag of one word and an object are none."""
        word = self.words[n]
        if word.text in PAST_FORMS and self.determiner in ("", "both", "all", "each") and self.phrase_ends(n):
            return True
        if n > 1 and self.words[n - 1].text == "to" and self.words[n - 2].text == "how":
            return True
        tag = begins_phrase(word) and (n + 1 >= len(self.words) or begins_phrase(self.words[n + 1]))
        if self.determiner == "one" and word.tag == "VERB":
            return True  # "the third one wears"
        alone = tag or self.after_verb or bool(self.determiner)
        return word.tag == "VERB" and not alone and not word.text.endswith("ed")

    def is_verb_by_form(self, n: int) -> bool:
        """Whether a word behind a noun, read as a noun, is a verb: "a house made of", "a boat floats"."""
        text = self.words[n].text
        if text in PAST_FORMS or text.endswith("ing") and (is_verb_form(text) or self.object_follows(n)):
            return True
        if text.endswith("ed") and is_verb_form(text):
            return self.phrase_ends(n)
        of_two = self.link in CONJUNCTIONS and self.determiner in SINGULAR and text in PLURAL_VERBS
        if of_two and not self.is_last(n) and (self.phrase_ends(n) or self.is_adverb(n + 1)):
            return True  # "a bride and a groom dance on a pier"
        if self.current[-1].text.endswith("s") and n + 1 < len(self.words):
            if self.words[n + 1].text == "like" and not text.endswith("s"):
                return True  # "her wings shimmer like glass"
        if text in THIRD_PERSONS:
            return n + 1 >= len(self.words) or self.words[n + 1].text in FUNCTION_WORDS
        return (
            self._is_of_one()
            and text.endswith("s")
            and not text.endswith(("ss", "us", "is"))
            and text not in PAIRS
        )

    def object_follows(self, n: int) -> bool:
        """Whether an object of a verb stands behind word n: "a man painting a wall"."""
        if n + 1 >= len(self.words) or begins_phrase(self.words[n + 1]):
            return False
        return self.words[n + 1].text in DEFINITE | INDEFINITE

    def only_adjectives(self) -> bool:
        """Whether the phrase has words so far, all of them adjectives."""
        return bool(self.current) and all(map(describes, self.current))

    def is_adjective(self, n: int) -> bool:
        """Whether the first word from n on that is no adverb is an adjective."""
        while n < len(self.words) and is_adverb(self.words[n].text):
            n += 1
        return n < len(self.words) and describes(self.words[n])

    def is_describing(self, n: int) -> bool:
        """Whether an adjective, or a participle before a noun, stands at n: "a bare, tattooed chest"."""
        after = self.words[n + 1 : n + 2]
        participle = self.words[n].tag == "EN" and self.words[n].text.endswith("ed")
        return self.is_adjective(n) or participle and any(word.tag == "NOUN" for word in after)

    def is_relative(self, n: int) -> bool:
        """Whether word n is "that", "which" or "who" followed by "is" (also as "that's")."""
        if self.words[n].text not in RELATIVES:
            return False
        return n + 1 < len(self.words) and self.words[n + 1].text in COPULAS

    def is_verb_of_clause(self, n: int) -> bool:
        """Whether word n, behind a relative pronoun, is a verb: "that reads", "that follow it"."""
        if n >= len(self.words) or self.words[n].text in FUNCTION_WORDS or begins_phrase(self.words[n]):
            return False
        last = n + 1 >= len(self.words) or begins_phrase(self.words[n + 1])
        return last or self.words[n].tag in VERBS or self.words[n + 1].text in FUNCTION_WORDS - COPULAS

    def listed_negation(self, n: int) -> bool:
        """Whether a list of negated things goes on at word n: "no cars, trucks or people"."""
        for word in self.words[n : n + 8]:
            ends = (
                begins_sentence(word)
                or word.text in NEGATION_ENDS | DEFINITE | INDEFINITE - {"any"} | COPULAS
            )
            if ends:
                return False
            if word.text in ("or", "nor"):
                return True
        return False

    def is_predicate(self, n: int, adjectives: Sequence[PromptWord]) -> bool:
        """Whether word n tells what the noun is like: an adjective, or one word alone ("is glass.")."""
        if describes(self.words[n]):
            return not self.noun_follows(n)
        word = self.words[n]
        ends = n + 1 >= len(self.words) or begins_phrase(self.words[n + 1])
        alone = ends and word.tag in ("NOUN", "ADJ") and word.text not in FUNCTION_WORDS
        return (
            alone
            and not begins_phrase(word)
            and not word.text.endswith("s")
            and not is_listed_noun(word.text)
        )

    def joins_adjective(self, n: int) -> bool:
        """Whether word n is an "and" before an adjective that has no noun of its own."""
        if self.words[n].text not in CONJUNCTIONS:
            return False
        return self.is_adjective(n + 1) and not self.noun_follows(n + 1)

    def is_participle(self, n: int) -> bool:
        word = self.words[n]
        return word.tag in VERBS or word.text.endswith("ing") and is_verb_form(word.text)

    def noun_follows(self, n: int) -> bool:
        """Whether the adjective at n is followed by a word that could be its noun ("is red meat")."""
        if n + 1 >= len(self.words) or begins_phrase(self.words[n + 1]):
            return False
        after = self.words[n + 1]
        if after.text in FUNCTION_WORDS or after.text in ADVERBS or after.tag in VERBS:
            return False
        return not (describes(after) or is_adverb(after.text) or is_verb_form(after.text))


def _only_describes(word: PromptWord) -> bool:
    """Whether a word in front of a verb is no noun: "a red, shining"; but "black fur bats"."""
    return word.text not in MATERIALS and is_adjective(word.text) or word.tag in ("ING", "EN")
