"""The token data of one conditioning entry: as it was attached, or recognised by the rows, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ...prompt import EncoderTokens, PromptTokens
from ...remark import Remark
from .encoded_prompts import ENCODED, Part, first_text
from .text_nodes import unread_text_nodes

NO_TOKENS = (
    "The positive conditioning has no token data from this pack. Send the CLIP through the node 'Semantic "
    "Nursing' (its clip input and output) before your text node, or write the prompt in 'CLIP Text Encode "
    "(GSN)', or give a conditioning that was made elsewhere to 'Set Subjects' together with clip and text."
)
ENCODES_ITSELF = (
    "The words of the positive conditioning are not known. It was made by {names}: connect the CLIP of "
    "'Semantic Nursing' to it; if it has that one and encodes by itself, put 'Set Subjects' behind it, with "
    "the same clip and text."
)
ALL_ZEROS = (
    "The positive conditioning is all zeros (ConditioningZeroOut?), so the image does not depend on "
    "its text and there is nothing to refine. Connect the prompt itself to the positive input."
)

CHECKSUM_TOLERANCE = 1e-6
"""Relative difference of two checksums of the same rows."""

BETWEEN_PARTS = ".\n"
"""Stands between the texts of two parts, so that no phrase crosses it."""


class AllZeros(ValueError):
    """An entry whose rows are zeros has no words, whatever tokens it carries."""


def checksum(rows: Tensor) -> float:
    """A number by which changed rows are detected.

    Of magnitudes: rows are normalised, so their sums are all alike.
    """
    return float(rows.double().abs().sum())


def read_entry(rows: Tensor | None, tokens: PromptTokens | None) -> tuple[PromptTokens, tuple[str, ...]]:
    """Token data of all parts of an entry of the positive conditioning, and remarks.

    rows: its conditioning [B, N, C]. tokens: what is attached to it, which ComfyUI's Concat and Average keep
    of one prompt only. Raises ValueError for an entry whose tokens are not known, of zeros only, or with
    fewer rows than its prompt made.
    """
    if tokens is None:
        tokens, notes = _recognised(rows)
        return tokens, (*tokens.notes, *notes)
    if not tokens.encoders:
        raise ValueError(
            f"The text tokens of this prompt are not known: {'; '.join(tokens.notes)}. "
            "Use the stock sampler with this model."
        )
    if rows is None:
        return tokens, tokens.notes
    if not rows.count_nonzero():
        raise AllZeros(ALL_ZEROS)
    made = tokens.rows * tokens.rows_per_key
    if rows.shape[-2] < made:
        raise ValueError(
            f"The positive conditioning has {rows.shape[-2]} rows, but its prompt '{first_text(tokens)}' "
            f"made {made}: it was cut or replaced after it was encoded, so its tokens cannot be found. "
            "Encode the prompt again, directly before the sampler, or give it to 'Set Subjects' with the "
            "clip and text that made it."
        )
    joined, notes = _blended(rows[..., :made, :], tokens)
    if rows.shape[-2] > made:
        joined, more = _with_appended(rows, joined, tokens)
        notes += more
    return joined, (*joined.notes, *notes)


def _recognised(rows: Tensor | None) -> tuple[PromptTokens, tuple[str, ...]]:
    """Token data for rows that have none. Raises ValueError that names the nodes they come from."""
    parts: list[Part] = []
    unknown: list[range] = []
    if rows is not None and rows.ndim == 3:
        if not rows.count_nonzero():
            raise AllZeros(ALL_ZEROS)
        parts, unknown = ENCODED.parts(rows)
        if len(parts) == 1 and not unknown and parts[0].prompt.attached:
            parts = []  # the same prompt of a CLIP that is not ours
        similar = None if parts else ENCODED.similar(rows)
        if similar is not None:
            text = first_text(similar.prompt.tokens)
            return similar.prompt.tokens, (f"the weights of some words of '{text}' were changed afterwards",)
    if not parts or rows is None:
        names = unread_text_nodes(())
        raise ValueError(ENCODES_ITSELF.format(names=" and ".join(names)) if names else NO_TOKENS)
    return _joined(parts, rows.shape[-2]), _unread(unknown, parts)


def _with_appended(
    rows: Tensor, first: PromptTokens, attached: PromptTokens
) -> tuple[PromptTokens, tuple[str, ...]]:
    """The token data with those of the prompts that were appended, and remarks on rows of nothing known."""
    made = attached.rows * attached.rows_per_key
    parts, unknown = ENCODED.parts(rows, made)
    same = [part for part in parts if part.prompt.tokens.rows_per_key == first.rows_per_key]
    notes = _unread(unknown, parts, attached)
    joined = join_prompts([(first, 0), *((p.prompt.tokens, p.start // first.rows_per_key) for p in same)])
    # Unknown rows in between keep their place, those at the end have no columns to look at.
    return joined, notes


def _joined(parts: Sequence[Part], n_rows: int) -> PromptTokens:
    per_key = parts[0].prompt.tokens.rows_per_key
    return join_prompts([(part.prompt.tokens, part.start // per_key) for part in parts])


def _unread(
    unknown: Sequence[range], parts: Sequence[Part], attached: PromptTokens | None = None
) -> tuple[str, ...]:
    """A remark on rows that nothing known has made, with the nodes that may have."""
    if not unknown:
        return ()
    read = {part.prompt.node for part in parts} | ENCODED.nodes_of(attached)
    names = unread_text_nodes(read)
    where = ", ".join(f"{rows.start} to {rows.stop - 1}" for rows in unknown)
    who = f"made by {' or '.join(names)}" if names else "appended by a node"
    remark = Remark(
        f"a part of the prompt cannot be read (rows {where}, {who} without a CLIP from Semantic Nursing): "
        "subjects are looked for in the rest",
        line=f"a part of the prompt is not read ({who})",
    )
    return (remark,)


def _blended(rows: Tensor, tokens: PromptTokens) -> tuple[PromptTokens, tuple[str, ...]]:
    """The token data with those of a prompt that was averaged into these rows, and remarks."""
    if tokens.checksum is None:
        return tokens, ()
    if abs(checksum(rows) - tokens.checksum) <= CHECKSUM_TOLERANCE * tokens.checksum:
        return tokens, ()
    other, share = ENCODED.blended_with(rows, tokens)
    text = first_text(tokens)
    if other is not None:
        parts = [(tokens, 0), (_cut(other.tokens, tokens.rows), 0)]
        blended = join_prompts(parts, leading=int(share < 0.5))
        note = Remark(
            f"two prompts are averaged here, '{text}' ({share:.0%}) and '{first_text(other.tokens)}': words "
            "at the same place share their rows",
            line="two prompts are averaged, their words share rows",
        )
        return blended, (note,)
    if share == 1:
        return tokens, ()
    changed = Remark(
        "the conditioning was changed after it was encoded (averaged?): its text tokens are taken to be "
        f"those of '{text}'",
        line="the conditioning was changed after it was encoded",
    )
    return tokens, (changed,)


def join_prompts(parts: Sequence[tuple[PromptTokens, int]], leading: int | None = None) -> PromptTokens:
    """The token data of several prompts as one.

    parts: each with the first column of its rows; the first part has column 0. Parts after the first one have
    no tensors but the conditioning. leading: the part in whose text subjects are found; None = in all.
    """
    if len(parts) == 1 and parts[0][1] == 0:
        return parts[0][0]
    first = parts[0][0]
    moved = [_moved(tokens, start) for tokens, start in parts]
    names = dict.fromkeys(e.name for encoders in moved for e in encoders)
    encoders = []
    for name in names:
        having = [(n, e) for n, encoders_ in enumerate(moved) for e in encoders_ if e.name == name]
        typed = [e.typed or e.text for n, e in having if leading in (None, n)]
        encoders.append(_appended([e for _, e in having], BETWEEN_PARTS.join(typed)))
    prompts = [tokens for tokens, _ in parts]
    return replace(
        first,
        encoders=tuple(encoders),
        rows=max(tokens.rows + start for tokens, start in parts),
        subjects=tuple(dict.fromkeys(s for tokens in prompts for s in tokens.subjects)),
        notes=tuple(dict.fromkeys(note for tokens in prompts for note in tokens.notes)),
        regions=tuple(region for tokens in prompts for region in tokens.regions),
        checksum=None,
    )


def _cut(tokens: PromptTokens, rows: int) -> PromptTokens:
    """The token data of a prompt of which only so many rows are used."""
    if tokens.rows <= rows:
        return tokens
    encoders = []
    for e in tokens.encoders:
        pieces = tuple(
            replace(p, column=None) if p.column is not None and p.column >= rows else p for p in e.pieces
        )
        chunks = tuple((a, min(b, rows - 1), min(c, rows)) for a, b, c in e.chunks if a < rows)
        encoders.append(replace(e, pieces=pieces, chunks=chunks))
    return replace(tokens, encoders=tuple(encoders), rows=rows)


def _moved(tokens: PromptTokens, start: int) -> list[EncoderTokens]:
    """The encoders of a part whose first row is the column `start`."""
    if start == 0:
        return list(tokens.encoders)
    found = []
    for encoder in tokens.encoders:
        kept = encoder.tensor == ""
        pieces = tuple(
            replace(p, column=p.column + start if kept and p.column is not None else None)
            for p in encoder.pieces
        )
        chunks = tuple((a + start, b + start, c + start) for a, b, c in encoder.chunks) if kept else ()
        found.append(replace(encoder, pieces=pieces, chunks=chunks))
    return found


def _appended(encoders: Sequence[EncoderTokens], typed: str) -> EncoderTokens:
    """One encoder's view of several parts, text after text. Chunks in the same rows are one."""
    texts: list[str] = []
    pieces = []
    chunks: dict[int, tuple[int, int, int]] = {}
    for encoder in encoders:
        at = sum(len(text) + len(BETWEEN_PARTS) for text in texts)
        pieces += [replace(p, start=p.start + at, stop=p.stop + at) for p in encoder.pieces]
        texts.append(encoder.text)
        for first, end, stop in encoder.chunks:
            _, other_end, other_stop = chunks.get(first, (first, end, stop))
            chunks[first] = (first, max(end, other_end), max(stop, other_stop))
    return replace(
        encoders[0],
        text=BETWEEN_PARTS.join(texts),
        pieces=tuple(pieces),
        chunks=tuple(chunks[first] for first in sorted(chunks)),
        typed=typed,
    )
