"""Nouns of subjects in a prompt, and the words between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .matching import fold
from .word_lists import CONJUNCTIONS, DEFINITE, INDEFINITE, is_adjective, is_adverb

TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")


@dataclass(frozen=True)
class NounInText:
    """A subject's noun in a text. start, stop: its characters. modifiers: the words that describe it."""

    label: str
    start: int
    stop: int
    modifiers: tuple[str, ...] = ()


def without_marks(text: str) -> str:
    """The text in lower case, as long as before, without the brackets of weights: "(cat:1.2)"."""
    text = re.sub(r":\s*[\d.]+(?=\s*\))", lambda m: " " * len(m[0]), text.lower())
    return re.sub(r"[()\[\]{}\"]", " ", text)


def words_of(text: str) -> list[str]:
    """Words, numbers and single marks of a text, in order."""
    return TOKEN.findall(text)


def introduces(words: Sequence[str], noun: NounInText) -> bool:
    """Whether these words lead to the noun alone: articles, a number, adjectives, its own modifiers."""
    own = {fold(word) for modifier in noun.modifiers for word in words_of(modifier)}
    described = False
    for word in words:
        describes = fold(word) in own or is_adjective(word) or is_adverb(word)
        between = described and (word in CONJUNCTIONS or word in (",", "-"))  # "a big, red and blue dog"
        if not (describes or between or word in DEFINITE or word in INDEFINITE or word.isdigit()):
            return False
        described = described or describes
    return not words or words[-1] not in CONJUNCTIONS
