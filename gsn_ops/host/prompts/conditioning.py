"""A CLIP whose encodings remember what the encoder saw, and reading that memory from a conditioning.

The memory is `PromptTokens` under the key `gsn` of each conditioning entry; everything else is bit for bit the host's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...prompt import PromptTokens, SubjectColumns, SubjectPhrase
from ...regions import Region
from ...subjects.resolve import choose_subjects, resolve
from ...subjects.syntax import SPACY
from .encoder_trace import is_chunks
from .token_alignment import Chunks, read_prompt

KEY = "gsn"
UNTAGGED = (
    "The positive conditioning does not remember its words. Send the CLIP through the node 'Semantic Nursing' (its clip "
    "input and output) before your text node, or write the prompt in 'CLIP Text Encode (GSN)', or give a conditioning "
    "that was made elsewhere to 'Set Subjects' together with clip and text."
)


class TokenRecordingCLIP:
    """Mixed into the class of a CLIP: the same tokens and encodings, with one more key."""

    gsn_subjects: tuple[SubjectPhrase, ...] = ()

    def clone(self, *args, **kwargs):
        clone = super().clone(*args, **kwargs)
        clone.__class__ = type(self)
        clone.gsn_subjects = self.gsn_subjects
        return clone

    def tokenize(self, text, *args, **kwargs):
        tokens = super().tokenize(text, *args, **kwargs)
        embeddings = _embeddings(super().tokenize, text)
        return {
            key: Chunks(
                chunks, text, kwargs, [(name, sizes[key]) for name, sizes in embeddings if sizes.get(key)]
            )
            if is_chunks(chunks)
            else chunks
            for key, chunks in tokens.items()
        }

    def encode_from_tokens_scheduled(self, tokens, unprojected=False, add_dict=None, *args, **kwargs):
        memory = replace(read_prompt(self, tokens), subjects=self.gsn_subjects)
        encoded = super().encode_from_tokens_scheduled(
            tokens, unprojected, {**(add_dict or {}), KEY: memory}, *args, **kwargs
        )
        for rows, extra in encoded:
            extra[KEY] = replace(memory, checksum=_checksum(rows))
        return encoded


def with_token_metadata(clip, subjects: Sequence[SubjectPhrase] = ()):
    """A clone of the CLIP whose encodings carry `PromptTokens` with these subjects; it shares the text encoder's weights.

    Survives the host's clip skip, LoRA and hook nodes, which clone it.
    """
    kind = type(clip)
    clone = clip.clone()
    if not issubclass(kind, TokenRecordingCLIP):
        kind = type(f"Remembering{kind.__name__}", (TokenRecordingCLIP, kind), {})
    clone.__class__ = kind
    clone.gsn_subjects = tuple(subjects)
    return clone


def _embeddings(tokenize: Callable[[str], dict], text: str) -> list[tuple[str, dict[str, int]]]:
    """(name as typed, {encoder: number of vectors}) of each textual-inversion embedding in the prompt that has a file."""
    found = []
    for name in re.findall(r"(?:^|(?<=[\s(]))embedding:([^\s()<\[]+)", text):
        for candidate in dict.fromkeys(
            (name, name.rstrip(","), re.sub(r":[\d.]*$", "", name))
        ):  # "a," and "(a:1.2)"
            alone = tokenize(f"embedding:{candidate}")
            sizes = {
                key: sum(torch.is_tensor(entry[0]) for chunk in chunks for entry in chunk)
                for key, chunks in alone.items()
                if is_chunks(chunks)
            }
            if any(sizes.values()):
                found.append((f"embedding:{candidate}", sizes))
                break
    return found


def _checksum(rows: Tensor) -> float:
    """A number by which changed rows are recognised (of the values themselves it is the same for all: they are normalised)."""
    return float(rows.double().abs().sum())


def tokens_of(conditioning: Sequence[Sequence[Any]]) -> PromptTokens | None:
    """What the encoder of the first entry that remembers it saw; None if none does.

    Says in its notes when entries were combined that remember different prompts.
    """
    known = [extra[KEY] for _, extra in conditioning if KEY in extra]
    if not known:
        return None
    texts = list(dict.fromkeys(_text(tokens) for tokens in known))
    if len(texts) > 1:
        return replace(
            known[0],
            notes=(
                *known[0].notes,
                f"{len(texts)} prompts are combined here; this is the first, '{texts[0]}'",
            ),
        )
    return known[0]


def _text(tokens: PromptTokens) -> str:
    return next((e.text for e in tokens.encoders if e.text), "")


def check_entry(rows: Tensor | None, tokens: PromptTokens | None) -> tuple[str, ...]:
    """Check one entry of the positive conditioning: its rows [B, N, C] and its memory. Returns remarks.

    Raises ValueError for an entry without memory, of zeros only, or with fewer rows than its prompt made.
    """
    if tokens is None:
        raise ValueError(UNTAGGED)
    if not tokens.encoders:
        raise ValueError(
            f"The words of this prompt are not known: {'; '.join(tokens.notes)}. Use the stock sampler with this model."
        )
    if rows is None:
        return tokens.notes
    if not rows.count_nonzero():
        raise ValueError(
            "The positive conditioning is all zeros (ConditioningZeroOut?), so the picture does not depend on its words and "
            "there is nothing to refine. Connect the prompt itself to the positive input."
        )
    if rows.shape[-2] < tokens.rows:
        raise ValueError(
            f"The positive conditioning has {rows.shape[-2]} rows, but its prompt '{_text(tokens)}' made {tokens.rows}: it was "
            "cut or replaced after it was encoded, so its words cannot be found. Encode the prompt again, directly before the "
            "sampler, or give it to 'Set Subjects' with the clip and text that made it."
        )
    notes = list(tokens.notes)
    if rows.shape[-2] > tokens.rows:
        notes.append(
            f"something was appended to the prompt '{_text(tokens)}' after it was encoded (ConditioningConcat?): "
            "subjects are looked for in that first part only"
        )
    elif tokens.checksum is not None and abs(_checksum(rows) - tokens.checksum) > 1e-6 * tokens.checksum:
        notes.append(
            f"the conditioning was changed after it was encoded (averaged?): its words are taken to be those of '{_text(tokens)}'"
        )
    return tuple(notes)


def check(conditioning: Sequence[Sequence[Any]]) -> PromptTokens:
    """The memory of a conditioning, with remarks on all its entries. Raises ValueError as `check_entry` does."""
    tokens = tokens_of(conditioning)
    notes = [note for rows, extra in conditioning if KEY in extra for note in check_entry(rows, extra[KEY])]
    if tokens is None:
        raise ValueError(UNTAGGED)
    return replace(tokens, notes=tuple(dict.fromkeys((*tokens.notes, *notes))))


def with_subjects(
    conditioning: Sequence[Sequence[Any]],
    phrases: Sequence[SubjectPhrase],
    clip=None,
    text: str | None = None,
) -> list[list[Any]]:
    """The conditioning with these subjects; a conditioning made elsewhere gets its memory from clip and text.

    Clip and text, where both are given, also replace a memory that is there. Raises ValueError if words stay unknown.
    """
    memory = None
    if clip is not None and text is not None:
        clip = with_token_metadata(clip)
        memory = read_prompt(clip, clip.tokenize(text))
    out = []
    for rows, extra in conditioning:
        tokens = memory or extra.get(KEY)
        check_entry(rows, tokens)
        out.append([rows, {**extra, KEY: replace(tokens, subjects=tuple(phrases))}])
    return out


def with_region(
    conditioning: Sequence[Sequence[Any]], phrases: Sequence[SubjectPhrase], region: Region
) -> list[list[Any]]:
    """The conditioning with a region for one subject. Raises ValueError if no entry has that subject, or its words are not known."""
    if len(phrases) != 1 or phrases[0].source == SPACY:
        raise ValueError(
            "A region belongs to one subject: type its words as they stand in the prompt, for example red car, "
            "and use one Subject Region node for each subject."
        )
    out, errors = [], []
    for rows, extra in conditioning:
        check_entry(rows, extra.get(KEY))
        tokens = extra[KEY]
        try:
            resolve(phrases, tokens)
        except ValueError as error:
            errors.append(error)
        else:
            tokens = replace(tokens, regions=(*tokens.regions, (phrases[0], region)))
        out.append([rows, {**extra, KEY: tokens}])
    if len(errors) == len(out):
        raise errors[0]
    return out


def token_table(tokens: PromptTokens) -> str:
    """A table for reading: encoder, piece, column, and the subject that uses it; then the remarks."""
    try:
        subjects, notes = choose_subjects((), tokens)
    except ValueError as error:
        subjects, notes = (), (str(error),)
    lines = [("encoder", "column", "piece", "text", "subject")]
    for encoder in tokens.encoders:
        for piece in encoder.pieces:
            column = (
                "-"
                if piece.column is None
                else f"{piece.column} of {encoder.tensor}"
                if encoder.tensor
                else str(piece.column)
            )
            used = ", ".join(
                _uses(subject, encoder.name, piece.column)
                for subject in subjects
                if piece.column in subject.columns("phrase").get(encoder.name, ())
            )
            lines.append((encoder.name, column, piece.text, encoder.text[piece.start : piece.stop], used))
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    return "\n".join([*table, *(f"note: {note}" for note in dict.fromkeys((*tokens.notes, *notes)))])


def _uses(subject: SubjectColumns, encoder: str, column: int | None) -> str:
    return subject.label if column in subject.noun.get(encoder, ()) else f"{subject.label} (modifier)"
