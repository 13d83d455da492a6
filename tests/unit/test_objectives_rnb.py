"""R&B: region and boundary of a map against its box, in plain loops; its gradient is not the slope of its value."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gsn_ops.maps import AttentionMaps, StepContext
from gsn_ops.objectives.region_and_boundary import (
    RegionAndBoundary,
    boundary_loss,
    bounding_box,
    covering,
    region_loss,
    resized,
    sobel,
)
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region, box_mask
from gsn_ops.subject_maps import subject_maps

N = 10
BOXES = {"cat": (0.1, 0.2, 0.5, 0.8), "dog": (0.55, 0.3, 0.95, 0.9)}


def subject(label, *columns):
    return SubjectColumns(SubjectPhrase(label, label), {"l": columns})


CAT, DOG = subject("cat", 2, 3), subject("dog", 6, 7)


def attention(*shape, seed=0):
    """Probabilities [B, h, w, n]."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def maps_of(a):
    return AttentionMaps({4: a}, tuple(range(N)), (Span("l", 1, N - 1),))


def context(boxes=None):
    drawn = {label: Region(boxes=(box,)) for label, box in (BOXES if boxes is None else boxes).items()}
    return StepContext(3, 50, 9.3, 9.4, None, drawn, {})


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (24, 40), (64, 64), (128, 64), (1, 1)])
def test_resized_is_bilinear_interpolation(size):
    m = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(resized(m, 64, 48), F.interpolate(m, (64, 48), mode="bilinear"))


def test_sobel_is_the_magnitude_of_both_slopes():
    m = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64)[None, None]
    along_x, along_y = F.conv2d(m[:, None], kernel), F.conv2d(m[:, None], kernel.mT)
    assert torch.allclose(sobel(m), (along_x**2 + along_y**2).sqrt()[:, 0])


def test_the_bounding_box_holds_every_true_cell_and_no_more():
    inside = torch.zeros(3, 5, 6, dtype=torch.bool)
    inside[0, 1, 4] = inside[0, 3, 2] = inside[1, 2, 2] = True
    box = bounding_box(inside)
    expected = torch.zeros_like(inside)
    expected[0, 1:4, 2:5] = expected[1, 2, 2] = True
    assert torch.equal(box, expected)


def rnb_region_by_loops(a, box):
    """METHODS 2.14 for one map [h, w]: (the four region terms, iou)."""
    h, w = a.shape
    mask = box_mask(box, h, w, "floor")
    inside = [(y, x) for y in range(h) for x in range(w) if mask[y, x]]
    low, high = a.min().item(), a.max().item()
    n = {(y, x): (a[y, x].item() - low) / (high - low) for y in range(h) for x in range(w)}
    mean_in = sum(n[c] for c in inside) / len(inside)
    mean_out = sum(v for c, v in n.items() if c not in inside) / max(1, h * w - len(inside))
    tau = 0.4 * mean_in + 0.6 * mean_out
    ys, xs = zip(*[c for c, v in n.items() if v > tau], strict=True)
    t = [(y, x) for y in range(min(ys), max(ys) + 1) for x in range(min(xs), max(xs) + 1)]
    common = len(set(t) & set(inside))
    iou = common / len(set(t) | set(inside))
    soft = {c: 1 / (1 + math.exp(-20 * (v - tau))) for c, v in n.items()}
    soft_in = sum(soft[c] for c in inside) / sum(soft.values())
    return 2 * (1 - (1 - iou) * common / len(t)) + 2 * (1 - 0.5 * (1 - iou) * soft_in), iou


def blob_map(y, x, width, h=64, w=64):
    ys, xs = torch.meshgrid(
        torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64), indexing="ij"
    )
    return torch.exp(-((ys - y) ** 2 + (xs - x) ** 2) / (2 * width**2))


def test_region_loss_has_the_published_value():
    m = torch.stack([blob_map(30, 20, 8), blob_map(50, 50, 15), torch.rand(64, 64, dtype=torch.float64)])
    loss, iou, flat = region_loss(m, box_mask(BOXES["cat"], 64, 64, "floor"))
    expected = [rnb_region_by_loops(a, BOXES["cat"]) for a in m]
    assert loss.tolist() == pytest.approx([e[0] for e in expected])
    assert iou.tolist() == pytest.approx([e[1] for e in expected])
    assert not flat.any()


