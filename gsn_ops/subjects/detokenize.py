"""The user's own text in a list of tokens: where it is, how it reads, and which characters each token stands
for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

BARE_MARK = "\u2581"
"""A sentencepiece word mark with no letters: it belongs to the user's text, not to a template before it."""

BROKEN = "\ufffd"
"""What an incomplete character decodes to."""

Embedding = tuple[Any, ...]
"""A vector of a textual-inversion embedding among the tokens; its name comes first."""


def user_span(ids: Sequence, others: Sequence[Sequence], pad) -> tuple[int, int]:
    """[start, stop) of the user's own text: what the token list does not share with those of two other
    prompts.

    Needs no knowledge of templates. ids: token ids, None where there is no id. others: the same for the
    prompts "0" and "x". pad: id of the padding.
    """
    mine = _unpadded(ids, pad)
    references = [_unpadded(other, pad) for other in others]
    start = min(_common(mine, other) for other in references)
    behind = min(_common(mine[start:][::-1], other[start:][::-1]) for other in references)
    return start, len(mine) - behind


def _unpadded(ids: Sequence, pad) -> list:
    ids = list(ids)
    while len(ids) > 1 and ids[-1] == pad:
        ids.pop()
    return ids


def _common(a: Sequence, b: Sequence) -> int:
    """Length of the common beginning."""
    return next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def detokenize(
    items: Sequence[int | Embedding], decode: Callable[[list[int]], str]
) -> tuple[str, list[tuple[int, int]]]:
    """(text, [start, stop) of each item in it) for token ids and embeddings.

    Each token is decoded together with the last one that completed a character, so the work grows linearly,
    and no knowledge of the tokenizer's marks is needed. Tokens that form one character together share its
    range, and so do equal embeddings in a row (the vectors of one). Ranges leave spaces out.
    """
    text, shown, last = "", "", None
    ranges: list[tuple[int, int]] = []
    window: list[int] = []
    for item in items:
        if isinstance(item, tuple):
            if item == last:
                ranges.append(ranges[-1])
                continue
            text = f"{text.rstrip()} {item[0]}".lstrip()
            ranges.append((len(text) - len(item[0]), len(text)))
            window, shown, last = [], "", item
            continue
        if last is not None:
            text, last = text + " ", None
        longer = decode([*window, item])
        kept = len(os.path.commonprefix([shown, longer]))
        cut = len(text) - (len(shown) - kept)
        text = text[:cut] + longer[kept:]
        ranges = [(min(a, cut), len(text)) if b > cut else (a, b) for a, b in ranges]
        ranges.append((cut, len(text)))
        complete = len(longer) > kept and not longer.endswith(BROKEN)
        window = [item] if complete else [*window, item]
        shown = decode(window)
    return text, [_without_spaces(text, a, b) for a, b in ranges]


def _without_spaces(text: str, start: int, stop: int) -> tuple[int, int]:
    part = text[start:stop]
    start += len(part) - len(part.lstrip())
    return start, start + len(part.strip())
