"""Boxes and Otsu masks on a grid."""

from __future__ import annotations

import pytest
import torch

from gsn_ops.objectives._foreground import otsu_mask
from gsn_ops.regions import CONVENTIONS, box_mask
from gsn_ops.subjects.placement import region_of


def edges(mask):
    ys, xs = mask.nonzero().T
    assert mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()
    return xs.min().item(), ys.min().item(), xs.max().item() + 1, ys.max().item() + 1


@pytest.mark.parametrize(
    "convention, expected",
    [
        ("round", (2, 3, 8, 13)),
        ("floor", (1, 3, 8, 12)),
        ("lmd", (2, 3, 9, 12)),
        ("inclusive", (1, 3, 8, 12)),
    ],
)
def test_conventions_differ_at_the_edges(convention, expected):
    box = (1.6 / 16, 3.4 / 16, 8.4 / 16, 12.6 / 16)  # 6.8 x 9.2 cells
    assert edges(box_mask(box, 16, 16, convention)) == expected


def test_lmd_boxes_keep_their_size_when_they_move():
    sizes = {
        tuple(box_mask((x, 0.1, x + 0.3, 0.5), 16, 24, "lmd").any(d).sum().item() for d in (0, 1))
        for x in (0.0, 0.11, 0.23, 0.37, 0.61)
    }
    assert len(sizes) == 1


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    "box", [(0.5, 0.5, 0.5, 0.5), (0.99, 0.0, 1.0, 0.01), (0.3, 0.9, 0.301, 1.0), (-0.2, 0, 1.3, 1)]
)
def test_every_mask_has_a_cell_and_stays_inside(convention, box):
    mask = box_mask(box, 8, 12, convention)
    assert mask.shape == (8, 12) and mask.any()


def test_unknown_convention():
    with pytest.raises(ValueError, match="lmd, round"):
        box_mask((0, 0, 1, 1), 8, 8, "nearest")


def otsu_by_hand(m):
    levels = [int(255 * v) for v in m.flatten().tolist()]
    best, threshold = 0.0, 0
    for t in range(256):
        low, high = [v for v in levels if v <= t], [v for v in levels if v > t]
        if low and high:
            variance = len(low) * len(high) * (sum(low) / len(low) - sum(high) / len(high)) ** 2
            if variance > best * (1 + 1e-12):
                best, threshold = variance, t
    return m >= threshold / 255


@pytest.mark.parametrize("shape", [(16, 16), (8, 8), (24, 40)])
def test_otsu_equals_the_loop(shape):
    m = torch.rand(3, 2, *shape, generator=torch.Generator().manual_seed(0)) ** 3
    masks = otsu_mask(m)
    for b in range(3):
        for j in range(2):
            assert torch.equal(masks[b, j], otsu_by_hand(m[b, j]))


def otsu_levels(levels):
    """Which of these grey levels (0 ... 255, a map of one row) are foreground."""
    mask = otsu_mask((torch.tensor([levels]) + 0.5) / 255)[0]
    return [level for level, inside in zip(levels, mask.tolist(), strict=True) if inside]


@pytest.mark.parametrize(
    "levels, foreground",
    [
        ([10, 20, 180, 200], [20, 180, 200]),  # t = 20, the highest level of the dark class
        ([0, 0, 30, 250], [30, 250]),
        ([10, 10, 10, 240], [10, 10, 10, 240]),  # two levels only: t is the lower one
        ([5, 60, 64, 70, 255], [70, 255]),
        ([0, 128, 255], [0, 128, 255]),  # equal variances: the first threshold
    ],
)
def test_e1_otsu_counts_the_level_of_the_threshold_as_foreground(levels, foreground):
    assert otsu_levels(levels) == foreground


def test_otsu_finds_the_bright_half_and_nothing_in_a_flat_map():
    m = torch.full((8, 8), 0.12)
    m[0, 0], m[:, 4:] = 0.05, 0.7
    assert torch.equal(otsu_mask(m), m > 0.1)
    m[:, :4] = torch.linspace(0.05, 0.12, 4)  # of the dark half the highest level alone
    assert torch.equal(otsu_mask(m), m >= 0.12)
    assert otsu_mask(torch.full((8, 8), 0.4)).all()
    assert otsu_mask(torch.zeros(8, 8)).all()
    assert not otsu_mask(m.requires_grad_(True)).requires_grad


@pytest.mark.parametrize("box", [(float("nan"), 0, 1, 1), (0, 0, 1, float("nan")), (0.5, 0.5, 0, 1)])
def test_a_box_that_is_none_is_refused(box):
    with pytest.raises(ValueError, match="The region has no area"):
        region_of(None, box, None, (512, 512))
