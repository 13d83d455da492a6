"""R&B: the region of a map, and its boundary, agree with the box (Xiao et al., ICLR 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..option_checks import choice, number
from ..prompt import SubjectColumns
from ..regions import CONVENTIONS
from ..subject_maps import subject_maps, total
from ..torch_ops.transfer import onto
from ._regions import must_be_placed, phrase_columns, placed
from .base import register, with_role


def resized(m: Tensor, height: int, width: int) -> Tensor:
    """Maps [..., h, w] bilinear to [..., height, width].

    As matrix products, which are deterministic on CUDA too."""
    return _tent(m, height, -2).mT @ (m @ _tent(m, width, -1))


def _tent(m: Tensor, size: int, axis: int) -> Tensor:
    """[n, size] weights of linear interpolation of axis `axis` of m (n pixels) to `size` pixels."""
    n = m.shape[axis]
    at = ((torch.arange(size, device=m.device, dtype=m.dtype) + 0.5) * n / size - 0.5).clamp(0, n - 1)
    return (1 - (at - torch.arange(n, device=m.device, dtype=m.dtype)[:, None]).abs()).clamp(min=0)


def bounding_box(inside: Tensor) -> Tensor:
    """Smallest box around the true cells of [B, h, w], as cells bool [B, h, w]; none for none."""

    def between(line: Tensor) -> Tensor:
        """[B, n], true from the first true to the last."""
        count = line.long()
        return (count.cumsum(1) > 0) & (count.flip(1).cumsum(1) > 0).flip(1)

    return between(inside.any(2))[:, :, None] & between(inside.any(1))[:, None]


def sobel(m: Tensor) -> Tensor:
    """Magnitude of the Sobel gradient of [B, h, w] inside the border: [B, h - 2, w - 2]."""

    def slope(m: Tensor) -> Tensor:
        """Along x."""
        d = m[..., 2:] - m[..., :-2]
        return d[:, :-2] + 2 * d[:, 1:-1] + d[:, 2:]

    return (slope(m) ** 2 + slope(m.mT).mT ** 2).clamp(min=1e-24).sqrt()  # the root has no gradient at 0


def covering(s: Tensor, s_in: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """1 - w sum(B s') / sg(sum s) + 1 - w sg(sum(B s')) / sum s; [B, h, w] each, w [B] -> [B].

    sg = stop-gradient. Both directions of R&B's region loss."""
    area, hit = s.sum((1, 2)).clamp(min=1e-12), (b * s_in).sum((1, 2))
    return 1 - weight * hit / area.detach() + 1 - weight * hit.detach() / area


def region_loss(a: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Region-aware loss of R&B, map a [B, h, w], box [h, w]: (loss [B], iou [B], flat [B] bool).

    Xiao et al., ICLR 2024; equation numbers not verified. n = (a - min) / (max - min); tau = 0.4 mean of n in
    the box + 0.6 mean outside; T = the box around {n > tau}; loss = covering of T + n - sg(n) and T B + n -
    sg(n) with w = 1 - iou(T, B), plus that of the soft region sigmoid(20 (n - tau)) with w / 2.
    """
    b = onto(mask, a)
    low, high = a.amin((1, 2), keepdim=True), a.amax((1, 2), keepdim=True)
    n = (a - low) / (high - low).clamp(min=1e-12)
    inside = (n * b).sum((1, 2)) / b.sum().clamp(min=1)
    outside = (n * (1 - b)).sum((1, 2)) / (1 - b).sum().clamp(min=1)
    tau = (0.4 * inside + 0.6 * outside)[:, None, None]
    box = bounding_box(n > tau)
    t, straight = onto(box, a), n - n.detach()
    iou = (t * b).sum((1, 2)) / torch.maximum(t, b).sum((1, 2))
    soft = (20 * (n - tau)).sigmoid()
    loss = covering(t + straight, t * b + straight, b, 1 - iou) + covering(soft, soft, b, (1 - iou) / 2)
    return loss, iou, (high - low).flatten() <= 0


def boundary_loss(p: Tensor, mask: Tensor, iou: Tensor) -> Tensor:
    """Boundary-aware loss of R&B, 1 - (1 - iou) sum(E B) / sum(E), map p [B, h, w] and box [h, w] -> [B].

    E = the Sobel magnitude of the map over its maximum (stop-gradient).
    Xiao et al., ICLR 2024; equation number not verified.
    """
    edges = sobel(p / p.amax((1, 2), keepdim=True).detach().clamp(min=1e-12))
    b = onto(mask[1:-1, 1:-1], p)
    return 1 - (1 - iou) * (edges * b).sum((1, 2)) / edges.sum((1, 2)).clamp(min=1e-12)


@register("rnb")
@dataclass(frozen=True)
class RegionAndBoundary:
    """L = mean over placed subjects of region and boundary loss, 0 for a subject with iou >= enough.

    The boundary loss counts if there are several placed subjects and the map is highest outside its box. Maps
    are enlarged to `size` pixels on the longer side. Published: middle and up blocks for both losses, down
    blocks for the region only; here all layers of the captured levels for both. maps: second softmax and
    smoothing of the boundary's maps. L is 0 when every subject fills its box: a threshold of 1 refines until
    then.
    """

    mask: str = "floor"
    enough: float = 0.85
    size: int = 64
    maps: MapOptions = MapOptions(temperature=120.0, kernel_sigma=3.0, pieces="phrase")
    needs: MapNeeds = MapNeeds()
    check = staticmethod(must_be_placed)

    def __post_init__(self) -> None:
        choice("mask", self.mask, CONVENTIONS)
        number("enough", self.enough, more_than=0, at_most=1, published="0.85")
        number("size", self.size, at_least=4, at_most=512, published="64")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        subjects, maps = with_role(subjects), self._enlarged(maps)
        ((level, a),) = maps.cross.items()
        boxes = placed(subjects, context, a.shape[1:3], self.mask)
        edges = subject_maps(maps, subjects, self.maps) if len(boxes) > 1 else None
        losses = []
        for j, mask in boxes:
            m = total(a[..., n] for n in maps.index(phrase_columns(maps, subjects[j])))  # [B, h, w]
            loss, iou, flat = region_loss(m, mask)
            if edges is not None:
                highest_outside = _highest(m, mask) < _highest(m, ~mask)
                loss = loss + torch.where(highest_outside, boundary_loss(edges[:, j], mask, iou), 0)
            losses.append(torch.where((iou < self.enough) & ~flat, loss, 0 * loss))
        return torch.stack(losses).mean(0)

    def _enlarged(self, maps: AttentionMaps) -> AttentionMaps:
        """All levels at `size` pixels on the longer side, averaged, as one level."""
        level = min(maps.cross)
        h, w = maps.cross[level].shape[1:3]
        height = max(1, round(self.size * h / max(h, w)))
        width = max(1, round(self.size * w / max(h, w)))
        a = [resized(m.movedim(-1, 1), height, width) for m in maps.cross.values()]  # [B, n, height, width]
        return replace(maps, cross={level: (total(a) / len(a)).movedim(1, -1)})


def _highest(m: Tensor, mask: Tensor) -> Tensor:
    """Largest value of m [B, h, w] in a mask [h, w]: [B]."""
    return (m * onto(mask, m)).amax((1, 2))
