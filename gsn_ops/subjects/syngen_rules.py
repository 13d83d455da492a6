"""SynGen's rules for subjects in a dependency parse (Rassin et al., NeurIPS 2023, appendix B), on plain data.

A pass (`std`, `verb_root`, `with_verbs`, `entities`: the authors' names) returns groups: lists of indices of
words that belong together. `subjects_of_parse` unites all passes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ..prompt import SubjectPhrase
from .find import Candidate, first_subjects
from .matching import TextWord, split_words
from .noun_phrase import names_a_thing
from .prompt_cleanup import prompt_words
from .readable_text import as_sentences
from .word_lists import COMPOUNDS, DEFINITE, INDEFINITE

MODIFIERS = frozenset({"amod", "nmod", "compound", "npadvmod", "advmod", "acomp"})
NOUNS = frozenset({"NOUN", "PROPN"})
VERBS = frozenset({"AUX", "VERB"})


@dataclass(frozen=True)
class ParsedWord:
    """One token of a parse.

    pos: universal part of speech. dep: relation to the word with index `head` (a root is its own head).
    """

    text: str
    pos: str
    dep: str
    head: int


def _children(words: Sequence[ParsedWord], of: int) -> list[int]:
    return [i for i, word in enumerate(words) if word.head == of and i != of]


def _below(
    words: Sequence[ParsedWord],
    tops: Sequence[int],
    modifiers: Collection[str],
    skipped: Collection[str] = (),
) -> list[int]:
    """Modifiers and conjuncts below the tops, depth first, last in first out.

    Words whose part of speech is in `skipped` are left out, the words below them are not.
    """
    found: list[int] = []
    stack = [child for top in tops for child in _children(words, top)]
    while stack:
        node = stack.pop()
        if words[node].dep in modifiers or words[node].dep == "conj":
            if words[node].pos not in skipped:
                found.append(node)
            stack += _children(words, node)
    return found


def _noun_groups(
    words: Sequence[ParsedWord], modifiers: Collection[str], skipped: Collection[str] = ()
) -> list[list[int]]:
    groups = []
    for noun, word in enumerate(words):
        if word.pos not in NOUNS or word.dep in modifiers:
            continue
        tops = [child for child in _children(words, noun) if words[child].dep in modifiers]
        found = [top for top in tops if words[top].pos not in skipped]
        found += _below(words, tops, modifiers, skipped)
        if found:
            groups.append([*found, noun])
    return groups


def std(words: Sequence[ParsedWord]) -> list[list[int]]:
    """Each noun after its modifiers: "a red and blue table". Nouns without modifiers form no group."""
    return _noun_groups(words, MODIFIERS)


def with_verbs(words: Sequence[ParsedWord]) -> list[list[int]]:
    """As `std`, through relative clauses as well: "a dog that is red".

    Of all nouns; the authors' code returns after the first.
    """
    return _noun_groups(words, MODIFIERS | {"relcl"}, VERBS)


def verb_root(words: Sequence[ParsedWord]) -> list[list[int]]:
    """Noun and adjective on both sides of an auxiliary: "the dog is brown".

    In text order: noun not always last.
    """
    groups = []
    for verb, word in enumerate(words):
        if word.pos != "AUX" or word.dep in MODIFIERS:
            continue
        children = _children(words, verb)
        tops = [i for i in children if words[i].dep in MODIFIERS or words[i].pos in NOUNS]
        members = [top for top in tops if words[top].pos not in VERBS]
        if len(members) >= 2:
            groups.append(members + _below(words, tops, MODIFIERS, {"AUX"}))
    return groups


def entities(words: Sequence[ParsedWord]) -> list[list[int]]:
    """Every noun alone."""
    return [[i] for i, word in enumerate(words) if word.pos in NOUNS]


def unify(*passes: Sequence[Sequence]) -> list[list]:
    """The groups of all passes; groups that share an item are merged until none do.

    A merged group is the first one, then the items that the other adds.
    """
    groups = [list(group) for found in passes for group in found]
    n = 0
    while n < len(groups):
        sharing = (k for k in range(n + 1, len(groups)) if any(item in groups[n] for item in groups[k]))
        other = next(sharing, None)
        if other is None:
            n += 1
        else:
            groups[n] += [item for item in groups.pop(other) if item not in groups[n]]
    return groups


def _modifies(words: Sequence[ParsedWord], n: int) -> bool:
    """Whether the word is a modifier, or joined to one ("salt and pepper shaker")."""
    while words[n].dep == "conj" and words[n].head != n:
        n = words[n].head
    return words[n].dep in MODIFIERS


def nouns_and_modifiers(words: Sequence[ParsedWord], group: Sequence[int]) -> list[tuple[int, list[int]]]:
    """(noun, modifiers in text order) of a unified group, whose last word need not be its noun.

    The noun is the first one that modifies no other. Ours: a noun joined to it by "and" ("a dog and a cat are
    black") is a subject of its own, not a modifier. [] for a group without a noun.
    """
    heads = [n for n in group if words[n].pos in NOUNS and not _modifies(words, n)]
    joined = [n for n in heads[1:] if words[n].dep == "conj"]
    modifiers = sorted(n for n in group if n not in (*heads[:1], *joined))
    return [(n, modifiers if n == heads[0] else []) for n in (*heads[:1], *joined)]


def subjects_of_parse(words: Sequence[ParsedWord], text: str) -> tuple[list[SubjectPhrase], list[str]]:
    """The things that a parsed text names, in order: at most five, and the labels of the others.

    words: the parse of `as_sentences(text)`. Template words ("a photo of") and quality tags are left out, as
    by the built-in parser.
    """
    groups = unify(std(words), verb_root(words), with_verbs(words), entities(words))
    pairs = sorted(pair for group in groups for pair in nouns_and_modifiers(words, group))
    text_words, starts = split_words(text), _starts(words, as_sentences(text))
    kept = {at for word in prompt_words(text) for at in word.at}
    sentences = list(accumulate(word.text in (".", "!", "?") for word in words))
    candidates = []
    for noun, modifiers in pairs:
        after = words[noun + 1].text.lower() if noun + 1 < len(words) else ""
        before = [words[child].text.lower() for child in _children(words, noun)]
        determiner = next((word for word in before if word in DEFINITE | INDEFINITE), "")
        described = [words[m].text.lower() for m in modifiers]
        if names_a_thing(words[noun].text.lower(), after, described, determiner):
            one = _candidate(words, noun, modifiers, text_words, starts)
            if one.start in kept:
                definite, repeats = determiner in DEFINITE, determiner in INDEFINITE
                candidates.append(
                    replace(
                        one,
                        definite=definite,
                        bare=not modifiers,
                        repeats=repeats,
                        sentence=int(sentences[noun]),
                    )
                )
    return first_subjects(candidates, text)


def _candidate(
    words: Sequence[ParsedWord],
    noun: int,
    modifiers: Sequence[int],
    text_words: Sequence[TextWord],
    starts: Sequence[int],
) -> Candidate:
    """The noun with its modifiers, at its word of the text."""
    first = _first_word(words, noun, modifiers)
    name = " ".join(word.text.lower() for word in words[first : noun + 1])
    described = tuple(
        words[m].text.lower() for m in modifiers if not first <= m < noun and split_words(words[m].text)
    )
    at = bisect_left(text_words, starts[first], key=lambda word: word.start)
    return Candidate(name, described, at)


def _first_word(words: Sequence[ParsedWord], noun: int, modifiers: Sequence[int]) -> int:
    """Where the noun begins: before its modifier in compounds like "hot dog"."""
    for first in (noun - 2, noun - 1):
        name = " ".join(word.text.lower() for word in words[first : noun + 1])
        if set(range(first, noun)) <= set(modifiers) and name in COMPOUNDS:
            return first
    return noun


def _starts(words: Sequence[ParsedWord], text: str) -> list[int]:
    """The character at which each word begins."""
    starts: list[int] = []
    at = 0
    for word in words:
        starts.append(text.index(word.text, at))
        at = starts[-1] + len(word.text)
    return starts
