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
from .encoder_trace import is_chunks
from .token_alignment import Chunks, read_prompt

Conditioning = Sequence[Sequence[Any]]
"""ComfyUI's CONDITIONING: [rows [B, N, C], dictionary] for each entry."""

KEY = "gsn"

NO_TOKENS = (
    "The positive conditioning has no token data from this pack. Send the CLIP through the node 'Semantic "
    "Nursing' (its clip input and output) before your text node, or write the prompt in 'CLIP Text Encode "
    "(GSN)', or give a conditioning that was made elsewhere to 'Set Subjects' together with clip and text."
)

CHECKSUM_TOLERANCE = 1e-6
"""Relative difference of two checksums of the same rows."""


if TYPE_CHECKING:
    _CLIP = CLIP
else:
    _CLIP = object  # the class of the CLIP, which may be another pack's, comes after the mixin


class TokenRecordingCLIP(_CLIP):
    """Mixed into the class of a CLIP: the same tokens and encodings, with token metadata in addition."""

    gsn_subjects: tuple[SubjectPhrase, ...] = ()

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

    def encode_from_tokens_scheduled(self, tokens, unprojected=False, add_dict=None, *args, **kwargs):
        metadata = replace(read_prompt(self, tokens), subjects=self.gsn_subjects)
        added = {**(add_dict or {}), KEY: metadata}
        encoded = super().encode_from_tokens_scheduled(tokens, unprojected, added, *args, **kwargs)
        for rows, extra in encoded:
            extra[KEY] = replace(metadata, checksum=_checksum(rows))
        return encoded


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


def _checksum(rows: Tensor) -> float:
    """A number by which changed rows are detected.

    Of magnitudes: rows are normalised, so their sums are all alike.
    """
    return float(rows.double().abs().sum())


def tokens_of(conditioning: Conditioning) -> PromptTokens | None:
    """Token metadata of the first entry that has it; None if none does.

    A note says so if entries with different prompts were combined.
    """
    known = [extra[KEY] for _, extra in conditioning if KEY in extra]
    if not known:
        return None
    texts = list(dict.fromkeys(_text(tokens) for tokens in known))
    if len(texts) > 1:
        note = f"{len(texts)} prompts are combined here; this is the first, '{texts[0]}'"
        return replace(known[0], notes=(*known[0].notes, note))
    return known[0]


def _text(tokens: PromptTokens) -> str:
    return next((e.text for e in tokens.encoders if e.text), "")


def check_entry(rows: Tensor | None, tokens: PromptTokens | None) -> tuple[str, ...]:
    """Check one entry of the positive conditioning: its rows [B, N, C] and its token metadata.

    Returns remarks.

    Raises ValueError for an entry without metadata, of zeros only, or with fewer rows than its prompt made.
    """
    if tokens is None:
        raise ValueError(NO_TOKENS)
    if not tokens.encoders:
        raise ValueError(
            f"The text tokens of this prompt are not known: {'; '.join(tokens.notes)}. "
            "Use the stock sampler with this model."
        )
    if rows is None:
        return tokens.notes
    if not rows.count_nonzero():
        raise ValueError(
            "The positive conditioning is all zeros (ConditioningZeroOut?), so the image does not depend on "
            "its text and there is nothing to refine. Connect the prompt itself to the positive input."
        )
    if rows.shape[-2] < tokens.rows:
        raise ValueError(
            f"The positive conditioning has {rows.shape[-2]} rows, but its prompt '{_text(tokens)}' made "
            f"{tokens.rows}: it was cut or replaced after it was encoded, so its tokens cannot be found. "
            "Encode the prompt again, directly before the sampler, or give it to 'Set Subjects' with the "
            "clip and text that made it."
        )
    return tokens.notes + _changes(rows, tokens)


def _changes(rows: Tensor, tokens: PromptTokens) -> tuple[str, ...]:
    """Remarks on rows that are not those that the prompt made."""
    if rows.shape[-2] > tokens.rows:
        return (
            f"something was appended to the prompt '{_text(tokens)}' after it was encoded "
            "(ConditioningConcat?): subjects are looked for in that first part only",
        )
    if tokens.checksum is None:
        return ()
    changed = abs(_checksum(rows) - tokens.checksum) > CHECKSUM_TOLERANCE * tokens.checksum
    if not changed:
        return ()
    return (
        "the conditioning was changed after it was encoded (averaged?): its text tokens are taken to be "
        f"those of '{_text(tokens)}'",
    )


def check(conditioning: Conditioning) -> PromptTokens:
    """Token metadata of a conditioning, with remarks on all its entries.

    Raises ValueError as `check_entry` does.
    """
    tokens = tokens_of(conditioning)
    notes = [note for rows, extra in conditioning if KEY in extra for note in check_entry(rows, extra[KEY])]
    if tokens is None:
        raise ValueError(NO_TOKENS)
    return replace(tokens, notes=tuple(dict.fromkeys((*tokens.notes, *notes))))


def with_subjects(
    conditioning: Conditioning,
    phrases: Sequence[SubjectPhrase],
    clip: CLIP | None = None,
    text: str | None = None,
) -> list[list[Any]]:
    """The conditioning with these subjects.

    Clip and text, where both are given, make its token metadata, and replace any that is there. Raises
    ValueError if the text tokens are not known.
    """
    made = None
    if clip is not None and text is not None:
        clip = with_token_metadata(clip)
        made = read_prompt(clip, clip.tokenize(text))
    out = []
    for rows, extra in conditioning:
        tokens = made or extra.get(KEY)
        check_entry(rows, tokens)
        out.append([rows, {**extra, KEY: replace(tokens, subjects=tuple(phrases))}])
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
