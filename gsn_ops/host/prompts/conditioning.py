"""A CLIP that attaches token metadata to its encodings, and reading that metadata from a conditioning.

The metadata is `PromptTokens` under the key `gsn` of each conditioning entry; everything else is bit for bit
ComfyUI's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.sd import CLIP
from torch import Tensor

from ...prompt import EncoderTokens, Piece, PromptTokens, SubjectColumns, SubjectPhrase
from ...regions import Region
from ...subjects.resolve import choose_subjects, resolve
from ...subjects.syntax import SPACY
from .encoded_prompts import ENCODED
from .encoder_trace import is_chunks
from .entry_tokens import checksum, read_entry
from .given_text import GivenText
from .token_alignment import Chunks, read_prompt

Conditioning = Sequence[Sequence[Any]]
"""ComfyUI's CONDITIONING: [rows [B, N, C], dictionary] for each entry."""

KEY = "gsn"

if TYPE_CHECKING:
    _CLIP = CLIP
else:
    _CLIP = object  # the class of the CLIP, which may be another pack's, comes after the mixin


class TokenRecordingCLIP(_CLIP):
    """Mixed into the class of a CLIP: the same tokens and encodings, with token metadata in addition."""

    gsn_subjects: tuple[SubjectPhrase, ...] = ()
    gsn_attaches = False  # while an encoding runs whose token data will be attached to its conditioning

    def clone(self, *args, **kwargs):
        clone = super().clone(*args, **kwargs)
        clone.__class__ = type(self)
        clone.gsn_subjects = self.gsn_subjects
        return clone

    def tokenize(self, text, *args, **kwargs):
        made = super().tokenize(text, *args, **kwargs)
        if not (isinstance(text, str) and isinstance(made, dict)):
            return made  # of a pack with its own tokenizer, which may take a list of texts
        tokens = dict(made)
        embeddings = _embeddings(super().tokenize, text)
        for key, chunks in tokens.items():
            if is_chunks(chunks):
                found = [(name, sizes[key]) for name, sizes in embeddings if sizes.get(key)]
                tokens[key] = Chunks(chunks, text, kwargs, found)
        return tokens

    def encode_from_tokens_scheduled(self, tokens, *args, **kwargs):
        self.gsn_attaches = True
        try:
            encoded = super().encode_from_tokens_scheduled(tokens, *args, **kwargs)
        finally:
            self.gsn_attaches = False
        # Now the text encoder has the patches that it encoded with.
        made = read_prompt(self, tokens)
        for rows, extra in encoded:
            extra[KEY] = self.gsn_record(rows, made, attached=True)
        return encoded

    def encode_from_tokens(self, tokens, *args, **kwargs):
        encoded = super().encode_from_tokens(tokens, *args, **kwargs)
        rows = encoded.get("cond") if isinstance(encoded, dict) else encoded
        rows = rows[0] if isinstance(rows, tuple) else rows
        if isinstance(rows, Tensor) and not self.gsn_attaches and _has_chunks(tokens):
            self.gsn_record(rows, read_prompt(self, tokens), attached=False)
        return encoded

    def gsn_record(self, rows: Tensor, made: PromptTokens, attached: bool) -> PromptTokens:
        """The token data of these rows, which are recognised by them from now on."""
        tokens = replace(made, subjects=self.gsn_subjects, checksum=checksum(rows))
        ENCODED.record(rows, tokens, attached)
        return tokens


def with_token_metadata(clip: CLIP, subjects: Sequence[SubjectPhrase] = ()) -> CLIP:
    """A clone of the CLIP whose encodings carry `PromptTokens` with these subjects.

    It shares the text encoder's weights, and survives ComfyUI's clip skip, LoRA and hook nodes, which clone
    it.
    """
    kind = type(clip)
    clone = clip.clone()
    if not issubclass(kind, TokenRecordingCLIP):
        kind = type(f"TokenRecording{kind.__name__}", (TokenRecordingCLIP, kind), {})
    clone.__class__ = kind
    clone.gsn_subjects = tuple(subjects)
    return clone


def _has_chunks(tokens: object) -> bool:
    return isinstance(tokens, dict) and any(map(is_chunks, tokens.values()))


