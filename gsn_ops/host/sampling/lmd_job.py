"""What LMD Sampler is given, what it makes, and what a later round takes over."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...layout.layout import Layout
from ...objectives.base import Objective
from ...optimise.lmd import LMDSettings
from ...report.book import ReportBook
from .box_runs import BoxRun


@dataclass(frozen=True)
class Round:
    """What the boxes of one layout left behind; a later round takes over those that it does not change."""

    runs: tuple[BoxRun, ...]
    made_with: tuple[weakref.ref, ...]

    @property
    def kept_bytes(self) -> int:
        """Memory of the latents and maps of all steps."""
        return sum(run.kept_bytes for run in self.runs)


@dataclass(frozen=True)
class LayoutJob:
    """Everything that LMD Sampler is given.

    numbers: steps, cfg, sampler_name and scheduler. masks: [n, H, W], one for each box, of the images in
    which the objects are alone. segmenter: finds them (with vae) if there are no masks. objective: of the
    overall run, None = as published. previous: the last round.
    """

    model: Any
    clip: Any
    layout: Layout
    seed: int
    numbers: tuple[int, float, str, str]
    latent: dict
    settings: LMDSettings
    prompt: str = ""
    negative: str = ""
    gligen: Any = None
    gligen_end: float = 0.4
    masks: Tensor | None = None
    segmenter: Any = None
    vae: Any = None
    objective: Objective | None = None
    previous: Round | None = None


@dataclass(frozen=True)
class LayoutResult:
    """latent: the LATENT. book: reports of the overall run. Without boxes round, objects and masks are None.

    passes: forward and backward passes besides sampling.
    """

    latent: dict
    book: ReportBook
    round: Round | None = None
    objects: dict | None = None
    masks: Tensor | None = None
    text: str = "Off: a plain run of the prompt, as KSampler makes it."
    passes: tuple[int, int] = (0, 0)


def pixels(masks: Tensor, cell: int) -> Tensor:
    """Masks bool [n, h, w] of latent cells, of so many pixels each, as a MASK of the image."""
    return masks.float().repeat_interleave(cell, -1).repeat_interleave(cell, -2)


def in_words(size: float) -> str:
    """A number of bytes to read."""
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
