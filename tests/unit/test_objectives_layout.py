"""Objectives about places: retention, A-STAR, point layout, LMD and, where something shall not be at all, neglect."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives._foreground import blob
from gsn_ops.objectives.astar import AStar
from gsn_ops.objectives.attend_and_excite import Presence
from gsn_ops.objectives.base import check, shortfall
from gsn_ops.objectives.lmd import LMD, energy
from gsn_ops.objectives.lmd_transfer import LMDTransfer, reference_key, transfer, word_maps
from gsn_ops.objectives.neglect import Neglect, excess
from gsn_ops.objectives.point_kl import PointLayout, kl_to_spot, spot
from gsn_ops.objectives.retention import Retention, lost_share
from gsn_ops.objectives.separation import Separation
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region, box_mask
from gsn_ops.subject_maps import subject_maps

N = 10
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def word(label, *columns, role="wanted"):
    return SubjectColumns(SubjectPhrase(label, label, role=role), {"l": columns})


def attention(*shape, seed=0):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def maps_of(*layers, level=4):
    """Layers [B, heads, h, w, n] of one level."""
    return AttentionMaps(
        {level: torch.stack([a.mean(1) for a in layers]).mean(0)},
        tuple(range(N)),
        (Span("l", 1, N - 1),),
        {level: layers},
    )


def context(regions=None, previous=None):
    return StepContext(8, 50, 5.63, 5.72, previous, regions or {}, {})


CAT, DOG = word("cat", 3), word("dog", 5)


def test_outside_by_hand():
    m = torch.tensor([[[0.5, 0.0], [0.5, 0.0]]])
    left = torch.tensor([[True, False], [True, False]])
    assert lost_share(m, left).item() == pytest.approx(1 - 1 / 3)
    assert lost_share(m, ~left).item() == 1
    assert lost_share(left[None].float(), left).item() == 0.5


def test_retention_by_region():
    maps, regions = (
        maps_of(attention(2, 1, 8, 8, N)),
        {"cat": Region(boxes=(LEFT,)), "dog": Region(boxes=(RIGHT,))},
    )
    m = subject_maps(maps, [CAT, DOG], MapOptions())
    cells = [box_mask(b, 8, 8, "inclusive") for b in (LEFT, RIGHT)]
    kept = (lost_share(m[:, 0], cells[0]) + lost_share(m[:, 1], cells[1])) / 2
    total = kept + Presence()(maps, [CAT, DOG], context())
    assert Retention("sum")(maps, [CAT, DOG], context(regions)).tolist() == pytest.approx(total.tolist())
    assert Retention()(maps, [CAT, DOG], context(regions)).tolist() == pytest.approx((total / 2).tolist())


def test_a_region_wins_over_the_earlier_place_which_serves_the_others():
    maps, before = maps_of(attention(2, 1, 8, 8, N)), maps_of(attention(2, 1, 8, 8, N, seed=1))
    m, b = subject_maps(maps, [CAT, DOG], MapOptions()), blob(subject_maps(before, [CAT, DOG], MapOptions()))
    kept = (lost_share(m[:, 0], box_mask(LEFT, 8, 8, "inclusive")) + lost_share(m[:, 1], b[:, 1])) / 2
    loss = Retention("sum", source="previous")(
        maps, [CAT, DOG], context({"cat": Region(boxes=(LEFT,))}, before)
    )
    assert loss.tolist() == pytest.approx((kept + Presence()(maps, [CAT, DOG], context())).tolist())


def test_a_frozen_place_is_that_of_the_first_evaluation():
    first, second, here = (
        maps_of(attention(2, 1, 8, 8, N)),
        maps_of(attention(2, 1, 8, 8, N, seed=1)),
        context(),
    )
    objective = Retention("sum")
    objective(first, [CAT, DOG], here)
    m, b = subject_maps(second, [CAT, DOG], MapOptions()), blob(subject_maps(first, [CAT, DOG], MapOptions()))
    kept = (lost_share(m[:, 0], b[:, 0]) + lost_share(m[:, 1], b[:, 1])) / 2
    for previous in (None, second):  # whatever has been evaluated since
        loss = objective(second, [CAT, DOG], replace(here, previous=previous))
        assert loss.tolist() == pytest.approx((kept + Presence()(second, [CAT, DOG], here)).tolist())


def test_without_any_place_retention_is_presence():
    maps = maps_of(attention(2, 1, 8, 8, N))
    assert torch.equal(
        Retention("sum", source="previous")(maps, [CAT], context()), Presence()(maps, [CAT], context())
    )
    point = {"cat": Region(point=(0.5, 0.5))}  # a point is no area
    assert torch.equal(
        Retention("sum", source="previous")(maps, [CAT], context(point)), Presence()(maps, [CAT], context())
    )


def test_places_do_not_pass_gradients():
    a = attention(1, 1, 8, 8, N).requires_grad_(True)
    before = attention(1, 1, 8, 8, N, seed=1).requires_grad_(True)
    loss = AStar()(maps_of(a), [CAT, DOG], context(previous=maps_of(before)))
    g, none = torch.autograd.grad(loss.sum(), (a, before), allow_unused=True)
    assert none is None and g.abs().max() > 0


def test_astar_sums_over_pairs_and_subjects():
    three, maps = [CAT, DOG, word("bird", 7)], maps_of(attention(2, 1, 8, 8, N))
    before = maps_of(attention(2, 1, 8, 8, N, seed=1))
    apart = 3 * Separation()(maps, three, context())
    assert AStar()(maps, three, context()).tolist() == pytest.approx(apart.tolist())
    m, b = subject_maps(maps, three, MapOptions()), blob(subject_maps(before, three, MapOptions()))
    kept = sum(lost_share(m[:, j], b[:, j]) for j in range(3))
    assert AStar()(maps, three, context(previous=before)).tolist() == pytest.approx((apart + kept).tolist())


def test_neglect_looks_at_the_strongest_unwanted_thing():
    m = torch.zeros(2, 2, 3, 3)
    m[0, 0, 1, 1], m[0, 1, 2, 2], m[1, 0, 0, 0] = 0.3, 0.5, 0.04
    assert excess(m, 0.05).tolist() == pytest.approx([0.45, 0])
    maps = maps_of(attention(2, 1, 8, 8, N))
    bird, car = word("bird", 7, role="unwanted"), word("car", 8, role="unwanted")
    m = subject_maps(maps, [bird, car], MapOptions())
    expected = m.flatten(2).amax(-1).amax(1) - 0.2
    loss = Neglect(tau=0.2)(maps, [CAT, bird, car], context())
    assert loss.tolist() == pytest.approx(expected.tolist())
    for threshold in (0.05, 0.8):  # its test knows no threshold
        assert torch.equal(
            shortfall(Neglect(tau=0.2), maps, [CAT, bird, car], context(), threshold, loss), loss
        )


def test_nothing_to_neglect_is_said_before_the_first_pass():
    with pytest.raises(ValueError, match="unwanted.*'cat', 'dog'"):
        check(Neglect(), [CAT, DOG], {})
    with pytest.raises(ValueError, match="unwanted"):
        Neglect()(maps_of(attention(1, 1, 8, 8, N)), [CAT], context())


@pytest.mark.parametrize("grid", [(16, 16), (8, 8), (24, 40), (1, 1), (1, 7)])
def test_a_spot_is_a_distribution_around_its_point(grid):
    like = torch.zeros(grid, dtype=torch.float64)
    for point, cell in (
        ((0.0, 0.0), (0, 0)),
        ((1.0, 1.0), (grid[0] - 1, grid[1] - 1)),
        ((1.0, 0.0), (0, grid[1] - 1)),
    ):
        d = spot(point, 2.0, like)
        assert d.shape == grid and d.sum().item() == pytest.approx(1)
        assert divmod(d.argmax().item(), grid[1]) == cell
    assert spot((50.0, -9.0), 0.1, like).isfinite().all()


def test_a_spot_by_hand():
    d = spot((0.5, 0.5), 2.0, torch.zeros(3, 3, dtype=torch.float64))
    assert (d[0, 1] / d[1, 1]).item() == pytest.approx(math.exp(-1 / 8))
    assert (d[0, 0] / d[1, 1]).item() == pytest.approx(math.exp(-2 / 8))


def test_divergence_vanishes_on_the_spot_in_both_directions_and_by_hand():
    d = spot((0.2, 0.8), 1.5, torch.zeros(6, 8, dtype=torch.float64))
    for direction in ("forward", "reverse"):
        assert kl_to_spot(d, 5 * d[None], direction).item() == pytest.approx(0, abs=1e-12)
    flat = torch.ones(1, 1, 2, dtype=torch.float64)
    d = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    assert kl_to_spot(d, flat).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert kl_to_spot(d, flat, "reverse").item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_point_layout_is_the_mean_over_subjects_with_a_point():
    maps = maps_of(attention(2, 1, 8, 12, N))
    regions = {"cat": Region(point=(0.25, 0.5)), "dog": Region(boxes=(LEFT,))}
    m = subject_maps(maps, [CAT, DOG], MapOptions(kernel_size=0))
    one = kl_to_spot(spot((0.25, 0.5), 0.15 * 12, m), m[:, 0])
    assert PointLayout()(maps, [CAT, DOG], context(regions)).tolist() == pytest.approx(one.tolist())
    regions["dog"] = Region(point=(1.0, 1.0))
    two = kl_to_spot(spot((1.0, 1.0), 0.15 * 12, m), m[:, 1])
    assert PointLayout()(maps, [CAT, DOG], context(regions)).tolist() == pytest.approx(
        ((one + two) / 2).tolist()
    )


def test_point_layout_without_a_point_or_width_is_refused():
    with pytest.raises(ValueError, match="point.*'cat'"):
        check(PointLayout(), [CAT], {"cat": Region(boxes=(LEFT,))})
    with pytest.raises(ValueError, match="point"):
        PointLayout()(maps_of(attention(1, 1, 8, 8, N)), [CAT], context())
    with pytest.raises(ValueError, match="sigma"):
        PointLayout(sigma=0)


def test_energy_by_hand():
    a = torch.tensor([[0.9, 0.1, 0.3], [0.5, 0.2, 0.7]])
    mask = torch.tensor([[True, True, False], [True, True, False]])
    assert energy(a, mask, 0.2, 4.0).item() == pytest.approx(1 - 0.9 + 4 * 0.7)  # one cell each
    assert energy(a, mask, 0.5, 4.0).item() == pytest.approx(1 - (0.9 + 0.5) / 2 + 4 * 0.7)
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert energy(a, everything, 0.2, 4.0).item() == pytest.approx(1 - 0.9)
    assert energy(a.expand(5, 4, 2, 3), mask, 0.2, 4.0).shape == (5, 4)


def test_lmd_sums_heads_and_averages_words_subjects_and_layers():
    layers = [attention(2, 3, 8, 8, N, seed=s) for s in (0, 1)]
    cat = SubjectColumns(SubjectPhrase("cat", "cat"), {"l": (3, 4)}, ({"l": (2,)},))
    regions = {
        "cat": Region(boxes=(LEFT,)),
        "dog": Region(boxes=((0.5, 0.0, 1.0, 0.5), (0.5, 0.75, 1.0, 1.0))),
    }
    masks = {label: region.on_grid(8, 8, "lmd") for label, region in regions.items()}
    expected = torch.zeros(2, dtype=torch.float64)
    for a in layers:
        for label, columns in (("cat", (2, 3, 4)), ("dog", (5,))):
            for v in columns:
                expected += energy(a[..., v], masks[label], 0.2, 4.0).sum(1) / (2 * 2 * len(columns))
    maps, two = maps_of(*layers), [cat, DOG, word("bird", 7)]  # the bird has no region
    assert LMD()(maps, two, context(regions)).tolist() == pytest.approx(expected.tolist())
    assert LMD(heads="mean")(maps, two, context(regions)).tolist() == pytest.approx(
        (8 / 3 * expected).tolist()
    )
    assert LMD().shortfall(maps, two, context(regions), 5.0).tolist() == pytest.approx(
        (expected - 5).tolist()
    )


def test_lmd_uses_each_levels_own_grid():
    fine, coarse = attention(1, 2, 8, 8, N), attention(1, 2, 4, 4, N, seed=1)
    both = AttentionMaps(
        {2: fine.mean(1), 4: coarse.mean(1)},
        tuple(range(N)),
        (Span("l", 1, N - 1),),
        {2: (fine, fine), 4: (coarse,)},
    )
    here = context({"cat": Region(boxes=(LEFT,))})
    one, other = (LMD()(maps_of(a), [CAT], here).item() for a in (fine, coarse))
    assert LMD()(both, [CAT], here).item() == pytest.approx((2 * one + other) / 3)


@pytest.mark.parametrize("objective", [LMD(), LMDTransfer()], ids=repr)
def test_lmd_without_regions_is_refused(objective):
    with pytest.raises(ValueError, match="(?s)box or mask.*'cat'.*Subject Region"):
        check(objective, [CAT], {"dog": Region(boxes=(LEFT,))})
    with pytest.raises(ValueError, match="Subject Region"):
        objective(maps_of(attention(1, 1, 8, 8, N)), [CAT], context())


def test_transfer_by_hand():
    a, r = torch.tensor([[0.2, 0.6, 9.0]]), torch.tensor([[0.3, 0.1, 7.0]])
    box = torch.tensor([[True, True, False]])
    assert transfer(a, r, box).item() == pytest.approx(2 * (0.75 - 0.25), abs=1e-4)
    assert transfer(a, 3 * a, box).item() == pytest.approx(0, abs=1e-4)


def test_transfer_compares_the_last_piece_of_the_word_box_by_box():
    layers, alone = ([attention(2, 3, 8, 8, N, seed=s) for s in seeds] for seeds in ((0, 1), (2, 3)))
    cat = SubjectColumns(SubjectPhrase("cat", "cat"), {"l": (3, 4)}, ({"l": (2,)},))
    boxes = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0))
    here, maps = context({"cat": Region(boxes=boxes)}), maps_of(*layers)
    r = torch.stack([word_maps(maps_of(*alone), cat, 4), word_maps(maps_of(*alone[::-1]), cat, 4)], 2)
    assert r.shape == (2, 2, 2, 3, 8, 8)
    here.memory[reference_key("cat", 4, 8)] = r
    expected = torch.zeros(2, dtype=torch.float64)
    for layer, (first, second) in zip(layers, (alone, alone[::-1]), strict=True):
        for box, other in zip(boxes, (first, second), strict=True):
            expected += 2 * transfer(layer[..., 4], other[..., 4], box_mask(box, 8, 8)).mean(1) / (2 * 2)
    assert LMDTransfer()(maps, [cat], here).tolist() == pytest.approx(expected.tolist())
    elsewhen = replace(here, index=9)
    assert LMDTransfer()(maps, [cat], elsewhen).tolist() == [0, 0]


def test_one_reference_serves_a_whole_batch():
    maps, here = maps_of(attention(2, 3, 8, 8, N)), context({"cat": Region(boxes=(LEFT,))})
    here.memory[reference_key("cat", 4, 8)] = word_maps(maps.image(0), CAT, 4)[:, :, None]
    loss = LMDTransfer()(maps, [CAT], here)
    assert loss[0].item() == 0 and loss[1].item() > 0
