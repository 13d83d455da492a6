"""Losses on pictures and the guidance formula."""

import numpy as np
import pytest
import torch

from gsn_ops.judge.demo_shapes import PALETTE, SHAPES, coverage
from gsn_ops.judge.picture_loss import ClipLoss, ShapesLoss
from gsn_ops.optimise.picture_guidance import guided
from gsn_ops.subjects.syntax import parse_subjects


def drawn(*objects, side=32) -> torch.Tensor:
    """A picture [1, side, side, 3] of (colour, shape, x, y) on white."""
    picture = np.full((32, 32, 3), 0.9, np.float32)
    for colour, shape, x, y in objects:
        share = coverage(shape, 11, x, y)[0][..., None]
        picture = picture * (1 - share) + share * np.array(PALETTE[colour])
    return (
        torch.from_numpy(picture)
        .float()
        .repeat_interleave(side // 32, 0)
        .repeat_interleave(side // 32, 1)[None]
    )


def loss_of(text: str, picture: torch.Tensor) -> float:
    return float(ShapesLoss.of(parse_subjects(text))(picture))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fits_itself_best_wherever_it_is(shape):
    own = loss_of(f"red {shape}", drawn(("red", shape, 10, 20)))
    assert own < 0.2 and abs(own - loss_of(f"red {shape}", drawn(("red", shape, 21, 9)))) < 0.05
    others = [loss_of(f"red {other}", drawn(("red", shape, 10, 20))) for other in SHAPES if other != shape]
    assert own < min(others)
    assert loss_of(f"blue {shape}", drawn(("red", shape, 10, 20))) > 0.8
    assert abs(loss_of(f"a {shape}", drawn(("red", shape, 10, 20))) - own) < 0.1


def test_every_missing_subject_costs_and_a_large_picture_is_judged_alike():
    both = drawn(("red", "circle", 9, 16), ("blue", "square", 23, 16))
    one, text = drawn(("red", "circle", 9, 16)), "red circle, blue square"
    assert loss_of(text, both) < 0.2 < 0.4 < loss_of(text, one) < loss_of(text, drawn())
    large = drawn(("red", "circle", 9, 16), ("blue", "square", 23, 16), side=256)
    assert loss_of(text, large) == pytest.approx(loss_of(text, both), abs=1e-4)
    assert ShapesLoss.of(parse_subjects(text))(torch.cat([both, one])).tolist() == pytest.approx(
        [loss_of(text, both), loss_of(text, one)], abs=1e-5
    )


def test_other_things_than_shapes_are_refused():
    with pytest.raises(ValueError, match="cannot guide to 'red cat': name one of these, or choose CLIP"):
        ShapesLoss.of(parse_subjects("red cat, blue square"))


def test_the_clip_loss_is_the_cosine_to_the_text():
    text, pictures = torch.tensor([3.0, 4.0]), torch.rand(2, 4, 4, 3)
    seen = torch.tensor([[6.0, 8.0], [-4.0, 3.0]])
    assert ClipLoss(lambda p: seen, text)(pictures).tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


def test_the_noise_changes_by_scale_and_images_without_a_gradient_keep_their_bits():
    x, denoised, gradient = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    gradient[1], gradient[2, 0, 0, 0] = 0, torch.nan
    out = guided(denoised, gradient * 1e-9, 2.0, 0.3)
    assert torch.equal(out[1:], denoised[1:])
    change = ((x - out) / 2.0 - (x - denoised) / 2.0)[0]  # of the predicted noise
    assert change.square().mean().sqrt() == pytest.approx(0.3, rel=1e-4)
    assert torch.nn.functional.cosine_similarity(change.flatten(), gradient[0].flatten(), 0) > 0.9999
