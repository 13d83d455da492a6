"""Prompt-to-Prompt in one sampler call: what is edited at which step, and where the images are blended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...maps import block_range
from ...modulate.blend_maps import BlendMaps
from ...modulate.edits import Edit, FlippedNegative, WordBoost, WordWeights
from ...modulate.local_blend import blend
from ...modulate.pair_edit import PromptToPrompt
from ...modulate.prompt_alignment import Alignment, aligned
from ...modulate.prompt_to_prompt import MapEdit
from ...prompt import PromptTokens, SubjectColumns
from ...schedule import WINDOW_SLACK, Schedule
from ...subjects.resolve import resolve_with_notes
from ..architectures.family import ModelFamily, columns_of
from ..attention.entry import Entry
from ..attention.paired import PairEdit
from ..prompts.prompt_pair import OTHER_WORDS, PAIR_KEY, PromptPair
from .edit_of_run import EditOfRun

NO_PAIR = (
    "Prompt-to-Prompt: the sampler's positive conditioning is not the pair of prompts. Connect the positive "
    "output of the Prompt-to-Prompt node to it, and its latent output to the sampler's latent."
)
ODD_BATCH = (
    "Prompt-to-Prompt: the sampler's latent has {n}, which is no number of pairs. Connect the latent output "
    "of the Prompt-to-Prompt node to the sampler."
)
ROWS_CHANGED = (
    "Prompt-to-Prompt: its pair of prompts has {found} rows, but the prompts made {made}: a node behind it "
    "has joined or cut the text. Join or cut prompts before Prompt-to-Prompt."
)
SHOWN = 4  # changed words in the status line
OF_WORDS = (WordWeights, WordBoost, FlippedNegative)
"""Edits of one prompt's words, or of its rows."""


def pair_edit(edits: Sequence[Edit]) -> PromptToPrompt | None:
    """The Prompt-to-Prompt among the edits of a run.

    Raises ValueError if there are two, or beside edits of words, which differ between the images.
    """
    pairs = [edit for edit in edits if isinstance(edit, PromptToPrompt)]
    if len(pairs) > 1:
        raise ValueError("Two Prompt-to-Prompt nodes are in the way of this model: remove one of them.")
    if pairs and any(isinstance(edit, OF_WORDS) for edit in edits):
        raise ValueError(OTHER_WORDS)
    return pairs[0] if pairs else None


def pair_entries(guider: Any, family: ModelFamily) -> tuple[Entry, ...]:
    """The conditioning entries that are pairs, with the columns of this family.

    Raises ValueError if there is none, or one is no longer what the node made.
    """
    entries = []
    for name, conds in guider.conds.items():
        for index, cond in enumerate(conds or ()):
            if PAIR_KEY in cond:
                pair = cond[PAIR_KEY]
                found, expected = cond["cross_attn"].shape[1], math.lcm(*pair.rows)
                if found != expected:
                    raise ValueError(ROWS_CHANGED.format(found=found, made=expected))
                source, target = (columns_of(family, t, cond) for t in (pair.source, pair.target))
                entries.append(Entry(name, index, target, source))
    if not entries:
        raise ValueError(NO_PAIR)
    return tuple(entries)


def check_batch(noise: Tensor) -> None:
    """Raises ValueError for a latent that is no batch of pairs."""
    if len(noise) % 2:
        images = "1 image" if len(noise) == 1 else f"{len(noise)} images"
        raise ValueError(ODD_BATCH.format(n=images))


def rows_of_both(conds: dict[str, list[dict]], batch: int) -> None:
    """Prompts with rows of their own for each image (Null-Text Inversion of a batch) get them for source and
    target: ComfyUI would repeat the whole list, and give images those of others. Changes conds of this run.
    """
    for name, given in conds.items():
        if given:
            conds[name] = [cond if PAIR_KEY in cond else _for_pairs(cond, batch) for cond in given]


def _for_pairs(cond: dict, batch: int) -> dict:
    rows = cond.get("cross_attn")
    n = len(rows) if isinstance(rows, Tensor) else 0
    if n < 2 or 2 * n != batch:
        return cond
    of_images = {k: v for k, v in cond.items() if isinstance(v, Tensor) and v.ndim > 1 and len(v) == n}
    return {**cond, **{k: v.repeat_interleave(2, 0) for k, v in of_images.items()}}


@dataclass(frozen=True)
class _Words:
    """Columns of one entry: weights and shares of the target's words, blend words of both prompts."""

    weights: dict[int, float]
    shares: dict[int, float]
    blend: tuple[tuple[int, ...], tuple[int, ...]]
    labels: tuple[SubjectColumns, ...]


