"""How many of a subject a prompt wants: the number before its noun."""

from __future__ import annotations

from .matching import fold
from .nouns_in_text import NounInText, words_of
from .word_lists import is_adjective

NUMBERS = {
    word: n
    for n, word in enumerate(
        "one two three four five six seven eight nine ten eleven twelve".split(), start=1
    )
}
PAIRS = ("pair", "couple")
MOST = 12
"""More blobs than this do not fit on an attention map."""


def count_before(text: str, noun: NounInText) -> int:
    """The number before a noun and its adjectives: 3 for "three big dogs"; 0 if there is none.

    text: in lower case. A number behind the noun ("page 3") or above 12 says nothing.
    """
    words = words_of(text[: noun.start])
    own = {fold(word) for modifier in noun.modifiers for word in words_of(modifier)}
    while words and (fold(words[-1]) in own or is_adjective(words[-1])) and not _number(words[-1]):
        words.pop()
    if words[-1:] == ["of"] and words[-2:-1] and words[-2] in PAIRS:
        return 2
    found = _number(words[-1]) if words else 0
    behind_a_mark = len(words) > 1 and words[-2] in (".", ":", "/", "-", "#")  # "1.3 dogs", "16:9 dogs"
    return 0 if behind_a_mark else found


def _number(word: str) -> int:
    n = int(word) if word.isascii() and word.isdigit() and len(word) < 3 else NUMBERS.get(word, 0)
    return n if n <= MOST else 0