def _embeddings(tokenize: Callable[[str], dict], text: str) -> list[tuple[str, dict[str, int]]]:
    """(name as typed, {encoder: number of vectors}) of each textual-inversion embedding.

    Of those in the prompt that have a file.
    """
    found = []
    for name in re.findall(r"(?:^|(?<=[\s(]))embedding:([^\s()<\[]+)", text):
        # "a," and "(a:1.2)" may be names with a comma or a colon, or not.
        for candidate in dict.fromkeys((name, name.rstrip(","), re.sub(r":[\d.]*$", "", name))):
            alone = tokenize(f"embedding:{candidate}")
            sizes = {key: _vectors(chunks) for key, chunks in alone.items() if is_chunks(chunks)}
            if any(sizes.values()):
                found.append((f"embedding:{candidate}", sizes))
                break
    return found


def _vectors(chunks: list) -> int:
    return sum(torch.is_tensor(entry[0]) for chunk in chunks for entry in chunk)


def tokens_of(conditioning: Conditioning) -> PromptTokens | None:
    """Token data of the first entry that has some; None if none does."""
    return next((extra[KEY] for _, extra in conditioning if KEY in extra), None)


def read(conditioning: Conditioning) -> list[PromptTokens]:
    """Token data of every entry, with all remarks in its notes. Raises ValueError as `read_entry` does."""
    found = []
    for rows, extra in conditioning:
        tokens, notes = read_entry(rows, extra.get(KEY))
        found.append(replace(tokens, notes=tuple(dict.fromkeys(notes))))
    return found


def with_subjects(
    conditioning: Conditioning,
    phrases: Sequence[SubjectPhrase],
    clip: CLIP | None = None,
    text: str | None = None,
) -> list[list[Any]]:
    """The conditioning with these subjects.

    Clip and text, where both are given, make its token metadata, and replace any that is there: each entry
    gets the tokens of that reading of the text (BREAK, AND, [a:b:0.5]) which its rows are. Raises ValueError
    if the text tokens are not known, or the rows are not those of the text.
    """
    given = None
    if clip is not None and text is not None:
        given = GivenText(with_token_metadata(clip), text, KEY)
    out = []
    for rows, extra in conditioning:
        tokens, notes = read_entry(rows, extra.get(KEY)) if given is None else given.tokens_of(rows)
        out.append([rows, {**extra, KEY: replace(tokens, subjects=tuple(phrases), notes=notes)}])
    return out


def with_region(
    conditioning: Conditioning, phrases: Sequence[SubjectPhrase], region: Region
) -> list[list[Any]]:
    """The conditioning with a region for one subject.

    Raises ValueError if no entry has that subject, or its text tokens are not known.
    """
    if len(phrases) != 1 or phrases[0].source == SPACY:
        raise ValueError(
            "A region belongs to one subject: type its words as they stand in the prompt, for example red "
            "car, and use one Subject Region node for each subject."
        )
    phrases = (replace(phrases[0], optional=False),)
    out, errors = [], []
    for rows, extra in conditioning:
        tokens, _ = read_entry(rows, extra.get(KEY))
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
    """A table to read: encoder, column, piece, text, and the subject that uses it; then the remarks."""
    try:
        subjects, notes = choose_subjects((), tokens)
    except ValueError as error:
        subjects, notes = (), (str(error),)
    lines = [("encoder", "column", "piece", "text", "subject")]
    for encoder in tokens.encoders:
        uses = _uses(encoder.name, subjects)
        lines += [_table_line(encoder, piece, uses) for piece in encoder.pieces]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    return "\n".join([*table, *(f"note: {note}" for note in dict.fromkeys((*tokens.notes, *notes)))])


def _uses(encoder: str, subjects: Sequence[SubjectColumns]) -> dict[int | None, list[str]]:
    """{column: how each subject uses it} for one encoder."""
    uses: dict[int | None, list[str]] = {}
    for subject in subjects:
        nouns = subject.noun.get(encoder, ())
        for column in subject.columns("phrase").get(encoder, ()):
            uses.setdefault(column, []).append(
                subject.label if column in nouns else f"{subject.label} (modifier)"
            )
    return uses


def _table_line(
    encoder: EncoderTokens, piece: Piece, uses: Mapping[int | None, Sequence[str]]
) -> tuple[str, str, str, str, str]:
    throw_exception_if_processing_interrupted()
    column = "-" if piece.column is None else str(piece.column)
    if piece.column is not None and encoder.tensor:
        column += f" of {encoder.tensor}"
    used = ", ".join(uses.get(piece.column, ()))
    return encoder.name, column, piece.text, encoder.text[piece.start : piece.stop], used
