"""Parts of speech of English words: a linear tagger with hashed features and a Viterbi search.

Trained by `tools/dev.py tagger` (tools/tagger/). Time grows linearly with the number of words; the same words
always get the same tags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from .word_lists import FUNCTION_WORDS

TAGS = ("NOUN", "ADJ", "ADV", "VERB", "ING", "EN", "OTHER")
"""NOUN: also names. VERB: finite forms and infinitives. ING, EN: participles. OTHER: articles, prepositions,
pronouns, conjunctions, auxiliaries and numbers.
"""
BUCKETS = 1 << 17
FILE = Path(__file__).with_name("english_tagger.safetensors")
EDGE = ("<>", "|")
"""Stands for the words before the first and after the last one: (word, mark before it)."""

NUMBERS = {
    **dict.fromkeys(("a", "an", "one", "another", "each", "every", "this", "that"), "one"),
    **dict.fromkeys(
        ("two", "three", "four", "five", "several", "many", "some", "these", "those", "few"), "many"
    ),
    **dict.fromkeys(("the", "his", "her", "its", "their", "my", "our", "your"), "the"),
    **dict.fromkeys(
        "in on at of with by to from under over near behind beside and or for that which who".split(), ""
    ),
}
"""What a word says about the number of the noun behind it; prepositions begin a new phrase."""
REACH = 4
"""Words for which it holds."""

Token = tuple[str, str]
"""(word in lower case, mark before it): "" none, "'" a possessive, "," or "." any other punctuation."""


def features(tokens: Sequence[Token]) -> np.ndarray:
    """Rows of the weights that each token adds up: int64 [N, F]. Only the two words on each side count."""
    padded = [EDGE, EDGE, *tokens, EDGE, EDGE]
    rows = []
    number, distance = "", 0  # the last article or number before the word
    for n in range(2, len(tokens) + 2):
        word, gap = padded[n]
        number, distance = ("", 0) if gap not in ("", "'") or distance > REACH else (number, distance + 1)
        values = enumerate(_values(padded, n, number))
        rows.append([crc32(f"{k} {value}".encode()) % BUCKETS for k, value in values])
        if word in NUMBERS:
            number, distance = NUMBERS[word], 0
    return np.array(rows, dtype=np.int64)


def _values(padded: Sequence[Token], n: int, number: str) -> Iterator[str]:
    """The features of the token at n as text, in a fixed order."""
    (before2, _), (before, gap_before), (word, gap), (after, gap_after), (after2, gap_after2) = padded[
        n - 2 : n + 3
    ]
    near = _kind(before)
    behind = _kind(after)
    yield word
    yield word[-4:]
    yield word[-3:]
    yield word[-2:]
    yield word[:4]
    yield f"{gap}{gap_after}"
    yield f"{near} {gap}"
    yield f"{behind} {gap_after}"
    yield f"{_kind(before2)} {near} {gap_before}{gap}"
    yield f"{behind} {_kind(after2)} {gap_after}{gap_after2}"
    yield f"{near} {behind} {gap}{gap_after}"
    yield f"{near} {word[-3:]} {gap}"
    yield f"{word[-3:]} {behind} {gap_after}"
    yield f"{near} {word[-2:]} {behind} {gap}{gap_after}"
    yield f"{near} {word} {gap}"
    yield f"{word} {behind} {gap_after}"
    yield f"{word} {gap}{gap_after}"
    yield f"{before} {gap}"
    yield f"{after} {gap_after}"
    yield f"{number} {word[-1:]} {before[-1:]} {gap}"
    yield f"{number} {word[-2:]} {behind} {gap_after}"


def _kind(word: str) -> str:
    """The word itself if it is a function word, else its ending."""
    return word if word in FUNCTION_WORDS or word in EDGE else f"~{word[-2:]}"


def best_path(scores: np.ndarray, transitions: np.ndarray) -> list[int]:
    """The tags with the highest sum of scores [N > 0, T] and transitions [T + 1, T] (row T: the start)."""
    total = transitions[-1] + scores[0]
    back = []
    for row in scores[1:]:
        ways = total[:, None] + transitions[:-1]
        back.append(ways.argmax(0))
        total = ways.max(0) + row
    path = [int(total.argmax())]
    for choice in reversed(back):
        path.append(int(choice[path[-1]]))
    return path[::-1]


def tag(tokens: Sequence[Token]) -> list[str]:
    """One of TAGS for each token."""
    if not tokens:
        return []
    weights, transitions = _weights()
    scores = weights[features(tokens)].sum(1, dtype=np.int32)
    return [TAGS[n] for n in best_path(scores, transitions)]


@lru_cache(maxsize=1)
def _weights() -> tuple[np.ndarray, np.ndarray]:
    """(int8 [BUCKETS, T], int32 [T + 1, T])."""
    tensors = read_tensors(FILE)
    return tensors["weights"], tensors["transitions"].astype(np.int32)


def read_tensors(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file of int8 and int32, with numpy alone."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    kinds = {"I8": np.int8, "I32": np.dtype("<i4")}
    tensors = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, stop = (8 + size + offset for offset in about["data_offsets"])
            flat = np.frombuffer(data[start:stop], dtype=kinds[about["dtype"]])
            tensors[name] = flat.reshape(about["shape"])
    return tensors
