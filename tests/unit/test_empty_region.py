"""The emptiest place of an image."""

import pytest
import torch

from gsn_ops.layout.empty_region import empty_regions


def masks(*boxes, height=40, width=60) -> torch.Tensor:
    """[k, H, W]; a box is (top, bottom, left, right), None = not found."""
    made = torch.zeros(len(boxes), height, width)
    for mask, box in zip(made, boxes, strict=True):
        if box is not None:
            top, bottom, left, right = box
            mask[top:bottom, left:right] = 1
    return made


def test_the_square_lies_in_the_free_half_and_off_what_was_found():
    given = masks((0, 40, 0, 25), None)
    found, lacking = empty_regions(given, 1, 1.0)
    assert lacking == [True] and found.shape == (1, 40, 60)
    rows, columns = torch.nonzero(found[0], as_tuple=True)
    assert columns.min() >= 25 and (found * given[:1]).sum() == 0
    assert rows.max() - rows.min() > 28 and columns.max() - columns.min() > 28


def test_size_is_the_most_and_a_full_image_gets_a_small_one():
    found, _ = empty_regions(masks(None), 1, 0.5)
    assert found.sum() == pytest.approx(20 * 20, abs=45) and found[0, 20, 30] == 1
    full, _ = empty_regions(masks((0, 40, 0, 60), None), 1, 0.5)
    assert 0 < full.sum() <= 4


def test_an_image_that_lacks_nothing_gets_an_empty_mask():
    both = torch.cat([masks((0, 9, 0, 9), (20, 30, 30, 40)), masks((0, 9, 0, 9), None)])
    found, lacking = empty_regions(both, 2, 0.5)
    assert lacking == [False, True] and found[0].sum() == 0 < found[1].sum()


def test_masks_of_other_images_are_refused():
    with pytest.raises(ValueError, match="3 masks are not of 2 images: connect MASK of the Subject Judge"):
        empty_regions(masks(None, None, None), 2, 0.5)