def test_the_gradient_goes_straight_through_the_region():
    """d/dn of 1 - w sum(B (TB + n)) / |T| and of 1 - w |TB| / sum(T + n), as if n were added to the boxes."""
    t, b = box_mask((0.1, 0.1, 0.6, 0.7), 8, 8)[None].double(), box_mask((0.3, 0.2, 0.9, 0.9), 8, 8).double()
    n = torch.rand(1, 8, 8, dtype=torch.float64).requires_grad_(True)
    w = torch.tensor([0.7], dtype=torch.float64)
    straight = n - n.detach()
    loss = covering(t + straight, t * b + straight, b, w)
    (g,) = torch.autograd.grad(loss.sum(), n)
    area, common = t.sum(), (t * b).sum()
    assert loss.item() == pytest.approx((2 - 2 * w * common / area).item())
    assert torch.allclose(g[0], -w * b / area + w * common / area**2)


def test_rnb_leaves_a_subject_that_fills_its_box_and_a_flat_map():
    box = (0.25, 0.25, 0.75, 0.75)
    m = torch.full((3, 64, 64, N), 0.01, dtype=torch.float64)
    m[0, 16:48, 16:48, 3] = 0.5  # fills the box
    m[1, :20, :20, 3] = 0.5  # elsewhere; the third is flat
    m.requires_grad_(True)
    loss = RegionAndBoundary()(maps_of(m), [subject("cat", 3)], context({"cat": box}))
    (g,) = torch.autograd.grad(loss.sum(), m)
    assert loss[0] == 0 and loss[2] == 0 and g[[0, 2]].abs().max() == 0
    assert loss[1] > 1 and g[1, ..., 3].abs().max() > 0 and g.isfinite().all()
    shorter = context({"cat": (0.25, 0.25, 0.75, 0.7)})  # IoU 0.88 is enough by default only
    assert RegionAndBoundary()(maps_of(m), [subject("cat", 3)], shorter)[0] == 0
    assert RegionAndBoundary(enough=1.0)(maps_of(m), [subject("cat", 3)], shorter)[0] > 0


def test_rnb_adds_the_boundary_where_a_rival_holds_the_maximum():
    a = attention(2, 16, 16, N)
    a[0, 12, 1, 3] = a[1, 8, 4, 3] = 3.0  # highest outside the cat's box; inside it
    maps, objective = maps_of(a), RegionAndBoundary()
    both = objective(maps, [CAT, DOG], context())
    raw = resized(a.movedim(-1, 1), 64, 64)  # [B, n, 64, 64]
    big = AttentionMaps({4: raw.movedim(1, -1)}, maps.columns, maps.spans)
    soft = subject_maps(big, [CAT, DOG], objective.maps)
    expected = torch.zeros(2, dtype=torch.float64)
    for j, (columns, label) in enumerate((((2, 3), "cat"), ((6, 7), "dog"))):
        m, mask = sum(raw[:, c] for c in columns), box_mask(BOXES[label], 64, 64, "floor")
        for b in range(2):
            loss, iou, _ = region_loss(m[b : b + 1], mask)
            rival = m[b][~mask].max() > m[b][mask].max()
            if label == "cat":
                assert rival == (b == 0)
            edge = boundary_loss(soft[b : b + 1, j], mask, iou) if rival else 0
            expected[b] += ((loss + edge) * (iou < 0.85)).item() / 2
    assert torch.allclose(both, expected)
    edges = sobel(soft[:1, 0] / soft[0, 0].max())[0]
    inside = box_mask(BOXES["cat"], 64, 64, "floor")[1:-1, 1:-1]
    value = boundary_loss(soft[:1, 0], box_mask(BOXES["cat"], 64, 64, "floor"), torch.tensor([0.4]))
    assert value.item() == pytest.approx(1 - 0.6 * (edges[inside].sum() / edges.sum()).item())


def test_rnb_keeps_the_shape_of_the_picture():
    assert RegionAndBoundary()._enlarged(maps_of(attention(1, 24, 40, N))).cross[4].shape == (1, 38, 64, N)
