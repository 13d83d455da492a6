"""The formulas of editing: order of accuracy on a field whose solution is known, costs, and their limits."""

import pytest
import torch

from gsn_ops.editing.flow_edit import edit_step, noisy
from gsn_ops.editing.ode import EULER, FIREFLOW, METHODS, MIDPOINT, evaluations, steps
from gsn_ops.editing.rf_inversion import to_image, to_noise

SIGMAS = (0.5, 2.0)
START = torch.tensor([0.9, -0.4, 0.2], dtype=torch.float64)


def two_points(x, sigma):
    """(x - D) / sigma of the best denoiser of data that are 1 or -1."""
    return (x - torch.tanh(x / sigma**2)) / sigma


def grid(n, rising=True):
    stops = [SIGMAS[0] + (SIGMAS[1] - SIGMAS[0]) * k / n for k in range(n + 1)]
    return stops if rising else stops[::-1]


def last(velocity, x, sigmas, method):
    *_, x = steps(velocity, x, sigmas, method)
    return x


@pytest.fixture(scope="module")
def solution():
    return last(two_points, START, grid(4096), MIDPOINT)


ORDERS = pytest.mark.parametrize(("method", "order"), [(EULER, 2), (MIDPOINT, 4), (FIREFLOW, 4)])


@ORDERS
def test_the_error_falls_with_the_methods_order(method, order, solution):
    errors = [(last(two_points, START, grid(n), method) - solution).abs().max().item() for n in (32, 64, 128)]
    for error, half in zip(errors, errors[1:]):
        assert 0.95 * order < error / half < 1.1 * order


def gap(method, n):
    """What is missing after the way there and back."""
    there = last(two_points, START, grid(n), method)
    return (last(two_points, there, grid(n, rising=False), method) - START).abs().max().item()


@ORDERS
def test_there_and_back_closes_at_least_with_the_methods_order(method, order):
    assert gap(method, 64) / gap(method, 128) > 0.95 * order
    assert method == EULER or 100 * gap(method, 64) < gap(EULER, 64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", (1, 2, 7))
def test_the_cost_is_what_is_said(method, n):
    calls = []

    def counted(x, sigma):
        calls.append(sigma)
        return two_points(x, sigma)

    assert len(list(steps(counted, START, grid(n), method))) == n
    assert len(calls) == evaluations(n, method)
    assert min(calls) >= SIGMAS[0] and max(calls) <= SIGMAS[1]


def test_a_sent_state_is_gone_on_with():
    run = steps(two_points, START, grid(4), EULER)
    first = next(run)
    assert torch.equal(run.send(START), START + 0.375 * two_points(START, 0.875))
    assert not torch.equal(first, START)
    assert list(steps(two_points, START, [1.0], EULER)) == []


def test_another_method_is_refused():
    with pytest.raises(ValueError, match="choose one of fireflow, midpoint, euler"):
        next(steps(two_points, START, grid(2), "heun"))


def test_flow_edit_of_equal_prompts_changes_nothing_and_a_mask_limits_the_change():
    noise = torch.tensor([0.3, 1.0, -2.0], dtype=torch.float64)
    same = edit_step(START, START, (0.8, 0.7), [noise], (two_points, two_points))
    assert torch.equal(same, START)
    other = (two_points, lambda x, sigma: x * 2 - sigma)
    for flow in (True, False):
        free = edit_step(START, START, (0.8, 0.7), [noise], other, flow)
        held = edit_step(START, START, (0.8, 0.7), [noise], other, flow, torch.tensor([1.0, 0.0, 0.5]))
        assert (free != START).all() and held[0] == free[0] and held[1] == START[1]
    assert torch.allclose(noisy(START, noise, 1.0, True), noise)
    assert torch.equal(noisy(START, noise, 0.0, False), START)


def test_the_ends_of_gamma_and_eta():
    noise = torch.zeros_like(START)
    assert torch.allclose(to_noise(START, noise, (0.5, 1.0), two_points, 1.0), noise)
    assert torch.allclose(
        to_noise(START, noise, (0.5, 0.6), two_points, 0.0), START + 0.1 * two_points(START, 0.5)
    )
    assert torch.allclose(to_image(noise, START, (0.5, 0.0), two_points, 1.0), START)
    assert torch.allclose(
        to_image(START, noise, (0.6, 0.5), two_points, 0.0), START - 0.1 * two_points(START, 0.6)
    )
