"""The prompts of single boxes and of the whole image, encoded, with their words and regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy.sd import CLIP
from torch import Tensor

from ...layout.layout import Layout
from ...objectives.lmd_boxes import ImageBox
from ...prompt import PromptTokens
from ...subjects.described import phrases_of
from ...subjects.resolve import resolve
from ..architectures.family import ModelFamily, columns_of
from ..attention.entry import Entry
from ..prompts.conditioning import KEY, tokens_of, with_token_metadata
from ..prompts.entry_tokens import read_entry
from ..prompts.layout_regions import with_layout
from ..prompts.prompt_pair import same_value
from .matched import MatchedConditioning, match_entries

SEPARATOR = " | "


def encoded(clip: CLIP, text: str) -> list[list[Any]]:
    """The conditioning of a text with its token data; the rows are those of ComfyUI's text node."""
    recording = with_token_metadata(clip)
    return recording.encode_from_tokens_scheduled(recording.tokenize(text))


def encoded_with_names(clip: CLIP, text: str, names: Sequence[str]) -> list[list[Any]]:
    """The conditioning of a prompt, to which the names that it lacks are appended."""
    conditioning = encoded(clip, text)
    tokens = tokens_of(conditioning)
    if tokens is None or not tokens.encoders:
        return conditioning
    missing = dict.fromkeys(names[n] for n in phrases_of(names, tokens)[1])
    if not missing:
        return conditioning
    text = SEPARATOR.join([part for part in (text.strip(), *missing) if part])
    return encoded(clip, text)


def placed_prompt(
    family: ModelFamily, conditioning: Sequence[Sequence[Any]], layout: Layout
) -> tuple[list[list[Any]], MatchedConditioning]:
    """The conditioning with the layout's boxes as regions, and their subjects with columns.

    Raises ValueError for a box whose words the prompt does not have.
    """
    placed, _ = with_layout(conditioning, layout)
    tokens = _family_tokens(family, placed[0])
    (matched, *_), _ = match_entries((), [Entry("positive", 0, tokens)])
    return placed, matched


def _family_tokens(family: ModelFamily, entry: Sequence[Any]) -> PromptTokens:
    rows, extra = entry
    tokens, _ = read_entry(rows, extra.get(KEY))
    return columns_of(family, tokens, {**extra, "cross_attn": rows})


def image_box(matched: MatchedConditioning) -> ImageBox:
    """The subject and the region of a prompt that has one box."""
    (label,) = matched.regions
    subject = next(s for s in matched.subjects if s.label == label)
    return ImageBox(subject, matched.regions[label])


def labels_of(matched: MatchedConditioning) -> list[str]:
    """The label of the subject of each box, in the order of the layout."""
    tokens = matched.entry.tokens
    nouns = [resolve((phrase,), tokens)[0].noun for phrase, _ in tokens.regions]
    return [next(s.label for s in matched.subjects if s.noun == noun) for noun in nouns]


def one_batch(prompts: Sequence[list[list[Any]]]) -> list[list[Any]] | None:
    """One conditioning with a row of each prompt, and the token data of the longest; None if they do not fit.

    Prompts fit that have one entry, as many rows, and else differ in tensors of one shape only.
    """
    if len(prompts) == 1:
        return prompts[0]
    if any(len(prompt) != 1 or len(prompt[0][0]) != 1 for prompt in prompts):
        return None
    entries = [prompt[0] for prompt in prompts]
    if len({rows.shape for rows, _ in entries}) > 1:
        return None
    together: dict[str, Any] = {}
    for name in dict.fromkeys(name for _, extra in entries for name in extra):
        if name == KEY:
            continue
        values = [extra.get(name) for _, extra in entries]
        found = values[0] if all(same_value(values[0], v) for v in values) else _joined(values)
        if found is None and values[0] is not None:
            return None
        together[name] = found
    longest = max((extra[KEY] for _, extra in entries), key=_length)
    together[KEY] = replace(longest, checksum=None)
    return [[torch.cat([rows for rows, _ in entries]), together]]


def _joined(values: Sequence[Any]) -> Tensor | None:
    tensors = [v for v in values if isinstance(v, Tensor) and v.ndim > 1 and len(v) == 1]
    if len(tensors) < len(values) or len({t.shape for t in tensors}) > 1:
        return None
    return torch.cat(tensors)


def _length(tokens: PromptTokens) -> tuple[int, ...]:
    """The end of the prompt in each encoder."""
    return tuple(max((end for _, end, _ in e.chunks), default=0) for e in tokens.encoders)
