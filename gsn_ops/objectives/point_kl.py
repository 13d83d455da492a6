"""Point layout: attention in a soft spot around a point (a study of Attend-and-Excite, USTC 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import subject_maps
from .base import choice, register, with_role


def spot(point: tuple[float, float], sigma: float, like: Tensor) -> Tensor:
    """D = exp(-((y - cy)^2 + (x - cx)^2) / (2 sigma^2)), normalised, on the grid of `like` [..., h, w]: [h, w].

    point: (x, y) as fractions, (0, 0) = the top left cell, (1, 1) = the bottom right one. sigma: in cells.
    """
    h, w = like.shape[-2:]
    y = torch.arange(h, dtype=like.dtype, device=like.device) - point[1] * (h - 1)
    x = torch.arange(w, dtype=like.dtype, device=like.device) - point[0] * (w - 1)
    logits = -(y[:, None] ** 2 + x**2) / (2 * sigma**2)  # [h, w]
    return (
        logits.flatten().softmax(0).view(h, w)
    )  # a softmax is that quotient, and safe for a point outside the grid


def divergence(d: Tensor, m: Tensor, direction: str = "forward") -> Tensor:
    """KL(D || P), or "reverse" KL(P || D), with P = M / sum(M); d [h, w], m [B, h, w] -> [B].

    Logarithms of at least 1e-8. The study says neither which direction nor how zeros are treated.
    """
    p = m / m.sum((1, 2), keepdim=True).clamp(min=1e-12)
    log_d, log_p = d.clamp(min=1e-8).log(), p.clamp(min=1e-8).log()
    return (d * (log_d - log_p)).sum((1, 2)) if direction == "forward" else (p * (log_p - log_d)).sum((1, 2))


@register("point_kl")
@dataclass(frozen=True)
class PointLayout:
    """Mean over the subjects whose region has a point of KL(spot || map).

    sigma: width of the spot as a fraction of the larger side. direction: "forward" KL(D || P), "reverse" KL(P || D).
    Maps are not smoothed by default.
    """

    sigma: float = 0.15
    direction: str = "forward"
    maps: MapOptions = MapOptions(kernel_size=0)
    needs: MapNeeds = MapNeeds()

    def __post_init__(self):
        choice("direction", self.direction, ("forward", "reverse"))
        if not self.sigma > 0:
            raise ValueError(
                f"The option 'sigma' is {self.sigma:g}: a spot has a width above 0 (0.15 by default)."
            )

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        self.check(subjects, context.regions)
        subjects = _with_point(subjects, context.regions)
        m = subject_maps(maps, subjects, self.maps)
        sigma = self.sigma * max(m.shape[-2:])
        return sum(
            divergence(spot(context.regions[s.label].point, sigma, m), m[:, j], self.direction)
            for j, s in enumerate(subjects)
        ) / len(subjects)

    def check(self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
        if not _with_point(subjects, regions):
            labels = ", ".join(f"'{s.label}'" for s in subjects) or "none"
            raise ValueError(
                "Point layout must know where a subject shall be, and no subject of this prompt has a "
                f"point (subjects: {labels}). Add a Subject Region for one of them (its middle is the point), or choose another method."
            )


def _with_point(subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> list[SubjectColumns]:
    return [s for s in with_role(subjects) if s.label in regions and regions[s.label].point is not None]
