"""Where nodes find the report of the run that made a latent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from .run_report import RunReport


def fingerprint(samples: Tensor) -> str:
    """sha1 of shape, dtype and bytes of a latent as output by a sampler node (of all parts, if nested)."""
    parts = samples.unbind() if getattr(samples, "is_nested", False) else [samples]
    digest = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        digest.update(f"{tuple(part.shape)} {part.dtype}".encode())
        digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


LIKENESS = 0.8
"""Correlation of two latents in small that makes one the other's continuation: resized, or decoded and
encoded.
"""

SMALL = 8  # cells per side of a latent in small


@dataclass(frozen=True)
class BookEntry:
    """A run in the book. keys: fingerprints of its outputs. small: its final latent in small.

    prompt: ComfyUI's id of the queued prompt it was part of, "" if unknown. acted: something was done in it.
    """

    report: RunReport
    keys: tuple[str, ...]
    small: Tensor | None
    prompt: str
    acted: bool


class ReportBook:
    """The last `keep` runs of one patched model, found by their output: the value of a GSN_REPORT socket.

    A sampler's output may come from ComfyUI's cache, and two samplers may share one model, so only the latent
    itself identifies the run that made it. As many runs in which nothing was done are kept beside them.
    Mutable; holds no reference to a model.
    """

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self._runs: list[BookEntry] = []

    def add(self, report: RunReport, *outputs: Tensor, prompt: str = "", acted: bool | None = None) -> None:
        """Store a run under its outputs (final latent, denoised latent).

        The same outputs replace the entry. acted: None = as the report says.
        """
        keys = tuple(fingerprint(output) for output in outputs)
        small = in_small(outputs[0]) if outputs else None
        done = report.acted if acted is None else acted
        self._runs = [entry for entry in self._runs if entry.keys != keys]
        self._runs.append(BookEntry(report, keys, small, prompt, done))
        for kind in (True, False):
            of_kind = [entry for entry in self._runs if entry.acted is kind]
            for entry in of_kind[: -self.keep]:
                self._runs = [other for other in self._runs if other is not entry]

    def find(self, samples: Tensor) -> RunReport | None:
        """The newest run that produced this latent, or None."""
        wanted = fingerprint(samples)
        return next((entry.report for entry in reversed(self._runs) if wanted in entry.keys), None)

    def continued(self, start: Tensor) -> RunReport | None:
        """The newest run in which something was done and that a run from this latent continues, or None.

        That is: from its output as it is, resized, or decoded and encoded again.
        """
        acted = [entry for entry in reversed(self._runs) if entry.report.acted]
        wanted, small = fingerprint(start), in_small(start)
        same = (entry.report for entry in acted if wanted in entry.keys)
        alike = (entry.report for entry in acted if likeness(entry.small, small) >= LIKENESS)
        return next(same, None) or next(alike, None)

    def acted_in(self, prompt: str) -> RunReport | None:
        """The newest run of this queued prompt in which something was done, or None."""
        found = (e.report for e in reversed(self._runs) if prompt and e.prompt == prompt and e.acted)
        return next(found, None)

    def last(self) -> RunReport | None:
        """The newest run, whatever its output; one in which something was done before all others."""
        acted = (entry.report for entry in reversed(self._runs) if entry.report.acted)
        return next(acted, self._runs[-1].report if self._runs else None)

    def __len__(self) -> int:
        return len(self._runs)


def in_small(samples: Tensor) -> Tensor | None:
    """A latent [B, C, h, w] or [B, C, 1, h, w] as [B, C, 8, 8]; None for others."""
    if getattr(samples, "is_nested", False) or samples.ndim not in (4, 5):
        return None
    if samples.ndim == 5 and samples.shape[2] != 1:
        return None
    plane = samples.detach().float().cpu().reshape(*samples.shape[:2], *samples.shape[-2:])
    return torch.nn.functional.adaptive_avg_pool2d(plane, SMALL)


def likeness(a: Tensor | None, b: Tensor | None) -> float:
    """The smallest correlation of two latents in small, image by image; 0 if they cannot be compared."""
    if a is None or b is None or a.shape != b.shape:
        return 0.0
    x, y = (t.flatten(1) - t.flatten(1).mean(1, keepdim=True) for t in (a, b))
    return float(torch.cosine_similarity(x, y).min())
