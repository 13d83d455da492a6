"""Where nodes find the report of the run that made a latent."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

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


class ReportBook:
    """The last `keep` runs of one patched model, found by their output: the value of a GSN_REPORT socket.

    A sampler's output may come from ComfyUI's cache, and two samplers may share one model, so only the latent
    itself identifies the run that made it. Mutable; holds no reference to a model.
    """

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self._runs: OrderedDict[tuple[str, ...], RunReport] = OrderedDict()

    def add(self, report: RunReport, *outputs: Tensor) -> None:
        """Store a run under its outputs (final latent, denoised latent).

        The same outputs replace the entry.
        """
        key = tuple(fingerprint(output) for output in outputs)
        self._runs.pop(key, None)
        self._runs[key] = report
        while len(self._runs) > self.keep:
            self._runs.popitem(last=False)

    def find(self, samples: Tensor) -> RunReport | None:
        """The newest run that produced this latent, or None."""
        wanted = fingerprint(samples)
        return next((report for key, report in reversed(self._runs.items()) if wanted in key), None)

    def last(self) -> RunReport | None:
        """The newest run, whatever its output."""
        return next(reversed(self._runs.values()), None)

    def __len__(self) -> int:
        return len(self._runs)
