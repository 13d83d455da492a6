"""Recognises encoded prompts by their rows: parts that were appended, averaged or scaled, and conditionings
without token data.

ComfyUI's Concat and Average keep the dictionary of one side, and text nodes that encode by themselves make
one of their own. The rows still tell which prompts they are. What is remembered of each encoding is its
tokens and a few random projections of its rows, which are linear, so they also tell a blend of two prompts.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from comfy_execution.utils import get_executing_context
from torch import Tensor
from torch.nn.functional import normalize

from ...prompt import PromptTokens

PROJECTIONS = 4
SEED = 20_250_101  # of the projections, which are the same in every process
MAX_PROMPTS = 256
MAX_PIECES = 200_000  # of all remembered prompts together
TOLERANCE = 1e-4
HALF_TOLERANCE = 5e-3  # of rows in 16 bits
TINY = 1e-12
ENOUGH_ROWS = 0.6
"""Share of rows that must agree where a text node has given single words another weight."""


def first_text(tokens: PromptTokens) -> str:
    """The prompt, as one of its encoders saw it."""
    return next((e.text for e in tokens.encoders if e.text), "")


@functools.cache
def _projection(width: int) -> Tensor:
    """[C, PROJECTIONS]"""
    made = torch.Generator().manual_seed(SEED)
    return torch.randn(width, PROJECTIONS, generator=made, dtype=torch.float64) / width**0.5


def project(rows: Tensor) -> Tensor:
    """Projections [N, PROJECTIONS] in float64 of the rows [B, N, C] of a conditioning (its first image)."""
    plain = rows.detach()[:1].reshape(-1, rows.shape[-1]).cpu()
    return plain.double() @ _projection(rows.shape[-1])


def tolerance(rows: Tensor) -> float:
    """Relative difference up to which projections of rows in this precision count as equal."""
    return TOLERANCE if rows.element_size() > 2 else HALF_TOLERANCE


@dataclass(frozen=True)
class EncodedPrompt:
    """One encoding: its tokens, the projections of its rows [N, PROJECTIONS], the node that asked for it and
    the queued prompt in which it did.

    attached: every conditioning that was made of it carries its tokens, until another node drops them.
    """

    tokens: PromptTokens
    projected: Tensor
    width: int
    node: str
    queued: str
    attached: bool

    @property
    def n_rows(self) -> int:
        return self.projected.shape[0]


@dataclass(frozen=True)
class Part:
    """A prompt that rows [start, start + prompt.n_rows) of a conditioning were made from.

    exact: no row differs, but for one factor.
    """

    prompt: EncodedPrompt
    start: int
    exact: bool = True

    @property
    def stop(self) -> int:
        return self.start + self.prompt.n_rows


class EncodedPrompts:
    """The prompts encoded last, the oldest first; a prompt that is recognised counts as new."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[bytes, EncodedPrompt] = OrderedDict()
        self._last: dict[str, str] = {}  # node -> the queued prompt in which it last encoded something

    def __iter__(self) -> Iterator[EncodedPrompt]:
        return reversed(self._prompts.values())

    def record(self, rows: Tensor, tokens: PromptTokens, attached: bool) -> None:
        """Remember which tokens these rows [B, N, C] were made from, unless they are not known."""
        if not any(e.chunks for e in tokens.encoders) or rows.ndim != 3 or not rows.count_nonzero():
            return
        context = get_executing_context()
        node, queued = ("", "") if context is None else (str(context.node_id), str(context.prompt_id))
        self._last[node] = queued
        projected = project(rows)
        key = projected.numpy().tobytes()
        attached = attached and (key not in self._prompts or self._prompts[key].attached)
        prompt = EncodedPrompt(tokens, projected, rows.shape[-1], node, queued, attached)
        self._prompts[key] = prompt
        self._prompts.move_to_end(key)
        while len(self._prompts) > MAX_PROMPTS or (len(self._prompts) > 1 and self._pieces() > MAX_PIECES):
            self._prompts.popitem(last=False)

    def parts(self, rows: Tensor, start: int = 0) -> tuple[list[Part], list[range]]:
        """(known parts, unknown ranges) of the rows [B, N, C] from `start` on, in order.

        A range between two known parts that nothing known has made is unknown.
        """
        found: list[Part] = []
        unknown: list[range] = []
        for part in self._candidates(rows):
            if part.start < start:
                continue
            if start < part.start:
                unknown.append(range(start, part.start))
            found.append(Part(self._used(part.prompt), part.start))
            start = part.stop
        if start < rows.shape[-2]:
            unknown.append(range(start, rows.shape[-2]))
        return found, unknown

    def _candidates(self, rows: Tensor) -> list[Part]:
        """Every place of every prompt in these rows, in order; the longer prompt first."""
        prompts = [p for p in self if p.width == rows.shape[-1] and p.n_rows <= rows.shape[-2]]
        if not prompts:
            return []
        projected, within = project(rows), tolerance(rows)
        firsts = torch.stack([p.projected[0] for p in prompts])  # [prompts, PROJECTIONS]
        alike = normalize(projected, dim=-1) @ normalize(firsts, dim=-1).T > 1 - within  # [N, prompts]
        places = [Part(prompts[k], at) for at, k in alike.nonzero().tolist()]
        places = [
            part
            for part in places
            if part.stop <= projected.shape[0]
            and _is_multiple(projected[part.start : part.stop], part.prompt.projected, within)
        ]
        return sorted(places, key=lambda part: (part.start, -part.prompt.n_rows))

    def similar(self, rows: Tensor) -> Part | None:
        """The prompt of as many rows, most of whose rows these are: other weights of words change a few."""
        projected, within = project(rows), tolerance(rows)
        best, share = None, ENOUGH_ROWS
        for prompt in self._of_size(projected.shape[0], rows.shape[-1]):
            if prompt.attached:
                continue
            equal = _same_direction(projected, prompt.projected, within).double().mean().item()
            if equal >= share and (best is None or equal > share):
                best, share = prompt, equal
        return None if best is None else Part(self._used(best), 0, exact=False)

    def blended_with(self, rows: Tensor, first: PromptTokens) -> tuple[EncodedPrompt | None, float]:
        """The other prompt of a ConditioningAverage, and the share of `first` in it.

        rows: those that `first` made, averaged. (None, 1) for a conditioning that was only scaled, (None, 0)
        if it is no blend of two known prompts.
        """
        projected, within = project(rows), tolerance(rows)
        same = [p for p in self._of_size(*projected.shape[:1], rows.shape[-1]) if _same_text(p.tokens, first)]
        if any(_is_multiple(projected, own.projected, within) for own in same):
            return None, 1.0
        for own in same:
            for other in self:
                if other.width != own.width or other is own:
                    continue
                padded = torch.zeros_like(own.projected)
                common = min(other.n_rows, own.n_rows)
                padded[:common] = other.projected[:common]
                difference = own.projected - padded
                share = ((projected - padded) * difference).sum() / difference.square().sum().clamp(min=TINY)
                if _close(projected, padded + share * difference, within):
                    return self._used(other), float(share)
        return None, 0.0

    def texts_in(self, rows: Tensor) -> list[str]:
        """The texts that these rows [B, N, C] were made from, each once; those that are known."""
        parts, _ = self.parts(rows)
        return list(dict.fromkeys(first_text(part.prompt.tokens) for part in parts))

    def others(self, read: Collection[PromptTokens]) -> list[PromptTokens]:
        """The prompts that the workflow's nodes have now, but for those in `read`. Outside of one: none."""
        now = [p for p in self if p.node and self._last[p.node] == p.queued]
        return [p.tokens for p in now if not any(_same_text(p.tokens, one) for one in read)]

    def nodes_of(self, tokens: PromptTokens | None) -> set[str]:
        """The ids of the nodes that encoded this prompt, as far as known."""
        if tokens is None:
            return set()
        return {prompt.node for prompt in self if _same_text(prompt.tokens, tokens)}

    def _of_size(self, n_rows: int, width: int) -> Iterator[EncodedPrompt]:
        return (p for p in self if p.n_rows == n_rows and p.width == width)

    def _used(self, prompt: EncodedPrompt) -> EncodedPrompt:
        self._prompts.move_to_end(prompt.projected.numpy().tobytes())
        return prompt

    def _pieces(self) -> int:
        return sum(len(e.pieces) for p in self._prompts.values() for e in p.tokens.encoders)


ENCODED = EncodedPrompts()
"""What this process has encoded through a CLIP of ours: the pack's only state outside of objects."""


def _same_text(a: PromptTokens, b: PromptTokens) -> bool:
    return a.encoders == b.encoders and a.rows == b.rows


def _close(a: Tensor, b: Tensor, within: float) -> bool:
    return bool((a - b).norm() <= within * a.norm().clamp(min=TINY))


def _is_multiple(a: Tensor, b: Tensor, within: float) -> bool:
    """Whether a is b times one positive factor."""
    factor = (a * b).sum() / b.square().sum().clamp(min=TINY)
    return bool(factor > 0) and _close(a, factor * b, within)


def _same_direction(a: Tensor, b: Tensor, within: float) -> Tensor:
    """[N]: whether each row of a is that of b times a factor of its own."""
    factor = (a * b).sum(-1, keepdim=True) / b.square().sum(-1, keepdim=True).clamp(min=TINY)
    return (a - factor * b).norm(dim=-1) <= within * a.norm(dim=-1).clamp(min=TINY)
