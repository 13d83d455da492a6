"""Two prompts side by side: which columns of the source prompt each column of the target prompt takes.

The formulas are in `prompt_to_prompt`; here they are applied to the tokens that text encoders saw.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..prompt import EncoderTokens, Piece, PromptTokens
from .prompt_to_prompt import align, replacement

AUTO, REPLACE, REFINE = "auto", "replace", "refine"
KINDS = (AUTO, REPLACE, REFINE)


@dataclass(frozen=True)
class Word:
    """A word of a prompt, as it stands between spaces. columns: of its pieces."""

    text: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Alignment:
    """take [n_source, n_target], matched [n_target] as in `MapEdit`. kind: replace or refine.

    changed: (word of the source or "", word of the target or "") of all that differ, for reports.
    """

    take: Tensor
    matched: Tensor
    kind: str
    changed: tuple[tuple[str, str], ...]


def aligned(source: PromptTokens, target: PromptTokens, kind: str, published: bool = False) -> Alignment:
    """How the target prompt's columns take the source's.

    kind: "replace" word for word, "refine" by alignment, "auto" = replace where both have as many words.
    Raises ValueError that lists the words with their positions if "replace" is asked for and they do not.
    """
    pairs = _pairs_of_encoders(source, target)
    differing = next(((s, t) for s, t in pairs if not _replaceable(s, t)), None)
    if kind == REPLACE and differing is not None:
        raise ValueError(_unequal(*differing))
    if kind == AUTO:
        kind = REPLACE if differing is None else REFINE
    take, matched = torch.zeros(source.rows, target.rows), torch.zeros(target.rows)
    for s, t in pairs:
        (_replace if kind == REPLACE else _refine)(s, t, take, matched, published)
    changed = _changed_words(words_of(pairs[0][0]), words_of(pairs[0][1])) if pairs else ()
    return Alignment(take, matched, kind, changed)


def words_of(encoder: EncoderTokens) -> list[Word]:
    """The words of one encoder's text that it passes on, in order."""
    found = []
    for word in re.finditer(r"\S+", encoder.text):
        pieces = [p for p in encoder.pieces if _inside(p, word.start(), word.end())]
        columns = tuple(dict.fromkeys(p.column for p in pieces if p.column is not None))
        if columns:
            found.append(Word(word.group(), columns))
    return found


def _inside(piece: Piece, start: int, stop: int) -> bool:
    return start <= piece.start < stop and piece.column is not None


def _pairs_of_encoders(
    source: PromptTokens, target: PromptTokens
) -> list[tuple[EncoderTokens, EncoderTokens]]:
    """The encoders of both prompts, each of those that share their rows (CLIP-L and CLIP-G) once."""
    by_name = {e.name: e for e in source.encoders if e.chunks}
    pairs, seen = [], set()
    for encoder in target.encoders:
        first = encoder.chunks[0][0] if encoder.chunks else None
        if first is None or first in seen or encoder.name not in by_name:
            continue
        seen.add(first)
        pairs.append((by_name[encoder.name], encoder))
    return pairs


def _replaceable(source: EncoderTokens, target: EncoderTokens) -> bool:
    """Whether both have as many words in each chunk; a text without spaces, as many pieces."""
    words = [words_of(e) for e in (source, target)]
    if len(words[0]) == 1:
        return len(words[1]) == 1 and len(words[0][0].columns) == len(words[1][0].columns)
    if len(source.chunks) != len(target.chunks):
        return False
    counts = [[len(_within(w, chunk)) for chunk in e.chunks] for w, e in zip(words, (source, target))]
    return bool(words[0]) and counts[0] == counts[1]


def _within(words: Sequence[Word], chunk: tuple[int, int, int]) -> list[Word]:
    return [word for word in words if chunk[0] <= word.columns[0] < chunk[1]]


def _replace(
    source: EncoderTokens, target: EncoderTokens, take: Tensor, matched: Tensor, published: bool
) -> None:
    """Word for word, chunk by chunk. Writes into take and matched."""
    for s, t in zip(source.chunks, target.chunks):
        words = _within(words_of(source), s), _within(words_of(target), t)
        changed = [n for n, (a, b) in enumerate(zip(*words)) if a.text != b.text]
        pieces = [[len(word.columns) for word in own] for own in words]
        starts = [_start(chunk) for chunk in (s, t)]
        n = min(s[2] - starts[0], t[2] - starts[1])
        n = max(n, 1 + sum(pieces[0]), 1 + sum(pieces[1]))
        mapper = replacement(*pieces, changed, n, published)
        rows = slice(starts[0], min(starts[0] + n, len(take)))
        columns = slice(starts[1], min(starts[1] + n, take.shape[1]))
        take[rows, columns] = mapper[: rows.stop - rows.start, : columns.stop - columns.start]
        matched[columns] = 1


def _refine(
    source: EncoderTokens, target: EncoderTokens, take: Tensor, matched: Tensor, published: bool
) -> None:
    """By alignment of the whole sequence of pieces and markers. Writes into take and matched."""
    own = [_sequence(e) for e in (source, target)]
    if published:  # behind the end marker, columns are copied by target position
        own = [[(c, text) for c, text in sequence if text != PADDING] for sequence in own]
    found = align([text for _, text in own[0]], [text for _, text in own[1]])
    pairs = [(own[0][i][0], own[1][j][0]) for j, i in enumerate(found) if i >= 0]
    if published:
        last = own[1][-1][0] + 1
        pairs += [(c, c) for c in range(last, min(len(take), take.shape[1], target.chunks[-1][2]))]
    for i, j in pairs:
        take[i, j] = matched[j] = 1


START, END, PADDING = "<start>", "<end>", "<padding>"


def _sequence(encoder: EncoderTokens) -> list[tuple[int, str]]:
    """(column, token) of all rows of an encoder's chunks, with markers and padding."""
    text = {piece.column: piece.text for piece in encoder.pieces}
    found = []
    for first, end, stop in encoder.chunks:
        for column in range(_start((first, end, stop)), stop):
            marker = START if column < first else PADDING
            found.append((column, text.get(column, END if column == end else marker)))
    return found


def _start(chunk: tuple[int, int, int]) -> int:
    """The row of a chunk's start marker; where it has none, its first row."""
    return max(chunk[0] - 1, 0)


def _changed_words(source: Sequence[Word], target: Sequence[Word]) -> tuple[tuple[str, str], ...]:
    """The words that differ, for reports."""
    if len(source) == len(target):
        return tuple((a.text, b.text) for a, b in zip(source, target) if a.text != b.text)
    found = align([word.text for word in source], [word.text for word in target])
    gone = [word.text for n, word in enumerate(source) if n not in found]
    new = [word.text for word, i in zip(target, found) if i < 0]
    return tuple((word, "") for word in gone) + tuple(("", word) for word in new)


def _unequal(source: EncoderTokens, target: EncoderTokens) -> str:
    """Why words cannot be replaced one by one, and what to do."""
    lists = []
    for name, encoder in (("source", source), ("target", target)):
        words = words_of(encoder)
        lists.append(f"{name}, {len(words)}: " + ", ".join(f"{n} {w.text}" for n, w in enumerate(words, 1)))
    return (
        "Prompt-to-Prompt: edit is 'replace', which needs as many words in the target prompt as in the "
        f"source prompt. Their words: {'; '.join(lists)}. Write them word for word, or choose 'refine' or "
        "'auto'."
    )
