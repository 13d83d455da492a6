"""From a finished run to the nodes that show it: the book of reports, and latents made visible."""
from __future__ import annotations

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor

from ..report import RunReport


def fingerprint(samples: Tensor) -> str:
    """sha1 of shape, dtype and bytes of a latent as the sampler node hands it on (nested latents: of all parts)."""
    parts = samples.unbind() if getattr(samples, "is_nested", False) else [samples]
    digest = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        digest.update(f"{tuple(part.shape)} {part.dtype}".encode())
        digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class ReportBook:
    """The last `keep` runs of one patched model, found by what they produced. What a GSN_REPORT socket carries.

    A sampler's output may come from the host's cache, and two samplers may share one model: only the latent itself says
    which run made it. The one mutable thing of the pack; holds nothing that refers to a model.
    """

    def __init__(self, keep: int = 8):
        self.keep = keep
        self._runs: OrderedDict[tuple[str, ...], RunReport] = OrderedDict()

    def add(self, report: RunReport, *outputs: Tensor) -> None:
        """Enter a run under its outputs (final latent, denoised latent). The same outputs again replace the entry."""
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
        """The newest run, whatever it produced."""
        return next(reversed(self._runs.values()), None)

    def __len__(self) -> int:
        return len(self._runs)


def preview_matrix(latent_format) -> tuple[tuple[float, ...], ...] | None:
    """A host latent format's preview colours as plain numbers: one RGB row per channel, then the bias row.

    For latents as the sampler node returns them (the format's scale and shift are folded in); colours -1..1.
    None where the host has no such factors, or they need the latent rearranged.
    """
    factors = latent_format.latent_rgb_factors
    if factors is None or latent_format.latent_rgb_factors_reshape is not None:
        return None
    factors = torch.tensor(factors, dtype=torch.float32)  # [C, 3]
    channels = factors.shape[0]
    shape = (channels + 1, channels, *[1] * latent_format.latent_dimensions)
    units = torch.cat([torch.eye(channels), torch.zeros(1, channels)]).reshape(shape)  # [C + 1, C, 1, ...]
    rgb = latent_format.process_in(units).reshape(channels + 1, channels) @ factors  # [C + 1, 3]
    if latent_format.latent_rgb_factors_bias is not None:
        rgb = rgb + torch.tensor(latent_format.latent_rgb_factors_bias)
    rgb[:-1] -= rgb[-1].clone()
    return tuple(tuple(row) for row in rgb.tolist())


def latent_rgb(latents: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Latents [B, C, h, w] (video: [B, C, t, h, w], first frame) as small pictures [B, h, w, 3] in 0..1."""
    if latents.ndim == 5:
        latents = latents[:, :, 0]
    rows = torch.tensor(matrix, dtype=torch.float32)
    rgb = latents.float().cpu().movedim(1, -1) @ rows[:-1] + rows[-1]  # [B, h, w, 3]
    return (rgb / 2 + 0.5).clamp(0, 1)


def decode(vae, latents: Tensor) -> Tensor:
    """Latents [B, C, ...] as pictures [B, H, W, 3] in 0..1 by a VAE (video: first frame)."""
    images = vae.decode(latents.float())
    return images[:, 0] if images.ndim == 5 else images


def pictures(latents: Tensor | None, vae, matrix: tuple[tuple[float, ...], ...] | None) -> Tensor | None:
    """Latents as pictures [B, H, W, 3]: by the VAE if there is one, else by the preview colours, else None."""
    if latents is None or (vae is None and matrix is None):
        return None
    return latent_rgb(latents, matrix) if vae is None else decode(vae, latents)
