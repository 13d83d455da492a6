"""What a method may cost, and how many update steps a budget has."""

import pytest

from gsn_ops.cost import amount, at_most, in_images, updates_within


@pytest.mark.parametrize(
    "budget, plain, reserved, updates",
    (
        (1.0, 8, 0, 4),
        (1.0, 4, 0, 2),
        (1.0, 40, 0, 20),
        (1.0, 8, 2, 3),
        (0.1, 8, 0, 0),
        (0, 40, 0, 0),
        (0.3, 40, 0, 6),
    ),
)
def test_update_steps_within_a_budget(budget, plain, reserved, updates):
    assert updates_within(budget, plain, reserved) == updates
    assert 2 * updates + reserved <= max(budget * plain, reserved)


@pytest.mark.parametrize(
    "images, said", ((0.0376, "0.038"), (0.9, "0.9"), (1.0, "1"), (12.5, "12"), (125, "125"))
)
def test_a_cost_has_two_digits(images, said):
    assert amount(images) == said


def test_a_cost_of_more_than_three_images_is_said_to_be_one():
    assert at_most(3.0) == "up to +3 images" and in_images(24, 8) == 3
    assert "more than 3" in at_most(in_images(25, 8)) and "Auto" in at_most(12.5)
