"""LMD's stages on tensors, each against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gsn_ops.layout.compose import (
    Composition,
    MovedObject,
    centred,
    frozen_steps,
    mixed_noise,
    offset_to,
    shifted,
)
from gsn_ops.layout.layout import PlacedObject
from gsn_ops.layout.object_masks import choose_mask, connected, mask_of_map, on_grid
from gsn_ops.layout.rounds import box_seed, numbers_of
from gsn_ops.maps import AttentionMaps, StepContext
from gsn_ops.objectives.base import reason_to_skip
from gsn_ops.objectives.lmd import LMD
from gsn_ops.objectives.lmd_boxes import (
    EnergyAndTransfer,
    EnergyPerImage,
    ImageBox,
    mean_map,
    with_references,
)
from gsn_ops.objectives.lmd_transfer import LMDTransfer, reference_key, word_maps
from gsn_ops.objectives.weighted_sum import WeightedSum
from gsn_ops.optimise.lmd import LMDSettings, box_recipe, overall_recipe
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region, box_mask

N = 10
CAT, DOG = (SubjectColumns(SubjectPhrase(name, name), {"l": (c,)}) for name, c in (("cat", 3), ("dog", 5)))
LEFT, RIGHT = Region(boxes=((0.0, 0.0, 0.5, 1.0),)), Region(boxes=((0.5, 0.0, 1.0, 1.0),))


def cells(height, width, rows, columns):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


def object_of(mask, value, offset=(0, 0), steps=3):
    """An object whose noise is `value` and whose states are 10 value + step."""
    states = torch.stack([torch.full((2, *mask.shape), 10 * value + k) for k in range(steps)]).half()
    return MovedObject(mask, offset, torch.full((2, *mask.shape), float(value)), states)


@pytest.mark.parametrize(
    "box, expected",
    [
        ((0.1, 0.1, 0.4, 0.5), (0.35, 0.4, 0.65, 0.8)),
        ((0.6, 0.7, 1.0, 0.9), (0.3, 0.6, 0.7, 0.8)),
        ((0.0, 0.05, 0.2, 0.95), (0.4, 0.0, 0.6, 0.9)),  # too tall to stand at 0.8
    ],
)
def test_a_box_alone_is_centred_and_stands_at_four_fifths(box, expected):
    assert centred(box) == pytest.approx(expected)


def test_noise_is_mixed_in_the_box_alone():
    background, own = torch.ones(2, 4, 4), torch.full((2, 4, 4), 2.0)
    mixed = mixed_noise(background, own, cells(4, 4, slice(1, 3), slice(0, 2)), 0.01)
    assert mixed[0, 1, 1].item() == pytest.approx(math.sqrt(0.99) + 0.2) == pytest.approx(1.19499, abs=1e-5)
    assert (mixed[:, 0] == 1).all() and (mixed[:, :, 2:] == 1).all()
    assert torch.equal(mixed_noise(background, own, cells(4, 4, 1, 1), 0.0), background)


def test_the_variance_of_mixed_noise_is_one():
    a, b = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)).unbind(0)
    mixed = mixed_noise(a, b, torch.ones(64, 64, dtype=torch.bool), 0.1)
    assert mixed.var().item() == pytest.approx(1, abs=0.05)


def test_an_object_moves_by_whole_eighths():
    mask = cells(16, 16, slice(8, 12), slice(6, 10))  # centroid (10, 8) / 16 = (0.625, 0.5)
    assert offset_to((0.0, 0.0, 0.25, 0.25), mask) == (-4, -3)
    assert offset_to((0.4, 0.5, 0.6, 0.75), mask) == (0, 0)
    assert offset_to((0.55, 0.5, 0.6, 0.75), mask) == (0, 1)  # 0.075 is nearer to an eighth than to none


@pytest.mark.parametrize("cell", [(7, 7), (8, 8), (0, 15), (3, 12)])
def test_an_object_of_one_cell_stays_on_the_canvas(cell):
    """Rounded to the nearest eighth it may land outside, and the composition would have nothing of it."""
    mask = cells(16, 16, slice(cell[0], cell[0] + 1), slice(cell[1], cell[1] + 1))
    for x in (0.0, 0.94):
        for y in (0.0, 0.94):
            assert shifted(mask, offset_to((x, y, x + 0.06, y + 0.06), mask)).any()


def test_all_grids_move_over_the_same_part_of_the_canvas():
    fine = torch.zeros(3, 16, 16)
    fine[:, 10, 8] = 7
    coarse = torch.zeros(8, 8)
    coarse[5, 4] = 7
    assert shifted(fine, (-4, -3))[:, 2, 2].tolist() == [7, 7, 7]
    assert shifted(coarse, (-4, -3))[1, 1] == 7
    assert shifted(fine, (-4, -3)).sum() == 21
    assert shifted(fine, (4, 0)).sum() == 0 and shifted(fine, (0, 8)).sum() == 0  # it has left the canvas
    assert torch.equal(shifted(fine, (0, 0)), fine)


def test_the_largest_mask_lies_below_whatever_the_order():
    large = object_of(cells(8, 8, slice(0, 6), slice(0, 6)), 1)
    small = object_of(cells(8, 8, slice(4, 7), slice(4, 7)), 2)
    for objects in ([large, small], [small, large]):
        made = Composition(objects, torch.zeros(2, 8, 8))
        state = made.at(2)
        assert state[:, 0, 0].tolist() == [12, 12] and state[:, 5, 5].tolist() == [22, 22]
        assert state[:, 7, 7].tolist() == [0, 0] and not made.mask[7, 7]
        assert made.mask.sum() == 36 + 9 - 4
        assert made.noise[0, 0, 0] == 1 and made.noise[0, 5, 5] == 2


def test_the_bounding_box_and_a_cell_around_it_bring_their_noise():
    ring = cells(8, 8, slice(2, 5), slice(2, 5))
    ring[3, 3] = False
    made = Composition([object_of(ring, 5)], torch.zeros(2, 8, 8))
    assert (made.noise[0] == 5).nonzero().amin(0).tolist() == [1, 1]
    assert (made.noise[0] == 5).sum() == 25 and not made.mask[3, 3] and made.mask.sum() == 8
    moved = Composition([object_of(ring, 5, (2, 1))], torch.zeros(2, 8, 8))
    assert torch.equal(moved.noise, shifted(made.noise, (2, 1))) and moved.at(0)[0, 4, 3] == 50


def test_a_changed_object_changes_only_the_cells_that_it_covers():
    still = object_of(cells(16, 16, slice(0, 4), slice(0, 4)), 1)
    mask = cells(16, 16, slice(6, 10), slice(6, 10))
    before, after = object_of(mask, 2), object_of(mask, 3, (2, 2))
    background = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    one, other = (Composition([still, o], background) for o in (before, after))
    touched = before.place | after.place
    changed = (one.at(1) != other.at(1)).any(0)
    assert changed.any() and not (changed & ~touched).any()
    wide = (one.noise != other.noise).any(0)
    assert not wide[:5, :5].any() and wide[5:15, 5:15].any()  # of the noise a cell more
    assert not wide[15:].any() and torch.equal(one.at(1)[:, :4, :4], other.at(1)[:, :4, :4])


def test_the_frozen_half():
    assert frozen_steps(50, 0.5) == range(1, 26)  # behind each of the steps 0 to 24
    assert frozen_steps(20, 0.5) == range(1, 11)
    assert list(frozen_steps(20, 0.0)) == [] and frozen_steps(20, 1.0) == range(1, 20)


def test_a_mask_is_what_is_connected_with_the_maximum():
    attention = torch.zeros(16, 16)
    attention[8, 8] = 1.0
    # exp(-d^2 / 4.5) >= 0.25 where d^2 <= 6.2: 1 + 4 + 4 + 4 + 8 cells
    assert mask_of_map(attention, (16, 16)).sum() == 21
    attention[2, 2] = 0.9  # another one, as strong, is not connected
    assert torch.equal(mask_of_map(attention, (16, 16)), mask_of_map(attention.triu().tril(), (16, 16)))
    mask = mask_of_map(attention, (16, 16))
    assert mask[8, 8] and not mask[2, 2] and mask.sum() == 21
    assert mask_of_map(attention, (64, 64)).sum() == pytest.approx(16 * 21, rel=0.15)


def test_smoothing_covers_the_same_part_of_every_grid():
    for side in (8, 32):
        attention = torch.zeros(side, side)
        attention[side // 2, side // 2] = 1.0
        share = mask_of_map(attention, (64, 64)).float().mean().item()
        assert share == pytest.approx(21 / 256, rel=0.35), side


def test_cells_that_touch_by_a_corner_are_not_connected():
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]], dtype=torch.bool)
    assert connected(mask, (0, 0)).sum() == 2 and connected(mask, (2, 3)).sum() == 3


def test_masks_of_any_size_are_brought_to_the_grid():
    mask = cells(64, 64, slice(0, 32), slice(0, 16))
    assert torch.equal(on_grid(mask, (8, 8)), cells(8, 8, slice(0, 4), slice(0, 2)))
    assert on_grid(cells(64, 64, 9, 9), (8, 8)).nonzero().tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="empty mask"):
        on_grid(torch.zeros(64, 64), (8, 8))


def test_what_is_no_number_in_a_mask_is_no_object():
    mask = cells(8, 8, slice(0, 4), slice(0, 4)).float()
    mask[7, 7] = float("nan")
    assert torch.equal(on_grid(mask, (8, 8)), cells(8, 8, slice(0, 4), slice(0, 4)))
    with pytest.raises(ValueError, match="masks has an empty mask"):
        on_grid(torch.full((8, 8), float("nan")), (4, 4))


def test_the_largest_mask_that_is_sure_and_where_the_attention_is():
    coarse = cells(8, 8, slice(2, 6), slice(2, 6))
    small, large = cells(8, 8, slice(2, 6), slice(2, 5)), cells(8, 8, slice(2, 7), slice(2, 7))
    elsewhere = cells(8, 8, slice(0, 8), slice(6, 8))
    assert torch.equal(choose_mask([(small, 0.9), (large, 0.9), (elsewhere, 0.99)], coarse), large)
    assert torch.equal(choose_mask([(small, 0.9), (large, 0.5)], coarse), small)
    assert torch.equal(choose_mask([(elsewhere, 0.2)], coarse), elsewhere)
    assert choose_mask([], coarse) is None and choose_mask([(torch.zeros(8, 8), 0.9)], coarse) is None


def placed(name, x=0.0, y=0.0, side=0.25):
    return PlacedObject(name, (x, y, x + side, y + side))


def test_seeds_are_those_of_the_paper():
    assert [box_seed(1, i) for i in range(3)] == [20, 21, 22] and box_seed(0xFFFFFFFFFFFFFFFF, 0) == 18


@pytest.mark.parametrize(
    "objects, expected",
    [
        ([placed("cat"), placed("dog", 0.5)], [0, 1]),  # nothing has changed
        ([placed("dog", 0.5), placed("cat")], [1, 0]),  # another order
        ([placed("cat", 0.7), placed("dog", 0.5)], [0, 1]),  # moved
        ([placed("cat", 0.1, side=0.5), placed("dog", 0.5)], [0, 1]),  # another size
        ([placed("dog", 0.5)], [1]),  # the cat has gone
        ([placed("bird"), placed("cat"), placed("dog", 0.5)], [2, 0, 1]),  # one more, written first
        ([placed("bird"), placed("dog", 0.5)], [0, 1]),  # instead of the cat
        ([placed("cat", 0.6), placed("cat"), placed("dog", 0.5)], [2, 0, 1]),  # a second cat
    ],
)
def test_an_object_keeps_the_seed_of_the_last_round(objects, expected):
    assert numbers_of(objects, [(placed("cat"), 0), (placed("dog", 0.5), 1)]) == expected
    assert numbers_of(objects, []) == list(range(len(objects)))


def attention(*shape, seed=0):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def maps_of(*layers):
    cross = torch.stack([a.mean(1) for a in layers]).mean(0)
    return AttentionMaps({4: cross}, tuple(range(N)), (Span("l", 1, N - 1),), {4: layers})


def context(**regions):
    return StepContext(8, 50, 5.63, 5.72, None, regions, {})


def test_every_image_of_a_batch_has_its_own_box_and_word():
    maps = maps_of(attention(2, 3, 8, 8, N), attention(2, 3, 8, 8, N, seed=1))
    each = EnergyPerImage((ImageBox(CAT, LEFT), ImageBox(DOG, RIGHT)))
    alone = [
        LMD()(maps.image(b), [one], context(**{one.label: region})).item()
        for b, (one, region) in enumerate(((CAT, LEFT), (DOG, RIGHT)))
    ]
    assert each(maps, [CAT], context(cat=RIGHT)).tolist() == pytest.approx(alone)
    shortfall = each.shortfall(maps, [CAT], context(cat=RIGHT), 5.0)
    assert shortfall.tolist() == pytest.approx([e - 5 for e in alone])


def test_the_loop_tests_energy_and_transfer_together():
    maps, here = maps_of(attention(1, 3, 8, 8, N)), context(cat=LEFT)
    reference = word_maps(maps_of(attention(1, 3, 8, 8, N, seed=5)), CAT, 4)[:, :, None]
    both = EnergyAndTransfer(LMD(), LMDTransfer(references={reference_key("cat", 4, 8): reference}))
    energy = LMD()(maps, [CAT], here)
    assert both(maps, [CAT], here).item() > energy.item()
    assert both.shortfall(maps, [CAT], here, 5.0).item() == pytest.approx(both(maps, [CAT], here).item() - 5)
    assert both(maps, [CAT], replace(here, index=9)).item() == pytest.approx(energy.item())


def test_references_reach_every_transfer_of_an_objective():
    found = {reference_key("cat", 4, 8): torch.ones(1, 1, 1, 1, 8, 8)}
    summed = WeightedSum(((1.0, LMD()), (0.5, LMDTransfer())))
    assert with_references(summed, found).parts[1][1].references is found
    assert with_references(LMDTransfer(), found).references is found
    assert overall_recipe(LMDSettings(), found).objective.transfer.references is found
    assert with_references(LMD(), found) == LMD()


def test_transfer_without_references_says_where_it_belongs():
    regions = {"cat": LEFT}
    assert "connect this objective there" in reason_to_skip(LMDTransfer(), [CAT], regions)
    assert reason_to_skip(LMDTransfer(references={"a": torch.ones(1)}), [CAT], regions) == ""
    assert reason_to_skip(WeightedSum(((1.0, LMD()), (1.0, LMDTransfer()))), [CAT], regions) == ""


def test_the_map_of_a_mask_is_the_mean_of_the_finest_level():
    words = {8: torch.full((1, 2, 4, 4), 9.0), 4: attention(3, 2, 8, 8)}
    assert torch.allclose(mean_map(words), words[4].mean((0, 1)))


def test_the_published_settings():
    boxes = (ImageBox(CAT, LEFT),)
    recipe = box_recipe(LMDSettings(), boxes)
    assert recipe.step_size.factor == 5 and recipe.step_size.function == "noise"
    assert [loop.rounds for loop in recipe.inner_loops] == [4, 3, 2, 1]
    assert box_recipe(LMDSettings(gligen=True), boxes) is None
    assert (LMDSettings().r, LMDSettings(gligen=True).r, LMDSettings(noise_mix=0.3).r) == (0.01, 0.1, 0.3)
    assert overall_recipe(LMDSettings(strength=0.5), {}).step_size.factor == 2.5


@pytest.mark.parametrize(
    "wrong", [{"strength": -1}, {"noise_mix": 2}, {"frozen": 1.5}, {"mask_threshold": 0}, {"transfer": -2}]
)
def test_a_setting_that_cannot_work_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LMDSettings(**wrong).check()


def test_boxes_keep_their_cells_when_they_are_centred():
    for x in (0.0, 0.1, 0.33, 0.6):
        box = (x, 0.2, x + 0.3, 0.7)
        assert box_mask(centred(box), 16, 16).sum() == box_mask(box, 16, 16).sum()
