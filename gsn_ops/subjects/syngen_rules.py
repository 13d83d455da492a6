"""SynGen's rules for subjects in a dependency parse (Rassin et al., NeurIPS 2023, appendix B), on plain data.

A pass returns groups: lists of indices of words that belong together. `find_subjects` is their use: all passes, unified.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..prompt import SubjectPhrase
from .caption_parser import most, names_a_thing
from .matching import phrase_at, split_words
from .word_lists import COMPOUNDS, DEFINITE

MODIFIERS = frozenset({"amod", "nmod", "compound", "npadvmod", "advmod", "acomp"})
NOUNS = frozenset({"NOUN", "PROPN"})
VERBS = frozenset({"AUX", "VERB"})


@dataclass(frozen=True)
class Word:
    """One token of a parse. pos: universal part of speech. dep: relation to the word with index `head` (a root is its own)."""

    text: str
    pos: str
    dep: str
    head: int


def _children(words: Sequence[Word], of: int) -> list[int]:
    return [i for i, word in enumerate(words) if word.head == of and i != of]


def _below(
    words: Sequence[Word], tops: Sequence[int], modifiers: Collection[str], skipped: Collection[str] = ()
) -> list[int]:
    """Modifiers and conjuncts below the tops, depth first, last in first out; skipped parts of speech are passed through."""
    found, stack = [], [child for top in tops for child in _children(words, top)]
    while stack:
        node = stack.pop()
        if words[node].dep in modifiers or words[node].dep == "conj":
            if words[node].pos not in skipped:
                found.append(node)
            stack += _children(words, node)
    return found


def _noun_groups(
    words: Sequence[Word], modifiers: Collection[str], skipped: Collection[str] = ()
) -> list[list[int]]:
    groups = []
    for noun, word in enumerate(words):
        if word.pos in NOUNS and word.dep not in modifiers:
            tops = [child for child in _children(words, noun) if words[child].dep in modifiers]
            found = [top for top in tops if words[top].pos not in skipped] + _below(
                words, tops, modifiers, skipped
            )
            if found:
                groups.append([*found, noun])
    return groups


def std(words: Sequence[Word]) -> list[list[int]]:
    """Each noun after its modifiers: "a red and blue table". Nouns without modifiers form no group."""
    return _noun_groups(words, MODIFIERS)


def with_verbs(words: Sequence[Word]) -> list[list[int]]:
    """As `std`, through relative clauses as well: "a dog that is red". All nouns (the authors' code returns after the first)."""
    return _noun_groups(words, MODIFIERS | {"relcl"}, VERBS)


def verb_root(words: Sequence[Word]) -> list[list[int]]:
    """Noun and adjective on both sides of an auxiliary: "the dog is brown". In text order: the noun need not be last."""
    groups = []
    for verb, word in enumerate(words):
        if word.pos != "AUX" or word.dep in MODIFIERS:
            continue
        tops = [
            child
            for child in _children(words, verb)
            if words[child].dep in MODIFIERS or words[child].pos in NOUNS
        ]
        members = [top for top in tops if words[top].pos not in VERBS]
        if len(members) >= 2:
            groups.append(members + _below(words, tops, MODIFIERS, {"AUX"}))
    return groups


def entities(words: Sequence[Word]) -> list[list[int]]:
    """Every noun alone."""
    return [[i] for i, word in enumerate(words) if word.pos in NOUNS]


def unify(*passes: Sequence[Sequence]) -> list[list]:
    """The groups of all passes, those that share an item merged: the first, then what the other adds, until none share."""
    groups = [list(group) for found in passes for group in found]
    n = 0
    while n < len(groups):
        other = next(
            (k for k in range(n + 1, len(groups)) if any(item in groups[n] for item in groups[k])), None
        )
        if other is None:
            n += 1
        else:
            groups[n] += [item for item in groups.pop(other) if item not in groups[n]]
    return groups


def _modifies(words: Sequence[Word], n: int) -> bool:
    """Is the word a modifier, or joined to one ("salt and pepper shaker")?"""
    while words[n].dep == "conj" and words[n].head != n:
        n = words[n].head
    return words[n].dep in MODIFIERS


def nouns_and_modifiers(words: Sequence[Word], group: Sequence[int]) -> list[tuple[int, list[int]]]:
    """(noun, modifiers in text order) of a unified group, whose last word need not be its noun any more.

    The noun is the first that modifies no other. Ours: a noun joined to it by "and" ("a dog and a cat are black") is a
    thing of its own, not a modifier. [] for a group without a noun.
    """
    heads = [n for n in group if words[n].pos in NOUNS and not _modifies(words, n)]
    joined = [n for n in heads[1:] if words[n].dep == "conj"]
    modifiers = sorted(n for n in group if n not in (*heads[:1], *joined))
    return [(n, modifiers if n == heads[0] else []) for n in (*heads[:1], *joined)]


def find_subjects(words: Sequence[Word], text: str) -> tuple[list[SubjectPhrase], list[str]]:
    """The things that a parsed text names, in order: at most five, and the labels of the others.

    words: the parse of `text`. Template words ("a photo of") and words of quality are left out, as the built-in parser does.
    """
    groups = unify(std(words), verb_root(words), with_verbs(words), entities(words))
    pairs = sorted(pair for group in groups for pair in nouns_and_modifiers(words, group))
    plain, starts = split_words(text), _starts(words, text)
    candidates = []
    for noun, modifiers in pairs:
        after = words[noun + 1].text.lower() if noun + 1 < len(words) else ""
        if not names_a_thing(words[noun].text.lower(), after, [words[m].text.lower() for m in modifiers]):
            continue
        first = _first_word(words, noun, modifiers)
        name = " ".join(word.text.lower() for word in words[first : noun + 1])
        described = tuple(
            words[m].text.lower() for m in modifiers if not first <= m < noun and split_words(words[m].text)
        )
        place = next((i for i, w in enumerate(plain) if w.start >= starts[first]), len(plain))
        definite = any(words[child].text.lower() in DEFINITE for child in _children(words, noun))
        candidates.append((phrase_at(name, described, place, plain), definite and not described))
    return most(candidates)


def _first_word(words: Sequence[Word], noun: int, modifiers: Sequence[int]) -> int:
    """Where the noun begins: before its modifier in things like "hot dog"."""
    for first in (noun - 2, noun - 1):
        if (
            set(range(first, noun)) <= set(modifiers)
            and " ".join(w.text.lower() for w in words[first : noun + 1]) in COMPOUNDS
        ):
            return first
    return noun


def _starts(words: Sequence[Word], text: str) -> list[int]:
    """The character at which each word begins."""
    starts, at = [], 0
    for word in words:
        starts.append(text.index(word.text, at))
        at = starts[-1] + len(word.text)
    return starts
