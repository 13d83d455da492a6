"""The way of an image to noise, state by state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trajectory:
    """sigmas: rising, n + 1. states: [n + 1, B, C, ...] float32 on the CPU, in the model's own latent space;
    the first is the image, the last its noise. kind: of its latents and noise, see `noise_kind`.
    """

    sigmas: tuple[float, ...]
    states: Tensor = field(repr=False)
    kind: str

    @property
    def image(self) -> Tensor:
        """The clean latent [B, C, ...]."""
        return self.states[0]

    @property
    def noise(self) -> Tensor:
        """The last state [B, C, ...]."""
        return self.states[-1]

    def at(self, sigma: float) -> Tensor:
        """The state [B, C, ...] at a noise level, straight between two of them, the nearest end beyond."""
        above = next((k for k, level in enumerate(self.sigmas) if level >= sigma), len(self.sigmas) - 1)
        if above == 0 or self.sigmas[above] <= sigma:
            return self.states[above]
        low, high = self.sigmas[above - 1], self.sigmas[above]
        return torch.lerp(self.states[above - 1], self.states[above], (sigma - low) / (high - low))


def rising(sigmas: Sequence[float]) -> bool:
    """Whether a schedule leads to noise."""
    return len(sigmas) > 1 and sigmas[-1] > sigmas[0]


def signal_to_error(image: Tensor, found: Tensor) -> float:
    """PSNR in dB of a latent [...] against another; the peak is the range of `image`. inf = no error."""
    error = (image.double() - found.double()).square().mean()
    peak = float(image.max() - image.min())
    return float("inf") if error == 0 else float(20 * torch.log10(peak / error.sqrt()))
