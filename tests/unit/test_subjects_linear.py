"""Long prompts and long subject fields cost their length: twice the text, twice the operations."""

import sys

import pytest

from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens
from gsn_ops.subjects.caption_parser import noun_phrases
from gsn_ops.subjects.find import subjects_of_caption
from gsn_ops.subjects.language import foreign_language
from gsn_ops.subjects.resolve import choose_subjects
from gsn_ops.subjects.syntax import parse_subjects


def operations(work):
    """Calls of functions, Python's and built-in ones."""
    count = 0

    def seen(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    noun_phrases.cache_clear()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def prompt(words):
    text = " ".join(words)
    pieces, at = [], 0
    for n, word in enumerate(words):
        pieces.append(Piece(word, at, at + len(word), n + 1))
        at += len(word) + 1
    return PromptTokens((EncoderTokens("l", text, tuple(pieces), ((1, 9998, 9999),)),), 9999)


TEXTS = {
    "one phrase": lambda n: "a red cat and a blue dog, " * n,
    "other phrases": lambda n: " ".join(
        f"a {c}{d}at sits on a {d}{c}og." for c in LETTERS[:n] for d in LETTERS
    ),
    "no stops": lambda n: "cat " * n,
    "json": lambda n: '{"subjects": [' + ", ".join(['{"name": "a red cat"}'] * n) + "]}",
    "lines": lambda n: "subject: a cat\nstyle: oil\n" * n,
    "quotes": lambda n: "a sign \"reading 'this' and a cat " * n,
    "brackets": lambda n: "((a cat [a dog {a bird <a hat " * n,
    "negations": lambda n: "no cats, dogs, " * n,
}
LETTERS = "bcdfgklmnprstvwz"


@pytest.mark.parametrize("kind", TEXTS)
def test_c5_finding_subjects_is_linear_in_the_prompt(kind):
    small, large = (TEXTS[kind](n) for n in (8, 16))

    def find(text):
        return lambda: (foreign_language(text), subjects_of_caption(text))

    operations(find(small))  # lists and patterns are made once
    assert operations(find(large)) < 2.3 * operations(find(small))


def test_b27_a_field_of_many_phrases_is_linear():
    words = [f"{a}{b}{c}at" for a in LETTERS for b in LETTERS for c in LETTERS[:3]]

    def look_up(n, repeat):
        typed = ", ".join(["cat"] * n if repeat else [f"red {word}" for word in words[:n]])
        tokens = prompt(["cat,"] * n if repeat else [part for word in words[:n] for part in ("red", word)])
        return lambda: choose_subjects(parse_subjects(typed), tokens)

    for repeat in (False, True):
        operations(look_up(20, repeat))
        assert operations(look_up(240, repeat)) < 2.4 * operations(look_up(120, repeat))


def test_c5_a_field_of_many_unknown_phrases_is_linear():
    tokens = prompt(["red", "circle", "blue", "square"])

    def refuse(n, separator):
        typed = separator.join(f"{a}{b}at" for a in LETTERS for b in LETTERS)[: 6 * n]

        def work():
            with pytest.raises(ValueError, match="is not in the prompt"):
                choose_subjects(parse_subjects(typed), tokens)

        return work

    for separator in (", ", " "):  # many phrases, or one of many words
        operations(refuse(20, separator))
        assert operations(refuse(160, separator)) < 2.4 * operations(refuse(80, separator))
