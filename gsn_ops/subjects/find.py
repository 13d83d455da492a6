"""The subjects of a prompt, at most five of its noun phrases: things before places, clothes and parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..prompt import SubjectPhrase
from .caption_parser import noun_phrases
from .matching import Words, phrase_at, split_words
from .noun_phrase import NounPhrase
from .prompt_cleanup import prompt_words
from .thing_words import ALSO_PARTS, GENERIC, PERSONS, is_animate, prominence, rank_of
from .word_lists import DEFINITE, FUNCTION_WORDS, INDEFINITE, LOCATING

MAX_SUBJECTS = 5
PROSE = 0.2
"""Share of articles, prepositions and the like from which on a prompt counts as sentences, not as tags."""


@dataclass(frozen=True)
class Candidate:
    """A thing that a prompt names.

    start: index of its noun's word. definite: "the dog", which may be one named before. bare: whether no
    modifier stands before it. repeats: whether the same words may name one more thing ("a dog and a dog").
    first, stop: index of the first word of its phrase, and of the one behind its noun.
    sentence: its number. link: the preposition before it. acts: whether it does something.
    """

    noun: str
    modifiers: tuple[str, ...]
    start: int
    definite: bool = False
    bare: bool = True
    repeats: bool = False
    sentence: int = 0
    link: str = ""
    acts: bool = False
    first: int = 0
    stop: int = 0

    @property
    def label(self) -> str:
        """Modifiers and noun."""
        return " ".join([*self.modifiers, self.noun])


def subjects_of_caption(text: str) -> tuple[list[SubjectPhrase], list[str]]:
    """The things a prompt names, in order: at most five, and the labels of the others.

    Works on captions and tag lists, and on text as a tokenizer decodes it (lower case, spaced punctuation).
    """
    candidates = [as_candidate(phrase) for phrase in noun_phrases(text)]
    return first_subjects(candidates, text)


def as_candidate(phrase: NounPhrase) -> Candidate:
    """A noun phrase of the built-in parser."""
    return Candidate(
        phrase.name,
        tuple(word.text for word in phrase.modifiers),
        phrase.noun[0].at.start,
        phrase.determiner in DEFINITE,
        not phrase.before,
        phrase.determiner in INDEFINITE,
        phrase.sentence,
        phrase.link,
        phrase.acts,
        (phrase.before or phrase.noun)[0].at.start,
        phrase.noun[-1].at.stop,
    )


def first_subjects(candidates: Sequence[Candidate], text: str) -> tuple[list[SubjectPhrase], list[str]]:
    """The five subjects that are chosen, in text order, and the labels of the others.

    Definite references to an earlier noun are not counted again. If there are more than five, one of each
    comes before a second one, and in prose things come before places, clothes and parts.
    """
    things = _new_things(candidates)
    ranked = things
    if len(things) > MAX_SUBJECTS:
        first = {thing.label: thing.start for thing in reversed(things)}
        prose = is_prose(text)
        ranked = sorted(things, key=lambda thing: (first[thing.label] < thing.start, prose and _rank(thing)))
    words = split_words(text)
    found: dict[str, SubjectPhrase] = {}
    starts: dict[str, int] = {}
    left: list[str] = []
    for thing in ranked:
        place = len(found) < MAX_SUBJECTS
        subject = phrase_at(thing.noun, thing.modifiers, thing.start, words) if place else None
        if subject and subject.label not in found:
            found[subject.label], starts[subject.label] = subject, thing.start
        elif not place:
            left.append(thing.label)
    return [found[label] for label in sorted(found, key=lambda label: starts[label])], left


def _rank(thing: Candidate) -> float:
    """The lower the sooner chosen: people and animals, what is large, things, small ones, places, clothes,
    parts.

    What does something comes a little sooner; what stands behind a preposition ("with blankets"), belongs to
    something ("his boots") or has no article comes a little later, and what something is made of or filled
    with ("a statue of an angel") is no person.
    """
    rank: float = rank_of(thing.noun)
    if thing.noun in ALSO_PARTS and not thing.definite:
        rank = 0
    if not rank:
        rank = prominence(thing.noun)
    if thing.link == "of":
        rank = max(rank, 0) + 0.25
    behind = thing.link in LOCATING
    return rank + 0.25 * (behind - thing.acts - thing.repeats + thing.definite)


def _new_things(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates without those that name again what was named before."""
    many = len(candidates) > MAX_SUBJECTS  # in a short list, "the boy, a man and a dog" are three
    seen: set[str] = set()
    nouns: dict[str, int] = {}  # noun -> sentence in which it was first named
    out = []
    for one in candidates:
        earlier = nouns.get(one.noun)
        if one.definite and one.bare and one.noun in GENERIC and out:
            continue
        if many and one.noun in PERSONS and one.repeats and out and _is_apposition(out[-1], one):
            continue
        if earlier is not None and one.definite and (one.bare or earlier < one.sentence):
            continue
        again = one.label in seen or earlier is not None and not one.modifiers
        if again and not one.repeats:
            continue
        seen.add(one.label)
        nouns.setdefault(one.noun, one.sentence)
        out.append(one)
    return out


def _is_apposition(before: Candidate, one: Candidate) -> bool:
    """ "The trainer, a heavy man": one person, named and described, with an article between them only."""
    return before.definite and is_animate(before.noun) and one.first == before.stop + 1


def is_prose(text: str) -> bool:
    """Whether the prompt is made of sentences; a list of tags has hardly any articles and prepositions."""
    words = prompt_words(text)
    return sum(word.text in FUNCTION_WORDS for word in words) > PROSE * len(words)


def place_of(phrase: NounPhrase, words: Words) -> SubjectPhrase | None:
    """The phrase with the number of this very occurrence; None if the noun is part of a longer one."""
    modifiers = tuple(word.text for word in phrase.modifiers)
    return phrase_at(phrase.name, modifiers, phrase.noun[0].at.start, words)
