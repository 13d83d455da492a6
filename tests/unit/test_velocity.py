"""FOCUS' velocity form: the published factor, and that it goes downhill under Euler."""

from __future__ import annotations

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapNeeds, StepContext
from gsn_ops.optimise.velocity import (
    evaluate_velocity_term,
    velocity_factor,
    velocity_term,
    with_velocity_term,
)
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase

SUBJECTS = (SubjectColumns(SubjectPhrase("dog", "dog"), {"l": (1,)}),)


class Valley:
    """L = mean (z - 0.3)^2; z is its own attention. broken: image whose maps are NaN."""

    needs = MapNeeds()

    def __init__(self, broken=None):
        self.forwards, self.broken = 0, broken

    def maps_of(self, z):
        self.forwards += 1
        a = z.movedim(1, -1)
        if self.broken is not None:
            a = a + torch.zeros(len(z)).index_fill(0, torch.tensor(self.broken), torch.nan).view(-1, 1, 1, 1)
        return AttentionMaps({2: a}, (0, 1, 2, 3), (Span("l", 0, 4),))

    def __call__(self, maps, subjects, context):
        return (maps.cross[2] - 0.3).square().mean((1, 2, 3))

    def look(self, x, sigma=0.8, **numbers):
        context = StepContext(3, 28, sigma, 1.0)
        done = evaluate_velocity_term(x, self.maps_of, self, SUBJECTS, context, **numbers)
        return done, done.velocity_term


def latent(batch=2):
    return torch.randn(batch, 4, 3, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "sigma, factor",
    [(1.0, 2002.0), (0.5, 2 * 0.5 * 0.501 / 0.501), (0.93, 2 * 0.93 * 0.931 / 0.071), (0.0, 0.0)],
)
def test_factor(sigma, factor):
    assert velocity_factor(sigma) == pytest.approx(factor)
    g = latent()
    assert torch.allclose(velocity_term(g, sigma, 1.0), factor * g) and torch.allclose(
        velocity_term(g, sigma, 4.0), 4 * factor * g
    )
    assert torch.equal(velocity_term(g, sigma), velocity_term(g, sigma, 4.0))


def test_euler_with_the_term_in_the_prediction_is_euler_with_it_in_the_velocity():
    x, v, g, sigma, after = latent(), latent() * 0.5, latent() * 0.1, 0.9, 0.8
    denoised = with_velocity_term(x - sigma * v, g, sigma)  # CONST: denoised = x - sigma v
    euler = x + (x - denoised) / sigma * (after - sigma)
    assert torch.allclose(euler, x + (v + g) * (after - sigma), atol=1e-6)
    assert torch.allclose(
        euler - (x + v * (after - sigma)), -(sigma - after) * g, atol=1e-6
    )  # against the gradient


def test_it_goes_downhill_over_a_whole_run():
    valley, x, losses = Valley(), latent(), []
    sigmas = [1 - i / 28 for i in range(29)]
    for sigma, after in zip(sigmas, sigmas[1:], strict=False):
        done, term = valley.look(x, sigma, weight=0.01)
        losses.append(done.losses[0])
        denoised = with_velocity_term(
            x, term, sigma
        )  # a model whose velocity is 0: whatever moves is the term
        x = x + (x - denoised) / sigma * (after - sigma)
    losses = torch.stack(losses)
    assert (losses[1:] < losses[:-1]).all() and (losses[-1] < 0.9 * losses[0]).all()
    assert valley.forwards == 28  # one look per step


def test_the_latent_is_untouched_and_one_look_is_spent():
    valley, x, calls = Valley(), latent(), []
    done, term = valley.look(x, weight=2.0, on_evaluation=calls.append)
    assert valley.forwards == 1 and calls == [0] and done.losses.shape == (1, 2)
    assert torch.equal(done.z, x) and done.updates.tolist() == [0, 0]
    assert torch.allclose(term, 2.0 * velocity_factor(0.8) * 2 * (x - 0.3) / x[0].numel(), atol=1e-5)
    assert not term.requires_grad


def test_an_image_that_is_not_finite_gets_no_term():
    x = latent(3)
    done, term = Valley(broken=1).look(x)
    _, whole = Valley().look(x)
    assert done.non_finite.tolist() == [False, True, False] and not term[1].any()
    assert torch.equal(term[[0, 2]], whole[[0, 2]])


def test_images_of_a_batch_do_not_notice_each_other():
    x = latent(3)
    _, together = Valley().look(x)
    assert all(torch.equal(Valley().look(x[b : b + 1])[1][0], together[b]) for b in range(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_prediction_keeps_its_dtype(dtype):
    term = latent() * 0.1
    assert with_velocity_term(latent().to(dtype), term, 0.9).dtype == dtype
    per_image = torch.tensor([0.9, 0.5]).view(-1, 1, 1, 1)
    assert torch.allclose(with_velocity_term(latent(), term, per_image)[1], latent()[1] - 0.5 * term[1])


def test_nothing_to_gain_means_no_term():
    _, term = Valley().look(torch.full((1, 4, 3, 2), 0.3))
    assert not term.any()
