"""Point layout: attention in a Gaussian spot around a point (USTC study of Attend-and-Excite, 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import subject_maps, total
from .base import register, with_role


def spot(point: tuple[float, float], sigma: float, like: Tensor) -> Tensor:
    """D = exp(-((y - cy)^2 + (x - cx)^2) / (2 sigma^2)), normalised: [h, w], the grid of `like` [..., h, w].

    point: (x, y) as fractions, (0, 0) = the top left pixel, (1, 1) = the bottom right one. sigma: in pixels
    of the map.
    """
    h, w = like.shape[-2:]
    y = torch.arange(h, dtype=like.dtype, device=like.device) - point[1] * (h - 1)
    x = torch.arange(w, dtype=like.dtype, device=like.device) - point[0] * (w - 1)
    logits = -(y[:, None] ** 2 + x**2) / (2 * sigma**2)  # [h, w]
    # The softmax is the normalised D, and finite for a point outside the grid.
    return logits.flatten().softmax(0).view(h, w)


def kl_to_spot(d: Tensor, m: Tensor, direction: str = "forward") -> Tensor:
    """KL(D || P), or "reverse" KL(P || D), with P = M / sum(M); d [h, w], m [B, h, w] -> [B].

    Logarithms of at least 1e-8. The report gives no formula: the direction and the treatment of zeros are
    ours.
    """
    p = m / m.sum((1, 2), keepdim=True).clamp(min=1e-12)
    log_d, log_p = d.clamp(min=1e-8).log(), p.clamp(min=1e-8).log()
    terms = d * (log_d - log_p) if direction == "forward" else p * (log_p - log_d)
    return terms.sum((1, 2))


@register("point_kl")
@dataclass(frozen=True)
class PointLayout:
    """L = mean over the subjects whose region has a point of KL(spot || map): `kl_to_spot`.

    sigma: of the spot, as a fraction of the larger side. direction: "forward" KL(D || P), "reverse" KL(P ||
    D). Maps are not smoothed by default.
    """

    sigma: float = 0.15
    direction: str = "forward"
    maps: MapOptions = MapOptions(kernel_size=0)
    needs: MapNeeds = MapNeeds()

    def __post_init__(self) -> None:
        choice("direction", self.direction, ("forward", "reverse"))
        number("sigma", self.sigma, more_than=0, published="0.15, ours")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        self.check(subjects, context.regions)
        pointed = _with_point(subjects, context.regions)
        m = subject_maps(maps, [s for s, _ in pointed], self.maps)
        sigma = self.sigma * max(m.shape[-2:])
        losses = [
            kl_to_spot(spot(point, sigma, m), m[:, j], self.direction) for j, (_, point) in enumerate(pointed)
        ]
        return total(losses) / len(losses)

    def check(self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
        """Raises ValueError if no wanted subject has a point."""
        if not _with_point(subjects, regions):
            labels = ", ".join(f"'{s.label}'" for s in subjects) or "none"
            raise ValueError(
                "Point layout must know where a subject shall be, and no subject of this prompt has a point "
                f"(subjects: {labels}). Add a Subject Region for one of them (its middle is the point), or "
                "choose another method."
            )


def _with_point(
    subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]
) -> list[tuple[SubjectColumns, tuple[float, float]]]:
    """The wanted subjects that have a point, with it."""
    found = []
    for subject in with_role(subjects):
        point = regions[subject.label].point if subject.label in regions else None
        if point is not None:
            found.append((subject, point))
    return found
