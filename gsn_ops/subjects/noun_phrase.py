"""Noun phrases, and what their words are: nouns, adjectives or verbs, things or words about the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .image_words import IMAGE_NOUNS, IMAGE_VERBS, OBJECTS, STYLE_WORDS, TEMPLATES, UNITS
from .prompt_cleanup import PromptWord
from .thing_words import CONCRETE, MEASURES, NOT_THINGS
from .word_lists import (
    COLOURS,
    COMPOUNDS,
    FUNCTION_WORDS,
    INDEFINITE,
    MATERIALS,
    is_adjective,
    is_listed_adjective,
    is_listed_noun,
    is_verb_form,
)

COLOURED_THINGS = frozenset(
    "rainbow lavender lilac coral gold silver orange rose violet peach olive lime cherry ruby pearl diamond "
    "crystal".split()
)
"""Colours or materials before a noun, things without one ("an apple and an orange")."""
TEMPLATE_LINKS = IMAGE_VERBS | frozenset("of where that which about for".split())
DESCRIBING = ("ous", "ful", "less", "ive", "able", "ible", "ish")
"""Endings of adjectives that stand alone: "luxurious"."""
VERBS = frozenset(("VERB", "ING", "EN"))


@dataclass
class NounPhrase:
    """A noun with its modifiers: before it, after "that is", after "is". determiner: "a", "the" or "".

    sentence: number of the sentence. link: the preposition before the phrase, or "".
    acts: whether it is the subject of a verb.
    """

    noun: list[PromptWord]
    before: list[PromptWord]
    determiner: str = ""
    sentence: int = 0
    link: str = ""
    acts: bool = False
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


def names_a_thing(
    noun: str, after: str, modifiers: Sequence[str], determiner: str = "", first: bool = True
) -> bool:
    """Whether this noun, before the word `after`, names something visible.

    Not "photo" of, "pair" of, "lighting", "the image"; but "blue sunset". first: whether it begins
    a sentence or a tag, so that "poster of" says what kind of image is wanted.
    """
    if noun in TEMPLATES - OBJECTS and after == "with" and first:
        return False
    if noun in TEMPLATES and after[:1] == ":" or noun in OBJECTS and after in ("that", "which", "where"):
        return noun in OBJECTS and after[:1] != ":"
    if noun in TEMPLATES and after in TEMPLATE_LINKS and (first or determiner in ("the", "this")):
        return False
    if noun in IMAGE_NOUNS and determiner in ("the", "this") and not set(modifiers) & COLOURS:
        return False
    if noun in ("light", "lights") and set(modifiers) & (NOT_THINGS | STYLE_WORDS | {"window"}):
        return False
    if noun in MEASURES and after == "of" or noun in UNITS:
        return False
    if noun.endswith(("ness", "ity")) and noun not in CONCRETE and len(noun) > 5:
        return False
    return noun not in NOT_THINGS or any(m in COLOURS for m in modifiers)


def noun_size(words: Sequence[PromptWord]) -> int:
    """How many of the last words are the noun: more than one for compounds like "hot dog"."""
    for k in (3, 2):
        last = words[-k:]
        together = last[-1].at.stop - last[0].at.start == len(last)
        if " ".join(word.text for word in last) in COMPOUNDS and together:
            return len(last)
    return 1


def is_number(text: str) -> bool:
    """ "twenty-one"."""
    return "-" in text and set(text.split("-")) <= INDEFINITE


def describes(word: PromptWord) -> bool:
    """Whether the word is an adjective here."""
    if word.text in FUNCTION_WORDS:
        return False
    if is_listed_adjective(word.text):
        return True
    return is_adjective(word.text) and word.tag not in ("NOUN", "VERB") or word.tag == "ADJ"


def is_no_noun(words: Sequence[PromptWord], determiner: str, tag: bool = False) -> bool:
    """Whether the last word is no noun: a verb form, or an adjective that stands alone.

    tag: the words stand between commas.
    """
    last = words[-1]
    alone = len(words) == 1 and bool(determiner)
    if tag and len(words) == 1 and last.text in MATERIALS:
        return False  # "rock, paper, scissors"
    if is_listed_adjective(last.text):
        only = bool(determiner) and all(map(describes, words[:-1]))  # no other noun: "a red brick"
        thing = last.text in COLOURED_THINGS and alone or last.text in MATERIALS and only
        return not thing and not (last.text in COLOURED_THINGS and len(words) > 1)
    if len(words) == 1 and not determiner and len(last.text) > 6 and last.text.endswith(DESCRIBING):
        return not is_listed_noun(last.text)
    if is_listed_noun(last.text) or last.tag == "NOUN" and (determiner or not is_verb_form(last.text)):
        return False
    return (last.tag in VERBS or is_verb_form(last.text)) and not alone
