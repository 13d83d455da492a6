"""Two prompts as one conditioning of a batch of two, and a latent of pairs of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...modulate.prompt_alignment import words_of
from ...prompt import PromptTokens
from ..architectures.family import ModelFamily
from .conditioning import KEY, Conditioning
from .entry_tokens import read_entry

PAIR_KEY = "gsn_pair"
"""Of a conditioning entry that is a pair: its `PromptPair`."""

OTHER_WORDS = (
    "The positive conditioning is the pair of prompts of Prompt-to-Prompt, whose images have different "
    "words, so other nodes of this pack cannot act on it. Bypass them; weights of words belong into the "
    "weights field of Prompt-to-Prompt."
)

ONE_PROMPT = (
    "Prompt-to-Prompt: {model} takes the tokens of one prompt at a time ('{name}'), so two prompts cannot be "
    "in one batch. Use another model."
)


@dataclass(frozen=True)
class PromptPair:
    """Token data of both prompts of a conditioning entry. problem: why they are not known, "" = they are.

    rows: of the source's and the target's own conditioning, before the shorter one was repeated.
    """

    source: PromptTokens
    target: PromptTokens
    rows: tuple[int, int]
    problem: str = ""


def paired_conditioning(family: ModelFamily, source: Conditioning, target: Conditioning) -> list[list[Any]]:
    """A conditioning of a batch of two, source first, for each entry of both.

    Raises ValueError, with the cure, for prompts that cannot be in one batch.
    """
    if len(source) != len(target):
        raise ValueError(
            f"Prompt-to-Prompt: source is {_counted(len(source))} and target {_counted(len(target))}: "
            "connect one prompt to each, and combine other prompts behind this node."
        )
    return [_paired(family, one, two) for one, two in zip(source, target)]


def is_same(source: Conditioning, target: Conditioning) -> bool:
    """Whether both prompts have the same rows, so that there is nothing to edit."""
    return len(source) == len(target) and all(
        one.shape == two.shape and torch.equal(one, two) for (one, _), (two, _) in zip(source, target)
    )


def paired_latent(latent: Mapping[str, Any]) -> dict[str, Any]:
    """The latent with each image twice, source and target next to each other, which get the same noise.

    Raises ValueError for a latent of several parts.
    """
    samples = latent["samples"]
    if not isinstance(samples, Tensor) or getattr(samples, "is_nested", False):
        raise ValueError(
            "Prompt-to-Prompt: this latent has several parts (image and sound, say). Connect one of images."
        )
    n = len(samples)
    numbers = list(latent.get("batch_index") or range(n))
    paired = {**latent, "samples": samples.repeat_interleave(2, 0)}
    paired["batch_index"] = [number for number in numbers[:n] for _ in range(2)]
    mask = latent.get("noise_mask")
    if isinstance(mask, Tensor) and len(mask) == n > 1:
        paired["noise_mask"] = mask.repeat_interleave(2, 0)
    return paired


def _counted(n: int) -> str:
    return "1 prompt" if n == 1 else f"{n} combined prompts"


def _paired(family: ModelFamily, source: Any, target: Any) -> list[Any]:
    (one, also), (two, more) = source, target
    tokens, problem = _tokens(source, target)
    for name, rows in (("source", one), ("target", two)):
        if len(rows) != 1:
            raise ValueError(
                f"Prompt-to-Prompt: {name} has a batch of {len(rows)} texts: connect one prompt."
            )
    if one.shape[-1] != two.shape[-1]:
        raise ValueError(
            "Prompt-to-Prompt: source and target were made by different text encoders "
            f"({one.shape[-1]} and {two.shape[-1]} channels): use the CLIP of this model for both."
        )
    n = (one.shape[1], two.shape[1])
    if n[0] != n[1] and not family.cross:
        raise ValueError(_unequal_rows(family, n, tokens))
    total = math.lcm(*n)  # repeated rows change nothing in cross-attention
    rows = torch.cat([rows.repeat(1, total // rows.shape[1], 1) for rows in (one, two.to(one))])
    options = _merged(family, also, more)
    return [rows, {**options, PAIR_KEY: PromptPair(*tokens, n, problem)}]


def _tokens(*prompts: Any) -> tuple[tuple[PromptTokens, PromptTokens], str]:
    """Token data of both prompts, and why those of one are not known."""
    found, problem = [], ""
    for name, (rows, extra) in zip(("source", "target"), prompts):
        try:
            tokens, _ = read_entry(rows, extra.get(KEY))
        except ValueError as error:
            problem = problem or f"Prompt-to-Prompt, {name}: {error}"
            tokens = PromptTokens((), rows.shape[1])
        found.append(tokens)
    return (found[0], found[1]), problem


def _merged(family: ModelFamily, source: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    """What else is in both entries: tensors that differ one after the other, all else once.

    Raises ValueError for what is not in both, or differs and cannot be in a batch.
    """
    merged = {}
    for name in dict.fromkeys((*source, *target)):
        if name in (KEY, PAIR_KEY):
            continue
        one, two = source.get(name), target.get(name)
        if isinstance(one, Tensor) and isinstance(two, Tensor):
            joined = _joined(one, two)
        else:
            joined = one if same_value(one, two) else None
        if joined is None and isinstance(one, Tensor) and one.ndim == 1:
            raise ValueError(ONE_PROMPT.format(model=family.name, name=name))
        if joined is None and not (one is None and two is None):
            raise ValueError(
                f"Prompt-to-Prompt: '{name}' of source and target differs. What other nodes add to a "
                "conditioning (ControlNet, area, guidance) belongs behind this node, on its positive output."
            )
        merged[name] = joined
    return merged


def _joined(one: Tensor, two: Tensor) -> Tensor | None:
    """Both in one batch; None if they do not fit."""
    if one.shape == two.shape and torch.equal(one, two):
        return one  # ComfyUI repeats it
    if one.ndim < 2 or one.shape != two.shape or len(one) != 1:
        return None
    return torch.cat((one, two.to(one)))


def same_value(one: Any, two: Any) -> bool:
    """Whether two values are the same object or equal plain data, also in lists."""
    if one is two:
        return True
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(same_value, one, two))
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and torch.equal(one, two)
    return type(one) is type(two) and not isinstance(one, dict) and bool(one == two)


def _unequal_rows(family: ModelFamily, n: tuple[int, int], tokens: tuple[PromptTokens, PromptTokens]) -> str:
    """Why prompts of different lengths do not fit in one batch of this model, and what to do."""
    lists = [f"{name}, {k} rows{_listed(t)}" for name, k, t in zip(("source", "target"), n, tokens)]
    return (
        f"Prompt-to-Prompt: on {family.name} both prompts must become as many rows of text, since they run "
        f"in one batch. {'; '.join(lists)}. Write them with as many tokens: exchange words one for one, or "
        "add filler words to the shorter prompt."
    )


def _listed(tokens: PromptTokens) -> str:
    words = next((words_of(e) for e in tokens.encoders if e.chunks), [])
    shown = ", ".join(f"{word.columns[0]} {word.text}" for word in words)
    return f" ({shown})" if shown else ""
