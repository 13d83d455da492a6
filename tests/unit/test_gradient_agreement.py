"""The comparison of gradients that decides about bfloat16."""

import pytest
import torch

from gsn_ops.maps import AttentionMaps
from gsn_ops.optimise import gradient_agreement
from gsn_ops.optimise.overrides import override
from gsn_ops.optimise.refine import Refine


def test_beside_a_kink_of_the_loss_the_passes_are_compared_and_not_its_sides():
    """|m| asks for +1 at m = 1e-3 and for -1 at -1e-3: a rounding error of the map that turns the loss turns no comparison."""
    z, cosines = torch.tensor([[1e-3]]), []

    def maps_of(at, shift=0.0):
        return AttentionMaps({1: (3 * at - shift)[:, :, None, None]}, (0,), ())

    def in_half(at, map_gradients):
        leaf = at.requires_grad_(True)
        m = maps_of(leaf, 4e-3).cross[1]
        assert (m < 0).all() and torch.equal(map_gradients[1], torch.ones(1, 1, 1, 1))
        return torch.autograd.grad((m * map_gradients[1]).sum(), leaf)[0]

    trial = gradient_agreement.GradientAgreementCheck(maps_of, in_half, cosines.append)
    leaf = z.clone().requires_grad_(True)
    torch.autograd.grad(trial(leaf).cross[1].abs().sum(), leaf)
    trial.decide()
    assert cosines == [1.0] and trial.map_gradients == {}


def test_agreement_is_that_of_the_worst_image():
    a = torch.eye(3)[:, None, :]
    assert gradient_agreement.agreement(a, 2 * a) == pytest.approx(1)
    b = a.clone()
    b[1, 0, 0] = 1.0
    assert gradient_agreement.agreement(a, b) == pytest.approx(0.5**0.5)
    assert (
        gradient_agreement.agreement(torch.zeros(2, 3), torch.zeros(2, 3)) == 1
    )  # a loss that is reached has no gradient
    assert gradient_agreement.agreement(torch.zeros(2, 3), torch.ones(2, 3)) == 0
    assert gradient_agreement.agreement(torch.full((2, 3), torch.nan), torch.ones(2, 3)) == -1


def test_precision_can_be_typed_among_the_overrides():
    (recipe,) = override((Refine(),), "shifts=3, precision=full")
    assert (recipe.shifts, recipe.precision) == (3, "full")
    with pytest.raises(ValueError, match="character 1: precision is 'half': choose auto, full or bfloat16"):
        override((Refine(),), "precision=half")
