"""Images of a batch do not notice each other: in the maps, loss and gradient of a shift, and in every
decision to stop.

Final latents are not compared between a batch and single runs: the stock host itself differs there by 1e-5,
and shifts amplify it.
"""

import dataclasses

import pytest
import torch

from ..support.demo_model import empty, recording
from ..support.probe_oracle import look

STEP = 1


@pytest.fixture(scope="module")
def noise():
    return torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(11))


def close(a, b):
    return (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_one_shift_gives_each_image_the_maps_loss_and_gradient_it_has_alone(tiny, noise):
    together = look(tiny, step=0, levels=(2, 4), latent=empty(3), noise=noise)
    for i in range(3):
        alone = look(tiny, step=0, levels=(2, 4), noise=noise[i : i + 1])
        for ours, right in ((together.full, alone.full), (together.cut, alone.cut)):
            for level in (2, 4):
                assert close(ours.maps[level][i], right.maps[level][0])
            assert close(ours.loss[i], right.loss[0]) and close(ours.gradient[i], right.gradient[0])


def refined(tiny, noise, **changes):
    """A run with a refinement at STEP: final latent, the action's report, and the states [B, ...] that the
    sampler went on with.
    """
    seen = []
    model, book = tiny.attach(recording(tiny.model, seen), step=STEP, **changes)
    out = tiny.sample(model, noise=noise, latent=torch.zeros_like(noise))
    return out, book.find(out).recipes[0], [x for _, x, grad in seen if not grad]


def stock_states(tiny, noise):
    seen = []
    out = tiny.sample(recording(tiny.model, seen), noise=noise, latent=torch.zeros_like(noise))
    return out, [x for _, x, _ in seen]


def test_loss_and_shifted_state_of_a_whole_refinement_step(tiny, noise):
    _, together, states = refined(tiny, noise, shifts=1, report="curve")
    for i in range(3):
        _, alone, single = refined(tiny, noise[i : i + 1], shifts=1, report="curve")
        assert together.losses[0][i] == pytest.approx(
            alone.losses[0][0], rel=1e-4
        )  # the states differ by ComfyUI's own 1e-5
        assert together.maxima_before[i] == pytest.approx(alone.maxima_before[0], rel=1e-4)
        assert (states[STEP][i] - single[STEP][0]).abs().max() < 1e-3 * single[STEP].abs().max()


def assert_only(tiny, noise, stopped, ours, free):
    """`stopped` images are stock to the last bit, the others what they are in `free`, a run in which nobody
    stops.
    """
    stock, states = stock_states(tiny, noise)
    for i in range(len(noise)):
        right, right_states = (stock, states) if i in stopped else (free[0], free[2])
        assert torch.equal(ours[2][STEP][i], right_states[STEP][i])
        assert torch.equal(ours[0][i], right[i])
    assert not torch.equal(ours[0], stock)


def test_an_image_stops_at_its_loss_and_the_others_go_on(tiny, noise):
    small = {
        "shifts": 3,
        "learning_rate": 1e-4,
        "report": "curve",
    }  # so small that no other image reaches the loss on the way
    free = refined(tiny, noise, **small)
    first = free[1].losses[0]
    wanted = sum(sorted(first)[:2]) / 2
    stopped = {i for i in range(3) if first[i] <= wanted}
    assert len(stopped) == 1 and all(
        row[i] > wanted for row in free[1].losses for i in range(3) if i not in stopped
    )
    ours = refined(tiny, noise, stop_at_loss=wanted, **small)
    assert ours[1].updates == tuple(0 if i in stopped else 3 for i in range(3))
    assert_only(tiny, noise, stopped, ours, free)


def test_an_image_whose_subjects_are_present_is_left_alone(tiny, noise):
    free = refined(tiny, noise, shifts=2, report="curve")
    weakest = [min(maxima) for maxima in free[1].maxima_before]
    present_at = sum(sorted(weakest)[1:]) / 2
    stopped = {i for i in range(3) if weakest[i] >= present_at}
    ours = refined(tiny, noise, shifts=2, only_if_needed=True, present_at=present_at, report="curve")
    assert len(stopped) == 1 and "1 of 3 images left alone" in ours[1].status
    assert ours[1].updates == tuple(0 if i in stopped else 2 for i in range(3))
    assert_only(tiny, noise, stopped, ours, free)


def test_when_no_image_needs_anything_the_run_is_stock_and_ends_after_one_look(tiny, noise):
    ours, action, _ = refined(tiny, noise, shifts=5, only_if_needed=True, present_at=0.0, report="curve")
    assert torch.equal(ours, stock_states(tiny, noise)[0])
    assert action.updates == (0, 0, 0) and (action.forwards, action.backwards) == (1, 0)


def test_a_batch_ends_with_its_slowest_image(tiny, noise):
    """Passes are shared: as many as the last image needs, and no backward pass for the look that only finds
    it done.
    """
    numbers = {"shifts": 8, "learning_rate": 0.05, "adaptive": "image", "report": "curve"}
    course = list(zip(*refined(tiny, noise, **numbers)[1].losses, strict=True))  # [image][look]
    level = max(min(losses[:5]) for losses in course)  # each image is there by its fifth look
    looks = [next(j for j, loss in enumerate(losses) if loss <= level) for losses in course]
    assert len(set(looks)) > 1 and max(looks) < 5
    action = refined(tiny, noise, stop_at_loss=level, **numbers)[1]
    assert action.updates == tuple(looks)
    assert (action.forwards, action.backwards) == (max(looks) + 1, max(looks))


def test_an_image_with_a_broken_loss_keeps_its_latent_and_the_others_go_on(tiny, noise):
    free = refined(tiny, noise, shifts=2, report="curve")
    objective = tiny.recipe().objective

    @dataclasses.dataclass(frozen=True)
    class BrokenForOne:
        needs: object = objective.needs

        def __call__(self, maps, subjects, context):
            return objective(maps, subjects, context) * torch.tensor([1.0, float("nan"), 1.0])

    ours = refined(tiny, noise, shifts=2, objective=BrokenForOne(), report="curve")
    assert ours[1].updates == (2, 0, 2) and ", 1 image stopped early: " in ours[1].status
    assert_only(tiny, noise, {1}, ours, free)


def test_the_loss_of_an_image_that_has_stopped_counts_as_it_was_last(tiny):
    """The mean of those that go on alone told of a loss that rose."""
    first = tiny.attach(step=1, shifts=1, report="curve")
    tiny.sample(first[0], latent=empty(2))
    low, high = sorted(first[1].last().recipes[0].losses[0])
    patched, book = tiny.attach(step=1, shifts=3, report="curve", stop_at_loss=(low + high) / 2)
    tiny.sample(patched, latent=empty(2))
    recipe = book.last().recipes[0]
    assert sorted(recipe.updates)[0] == 0 and max(recipe.updates) > 0
    last = [[loss for loss in image if loss == loss][-1] for image in zip(*recipe.losses, strict=True)]
    means = sum(recipe.losses[0]) / 2, sum(last) / 2
    assert f"loss {means[0]:.3f} -> {means[1]:.3f}," in recipe.status, recipe.status


def test_of_a_single_evaluation_nothing_is_said_about_a_loss_afterwards(tiny):
    patched, book = tiny.attach(step=1, shifts=1, report="curve")
    tiny.sample(patched)
    recipe = book.last().recipes[0]
    assert recipe.updates == (1,) and f"loss {recipe.losses[0][0]:.3f} before, 1 forward" in recipe.status
    assert "did not fall" not in recipe.status + recipe.line