class PairOfRun(EditOfRun):
    """A pair of prompts. Raises ValueError before the run for words that are in neither prompt."""

    outside = "no sampling step lies in its shares: raise cross_share or self_share"

    def __init__(
        self,
        edit: PromptToPrompt,
        entries: Sequence[Entry],
        schedule: Schedule,
        family: ModelFamily,
        pairs: Sequence[PromptPair],
    ):
        super().__init__(edit, entries, schedule, family)
        self.settings, self.family, self.schedule = edit, family, schedule
        self.exact = family.cross and not family.image_keys
        self._check_tokens(pairs)
        self.words = [self._find(entry) for entry in entries]
        self.alignments = [self._align(entry, pair) for entry, pair in zip(entries, pairs)]
        self.maps = BlendMaps()
        self.mask: Tensor | None = None  # of the last step, bool [b, H, W]
        self.step = 0
        self.steps = tuple(k for k in range(schedule.n_steps) if self._acts(k))

    def _check_tokens(self, pairs: Sequence[PromptPair]) -> None:
        """Raises ValueError if words are needed and not known."""
        s = self.settings
        needed = s.weights or s.word_shares or s.blend or (self.exact and s.cross_share > 0)
        for pair in pairs:
            if pair.problem and needed:
                raise ValueError(pair.problem)

    def _align(self, entry: Entry, pair: PromptPair) -> Alignment | None:
        """How the target's columns take the source's; None where maps are not edited."""
        if not self.exact or not (self.settings.cross_share or self.settings.word_shares):
            return None
        source, target = (replace(t, rows=self._own_rows(t, n)) for t, n in zip(_both(entry), pair.rows))
        return aligned(source, target, self.settings.kind, self.settings.published)

    def _own_rows(self, tokens: PromptTokens, rows: int) -> int:
        """Keys of a prompt: its own rows, before they were repeated, unless there are further tensors."""
        return rows if self.family.text == ("",) else tokens.rows

    def _find(self, entry: Entry) -> _Words:
        s = self.settings
        weighted = [phrase for phrase, _ in (*s.weights, *s.word_shares)]
        found, notes = resolve_with_notes(weighted, entry.tokens)
        self.notes += notes
        by_phrase = {subject.phrase: subject for subject in found}
        weights, shares = (
            {c: value for p, value in given if p in by_phrase for c in _columns(by_phrase[p])}
            for given in (s.weights, s.word_shares)
        )
        sides, labels = self._blend_words(entry)
        return _Words(weights, shares, sides, tuple({x.label: x for x in (*labels, *found)}.values()))

    def _blend_words(
        self, entry: Entry
    ) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[SubjectColumns, ...]]:
        """Columns of the blend words in the source and the target, and these words."""
        sides: tuple[list[int], list[int]] = ([], [])
        labels = []
        for phrase in self.settings.blend:
            errors = []
            for side, tokens in zip(sides, _both(entry)):
                try:
                    (subject,), _ = resolve_with_notes([replace(phrase, optional=False)], tokens)
                except ValueError as error:
                    errors.append(str(error))
                else:
                    side += _columns(subject)
                    labels.append(subject)
            if len(errors) == 2 and not phrase.optional:
                raise ValueError(f"local_blend: in neither prompt. Source: {errors[0]} Target: {errors[1]}")
        return (tuple(sides[0]), tuple(sides[1])), tuple(labels)

    def subjects(self, entry: int) -> tuple[SubjectColumns, ...]:
        return self.words[entry].labels

    # Steps

    def _within(self, share: float, step: int) -> bool:
        return step < share * self.schedule.n_steps

    def _follows(self, step: int) -> bool:
        unet = self.exact and bool(self.family.levels)
        return self._within(self.settings.self_share_on(unet), step)

    def _acts(self, step: int) -> bool:
        shares = [self.settings.cross_share, *(s for own in self.words for s in own.shares.values())]
        edits = self.exact or any(w != 1 for own in self.words for w in own.weights.values())
        in_cross = edits and any(self._within(share, step) for share in shares)
        return in_cross or self._follows(step) or bool(self.settings.blend)

    def is_due(self, sigma: Tensor) -> bool:
        """Whether a pass at this noise level is edited; the step is that of this level."""
        level = float(sigma.max()) * (1 - WINDOW_SLACK)
        self.step = max(sum(s > level for s in self.schedule.sigmas[:-1]) - 1, 0)
        return self._acts(self.step)

    def pair(self, entry: int) -> PairEdit:
        """What changes in the attention to this entry at this step."""
        s, words = self.settings, self.words[entry]
        return PairEdit(
            follows=self._follows(self.step),
            maps=self._map_edit(self.alignments[entry], words),
            weights=self._joint_weights(words),
            blend=words.blend,
            keep=self.maps.keep if any(words.blend) else None,
            levels=self.family.levels,
            blocks=block_range(s.blocks),
        )

    def _map_edit(self, alignment: Alignment | None, words: _Words) -> MapEdit | None:
        """The edit of the maps at this step; None if there is none."""
        if alignment is None:
            return None
        n = alignment.take.shape[1]
        shares, factors = torch.full((n,), self.settings.cross_share), torch.ones(n)
        for columns, values in ((shares, words.shares), (factors, words.weights)):
            for column, value in values.items():
                columns[column] = value
        share = torch.tensor([float(self._within(float(x), self.step)) for x in shares.tolist()])
        if not share.any():
            return None
        return MapEdit(alignment.take, alignment.matched, factors, share, self.settings.published)

    def _joint_weights(self, words: _Words) -> tuple[tuple[int, float, float], ...]:
        """(column, a, g) of the target's weighted words at this step, where maps are not edited."""
        if self.exact:
            return ()
        made = []
        for column, weight in words.weights.items():
            share = words.shares.get(column, self.settings.cross_share)
            if weight != 1 and self._within(share, self.step):
                made.append((column, weight, 1.0) if weight >= 0 else (column, 1.0, weight))
        return tuple(made)

    # Blending

    @property
    def blends(self) -> bool:
        """Whether images are kept outside a mask."""
        return any(any(own.blend) for own in self.words)

    def predict_noise(self, executor, x: Tensor, sigma: Tensor, *args, **kwargs) -> Tensor:
        """ComfyUI's PREDICT_NOISE wrapper: outside the mask, the target is the source, before and after."""
        x = self._blended(x, sigma)
        out = executor(x, sigma, *args, **kwargs)
        self.maps.end(len(x) // 2)
        return self._blended(out, sigma)

    def _blended(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.is_due(sigma)
        if self.step < self.settings.blend_start * self.schedule.n_steps:
            return x
        mask = self.maps.mask((x.shape[-2], x.shape[-1]), self.settings.threshold)
        if mask is None:
            return x
        self.mask = mask
        return self.outside_kept(x)

    def outside_kept(self, x: Tensor) -> Tensor:
        """The images with the targets' own content inside the last mask only."""
        if self.mask is None:
            return x
        mask = self.mask.unsqueeze(1) if x.ndim == 5 else self.mask
        out = x.clone()
        out[1::2] = blend(x[0::2], x[1::2], mask.to(x.device))
        return out

    # Report

    def report_maps(self) -> dict[str, Any]:
        """Fields of the report: the blend words' attention in each image, and the mask."""
        found = self.maps.of_words()
        if found is None or self.mask is None:
            return {}
        mask = self.mask[:, None].float()
        maps = torch.stack(found[:2], 1).flatten(0, 1)[:, None]  # [2 b, 1, h, w]
        maps = maps / maps.amax((-1, -2), keepdim=True).clamp(min=1e-12)
        after = mask.repeat_interleave(2, 0)
        ones = tuple((1.0,) for _ in range(len(maps)))
        return {
            "subjects": (", ".join(phrase.label for phrase in self.settings.blend),),
            "maxima_before": ones,
            "maxima_after": ones,
            "maps_before": maps.half().cpu(),
            "maps_after": after.half().cpu(),
        }

    def describe(self) -> str:
        n = self.schedule.n_steps
        follow = sum(map(self._follows, range(n)))
        parts = []
        if self.exact:
            kinds = dict.fromkeys(a.kind for a in self.alignments if a is not None)
            changed = [pair for a in self.alignments if a is not None for pair in a.changed]
            shown = [" -> ".join(word or "(none)" for word in pair) for pair in changed[:SHOWN]]
            words = ", ".join([*shown, *["..."] * (len(changed) > SHOWN)])
            shares = [self.settings.cross_share, *(s for own in self.words for s in own.shares.values())]
            steps = sum(any(self._within(s, k) for s in shares) for k in range(n))
            if kinds:
                parts.append(f"{' and '.join(kinds)} ({words or 'equal words'}), text maps in {steps} steps")
            parts.append(f"self-attention in {follow} steps")
        else:
            parts.append(f"queries and keys of the image in {follow} steps (no map edit on this model)")
        parts += [f"{p.label} {w:g}" for p, w in self.settings.weights]
        if self.mask is not None:
            parts.append(f"LocalBlend inside {float(self.mask.float().mean()):.0%} of the image")
        return ", ".join(parts)


def _both(entry: Entry) -> tuple[PromptTokens, PromptTokens]:
    if entry.source is None:
        raise ValueError(NO_PAIR)
    return entry.source, entry.tokens


def _columns(subject: SubjectColumns) -> list[int]:
    return sorted({c for own in subject.columns("phrase").values() for c in own})
