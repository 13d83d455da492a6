"""The run of the whole image in LMD: masks of the objects, the composition that it holds, the references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...layout.compose import Composition, MovedObject, shifted
from ...layout.object_masks import choose_mask, mask_of_map, on_grid
from ...objectives.lmd_transfer import reference_key
from ..attention.sampler_state import SamplerState
from .box_runs import BoxRun
from .plan import Plan, network_scale

CONFIDENCE = 0.3
"""Detections of a segmenter with less are not asked for."""
MASKS = (
    "masks holds {n} masks, but the layout has {boxes} boxes: connect one mask for each, in their order, of "
    "the images of the output objects."
)
NO_VAE = "segmenter is connected, but no vae: it decodes the objects for the segmenter."


def masks_of(job: Any, runs: Sequence[BoxRun], size: Sequence[int], threshold: float) -> list[Tensor]:
    """The cells, bool [h, w], of each object where it was generated.

    Of the masks that are connected, else of the segmenter, else of the attention alone.
    """
    grid = (size[0], size[1])
    if job.masks is not None:
        masks = job.masks.reshape(-1, *job.masks.shape[-2:])
        if len(masks) != len(runs):
            raise ValueError(MASKS.format(n=len(masks), boxes=len(runs)))
        return [on_grid(mask, grid) for mask in masks]
    coarse = []
    for run in runs:
        assert run.attention is not None, "every run reads it"
        coarse.append(mask_of_map(run.attention, grid, threshold))
    if job.segmenter is None:
        return coarse
    if job.vae is None:
        raise ValueError(NO_VAE)
    return [_segmented(job, run, cells) for run, cells in zip(runs, coarse, strict=True)]


def _segmented(job: Any, run: BoxRun, coarse: Tensor) -> Tensor:
    """The segmenter's mask of one object, the attention's if it finds none."""
    assert run.latent is not None, "every run has ended"
    image = job.vae.decode(run.latent[None])
    image = image.reshape(-1, *image.shape[-3:])[:1].cpu()  # [1, H, W, 3]
    (found,) = job.segmenter.find(image, [run.placed.name], CONFIDENCE)
    masks = [(one.mask, one.score) for one in found if one.mask is not None]
    chosen = choose_mask(masks, coarse)
    return coarse if chosen is None else chosen


class Composer:
    """Observer of the overall run: holds the objects in the composition while `frozen` lasts."""

    def __init__(self, composition: Composition, frozen: range):
        self.composition, self.frozen = composition, frozen
        self.guider: Any = None

    def begin(self, guider: Any, plan: Plan) -> None:
        self.guider = guider

    def before(self, step: int, x: Tensor, sigma: Tensor) -> Tensor:
        if step not in self.frozen:
            return x
        c = network_scale(self.guider.inner_model.model_sampling, sigma, x.ndim)
        held = self.composition.at(step).to(x) * c  # [C, ..., h, w]
        return torch.where(self.composition.mask.to(x.device), held, x)

    def after(self, step: int, state: SamplerState) -> None:
        """Nothing."""

    def end(self) -> None:
        self.guider = None


class References(Mapping[str, Tensor]):
    """The word's maps of every box, moved to its place: `reference_key` -> [1, layers, boxes, heads, h, w].

    Moved when they are asked for: the maps are kept once. labels: the subject of each box. steps: those of
    the kept maps.
    """

    def __init__(
        self,
        labels: Sequence[str],
        runs: Sequence[BoxRun],
        moved: Sequence[MovedObject],
        steps: Sequence[int],
    ):
        self._found: dict[str, tuple[int, int, list[int]]] = {}
        self.runs, self.moved = runs, moved
        for label in dict.fromkeys(labels):
            own = [n for n, other in enumerate(labels) if other == label]
            for level in runs[own[0]].words:
                for k, step in enumerate(steps):
                    self._found[reference_key(label, level, step)] = (level, k, own)

    def __getitem__(self, key: str) -> Tensor:
        level, k, own = self._found[key]
        boxes = [shifted(self.runs[n].words[level][k], self.moved[n].offset) for n in own]
        return torch.stack(boxes, 1)[None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
