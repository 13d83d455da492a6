"""Which characters each token spells, with the habits of real tokenizers: byte pieces, spaced or swallowed punctuation, bare marks."""

import pytest

from gsn_ops.subjects.detokenize import detokenize, user_span


def bytewise(table):
    """A decoder of byte pieces, as BPE tokenizers have: {id: bytes}."""
    return lambda ids: b"".join(table[i] for i in ids).decode("utf-8", errors="replace").strip()


def parts(items, decode):
    text, ranges = detokenize(items, decode)
    return text, [text[a:b] for a, b in ranges]


def test_words_and_spaces():
    decode = bytewise({1: b"a ", 2: b"cat", 3: b"amaran ", 4: b"dog "})
    assert parts([1, 2, 3, 4], decode) == ("a catamaran dog", ["a", "cat", "amaran", "dog"])
    assert detokenize([], decode) == ("", [])


@pytest.mark.parametrize("split", [(1, 2), (2, 1), (1, 1, 1)])
def test_pieces_of_one_character_share_it(split):
    raw, table, at = "\u732b".encode(), {1: b"a ", 9: b" dog"}, 0
    for n, size in enumerate(split):
        table[2 + n], at = raw[at : at + size], at + size
    ids = [1, *range(2, 2 + len(split)), 9]
    assert parts(ids, bytewise(table)) == ("a \u732b dog", ["a", *["\u732b"] * len(split), "dog"])


def test_two_characters_of_several_pieces_are_kept_apart():
    table = dict(enumerate([bytes([b]) for b in "\u732b\u72ac".encode()]))
    assert parts(list(range(6)), bytewise(table)) == ("\u732b\u72ac", ["\u732b"] * 3 + ["\u72ac"] * 3)


def test_a_decoder_that_rewrites_what_it_wrote():
    """Where a token changes the text of the one before, both have the new text."""
    words = {1: "a", 2: "-", 3: "b"}

    def decode(ids):
        return "".join(words[i] for i in ids).replace("--", "\u2014")

    assert parts([1, 2, 2, 3], decode) == ("a\u2014b", ["a", "\u2014", "\u2014", "b"])


def test_bare_marks_and_unknown_characters_spell_nothing():
    pieces = {1: "\u2581", 2: "a", 3: "\u2581gir", 4: "affe", 5: ""}

    def decode(ids):
        return "".join(pieces[i] for i in ids).replace("\u2581", " ").removeprefix(" ")

    assert parts([1, 2, 3, 4, 1, 5, 1, 2], decode)[1] == ["", "a", "gir", "affe", "", "", "", "a"]


def test_embeddings_stand_between_the_words():
    decode = bytewise({1: b"a ", 2: b"cat "})
    cat, style = ("embedding:cat", 0), ("embedding:style", 1)
    text, shown = parts([1, cat, cat, style, 2], decode)
    assert text == "a embedding:cat embedding:style cat"
    assert shown == ["a", "embedding:cat", "embedding:cat", "embedding:style", "cat"]
    again = ("embedding:cat", 1)
    assert detokenize([cat, again], decode) == ("embedding:cat embedding:cat", [(0, 13), (14, 27)])


@pytest.mark.parametrize(
    "mine, others, pad, span",
    [
        (
            [7, 1, 2, 3, 9, 9, 9],
            [[7, 5, 9, 9, 9, 9, 9], [7, 6, 9, 9, 9, 9, 9]],
            9,
            (1, 4),
        ),  # pads that are end markers
        ([7, 1, 2, 8, 0, 0], [[7, 5, 8, 0, 0, 0], [7, 6, 8, 0, 0, 0]], 0, (1, 3)),
        ([1, 2, 8], [[5, 8], [6, 8]], None, (0, 2)),  # no start marker
        ([3, 3, 1, 2, 4, 4], [[3, 3, 5, 4, 4], [3, 3, 6, 4, 4]], None, (2, 4)),  # a template
        ([7, 5, 1, 9], [[7, 5, 9, 9], [7, 6, 9, 9]], 9, (1, 3)),  # begins as one of the others
        ([7, 5, 9, 9], [[7, 5, 9, 9], [7, 6, 9, 9]], 9, (1, 2)),  # is one of them
        ([7, 9, 9], [[7, 5, 9], [7, 6, 9]], 9, (1, 1)),  # empty
        ([7, None, 1, 9], [[7, 5, 9, 9], [7, 6, 9, 9]], 9, (1, 3)),  # an embedding
    ],
)
def test_the_users_own_text_is_what_other_prompts_do_not_share(mine, others, pad, span):
    assert user_span(mine, others, pad) == span
