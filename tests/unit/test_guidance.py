"""One sampling step of guidance, line by line: which forwards, which updates, with which gradient, and who
stops when.
"""

from __future__ import annotations

import math

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapNeeds, StepContext
from gsn_ops.optimise.descent import Descent
from gsn_ops.optimise.guidance import descend, guide
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase

SUBJECTS = [SubjectColumns(SubjectPhrase("dog", "dog"), {"l": (1,)})]
CELLS = 16  # of an image: 4 channels, 2 x 2
WORDS = torch.tensor(
    [1.0, 1.003, 1.0, 0.997]
)  # "dog" sees a little more, so its second softmax tells the level


class World:
    """A model and an objective: loss = mean(z)^2, so an update of size a makes mean(z) smaller by the factor
    1 - 2 a / CELLS.

    Writes down the mean of each image at each look. broken: look -> image whose maps turn into NaN there.
    """

    needs = MapNeeds()

    def __init__(self, broken=None):
        self.seen, self.active, self.broken = [], [], broken or {}

    def maps_of(self, z):
        assert z.dtype == torch.float32 and z.requires_grad
        self.seen.append([round(v, 6) for v in z.detach().flatten(1).mean(1).tolist()])
        a = z.flatten(1).mean(1).view(-1, 1, 1, 1) * WORDS.expand(2, 2, 4)  # [B, h, w, 4]
        if len(self.seen) - 1 in self.broken:
            a = a + torch.zeros(len(z)).index_fill(
                0, torch.tensor(self.broken[len(self.seen) - 1]), torch.nan
            ).view(-1, 1, 1, 1)
        return AttentionMaps({2: a}, (0, 1, 2, 3), (Span("l", 0, 4),))

    def __call__(self, maps, subjects, context):
        self.active.append(context.memory["active"].tolist())
        return maps.cross[2].mean((1, 2, 3)) ** 2


SIZE = 0.8
STEP = 1 - 2 * SIZE / CELLS  # mean(z) after an update / before


def images(*means):
    return torch.stack([torch.full((4, 2, 2), float(m)) for m in means])


def descent(world, z, on_evaluation=lambda j: None, subjects=SUBJECTS):
    return Descent(z, world.maps_of, world, subjects, StepContext(10, 50, 4.69, 4.8), on_evaluation)


def means(z):
    return z.flatten(1).mean(1).tolist()


def attend_and_excite(m, threshold, in_window, max_refine):
    """The authors' code for one image, word by word: (mean of z, looks, updates, refinement iterations)."""
    looks = updates = n = 0

    def look():
        nonlocal looks
        looks += 1
        return m**2

    loss = look()
    if threshold is not None and loss > 1 - threshold:
        current = loss
        while current > 1 - threshold:
            n += 1
            current = look()
            if current != 0:
                m, updates = m * STEP, updates + 1
            if n >= max_refine:
                break
        loss = look()
    if in_window and loss != 0:
        m, updates = m * STEP, updates + 1
    return m, looks, updates, n


LEVELS = [2.0, 1.2, 1.0, 0.95, 0.9, 0.75, 0.71, 0.7, 0.5, 0.1, 0.0]


@pytest.mark.parametrize("in_window", [True, False])
@pytest.mark.parametrize("threshold", [None, 0.0, 0.05, 0.5, 0.8])
@pytest.mark.parametrize("level", LEVELS)
def test_a_step_is_the_authors_code(level, threshold, in_window):
    world = World()
    m, looks, updates, n = attend_and_excite(level, threshold, in_window, 6)
    rounds = {} if threshold is None else {"threshold": threshold, "max_rounds": 6}
    done = guide(descent(world, images(level)), SIZE, in_window=in_window, **rounds)
    assert means(done.z) == pytest.approx([m], abs=1e-6)
    assert done.updates.tolist() == [updates] and done.rounds.tolist() == [n]
    assert (
        len(world.seen) == len(done.losses) == looks - (n > 0)
    )  # the first iteration looks where the entry has looked
    if threshold is not None:
        assert done.guided.tolist() == [n > 0]
        final = (m / STEP if in_window and m else m) ** 2
        assert done.success.tolist() == [n > 0 and final <= 1 - threshold]


def test_the_iteration_that_satisfies_the_threshold_still_updates():
    world = World()  # losses 0.64, 0.5184 and 0.4199 < 0.5 at the third look, which still moves
    done = guide(descent(world, images(0.8)), SIZE, in_window=False, threshold=0.5, max_rounds=20)
    assert done.rounds.tolist() == [3] and done.losses.flatten().tolist() == pytest.approx(
        [0.64 * STEP ** (2 * j) for j in range(4)]
    )
    assert means(done.z) == pytest.approx([0.8 * STEP**3])
    assert done.success.all()


def test_at_most_max_rounds_and_then_one_more():
    world = World()
    done = guide(descent(world, images(100)), SIZE, in_window=True, threshold=0.05, max_rounds=20)
    assert (
        done.updates.tolist() == [21] and done.rounds.tolist() == [20] and len(world.seen) == 21
    )  # one look per update
    assert not done.success.any() and done.guided.all()


def test_every_update_uses_the_gradient_of_the_latent_it_moves():
    """Looks at m, m STEP, m STEP^2, ...: no gradient serves twice, none is stale."""
    world = World()
    guide(descent(world, images(3)), SIZE, in_window=True, threshold=0.5, max_rounds=4)
    assert [m for (m,) in world.seen] == pytest.approx([3 * STEP**j for j in range(5)], abs=2e-6)


def test_loss_zero_means_no_update():
    world, z = World(), images(0.0)
    done = guide(descent(world, z), SIZE, in_window=True)
    assert torch.equal(done.z, z) and done.updates.tolist() == [0] and not done.non_finite.any()


def test_above_one_a_threshold_cannot_be_reached_and_loss_zero_ends_it():
    world, z = World(), images(0.0)
    done = guide(descent(world, z), SIZE, in_window=True, threshold=1.2, max_rounds=20)
    assert torch.equal(done.z, z) and len(world.seen) == 1  # nothing moves it, so nothing is looked at again
    assert done.guided.tolist() == [True] and done.success.tolist() == [False]


def test_exact_rounds_have_no_test():
    world = World()  # far below any threshold
    done = guide(descent(world, images(0.1)), SIZE, in_window=True, max_rounds=20)
    assert done.updates.tolist() == [21] and len(world.seen) == 21
    assert done.guided is None and done.success is None  # no checkpoint of the counters: nothing was tested


def test_exact_rounds_outside_the_window_look_no_more_than_they_update():
    world = World()
    done = guide(descent(world, images(0.1)), SIZE, in_window=False, max_rounds=20)
    assert done.updates.tolist() == [20] and len(world.seen) == 20


def test_exact_rounds_of_nothing_cost_one_look():
    world = World()  # CONFORM at a first step without pairs: loss 0
    done = guide(descent(world, images(0.0)), SIZE, in_window=True, max_rounds=20)
    assert done.updates.tolist() == [0] and len(world.seen) == 1


@pytest.mark.parametrize("max_rounds", [0, 5])
def test_a_threshold_step_outside_the_window_only_looks_if_nothing_lacks(max_rounds):
    world, z = World(), images(0.5)
    done = guide(descent(world, z), SIZE, in_window=False, threshold=0.5, max_rounds=max_rounds)
    assert torch.equal(done.z, z) and len(world.seen) == 1 and done.updates.tolist() == [0]


def test_on_evaluation_comes_before_each_look():
    world, calls = World(), []
    guide(
        descent(world, images(3), lambda j: calls.append((j, len(world.seen)))),
        SIZE,
        in_window=True,
        threshold=0.5,
        max_rounds=4,
    )
    assert calls == [(j, j) for j in range(5)]


def test_cancel_passes_through():
    def cancel(j):
        if j == 2:
            raise KeyboardInterrupt

    world, z = World(), images(3)
    with pytest.raises(KeyboardInterrupt):
        guide(descent(world, z, cancel), SIZE, in_window=True, threshold=0.5, max_rounds=4)
    assert len(world.seen) == 2 and torch.equal(z, images(3))


def test_the_input_is_left_alone_and_the_output_is_float32():
    z = images(3, 1).to(torch.bfloat16)
    before = z.clone()
    done = guide(descent(World(), z), SIZE, in_window=True, threshold=0.5, max_rounds=4)
    assert torch.equal(z, before) and done.z.dtype == torch.float32 and not done.z.requires_grad


@pytest.mark.parametrize(
    "numbers",
    [
        {"in_window": True},
        {"in_window": True, "threshold": 0.5, "max_rounds": 8},
        {"in_window": False, "threshold": 0.3, "max_rounds": 8},
        {"in_window": True, "max_rounds": 5},
    ],
)
def test_images_of_a_batch_are_the_images_alone(numbers):
    z = images(3, 0.9, 0.0, 0.72, 0.1)
    together = guide(descent(World(), z), SIZE, **numbers)
    for b in range(len(z)):
        alone = guide(descent(World(), z[b : b + 1]), SIZE, **numbers)
        for name in ("z", "updates", "rounds", "maxima", "maxima_after", "guided", "success"):
            one, all_ = getattr(alone, name), getattr(together, name)
            assert one is None and all_ is None or torch.equal(one[0], all_[b]), name
        looked = together.losses[:, b][together.losses[:, b].isfinite()]
        assert torch.equal(alone.losses[:, 0], looked)


def test_objectives_are_told_who_still_goes_on():
    """What an objective remembers of an image (InitNO's cache) may only move on with that image."""
    world = World()
    guide(descent(world, images(0.9, 0.0, 0.75)), SIZE, in_window=True, threshold=0.5, max_rounds=8)
    assert world.active == [
        [True] * 3,
        [True, False, True],
        [True, False, False],
        [True, False, False],
        [True, False, True],
    ]


def test_own_test_of_the_objective_decides():
    class Own(World):
        def shortfall(self, maps, subjects, context, threshold):
            assert not torch.is_grad_enabled()
            return maps.cross[2].mean((1, 2, 3)) - threshold  # [B], on the mean instead of the loss

    world = Own()
    done = guide(descent(world, images(3, 2, 0.4)), SIZE, in_window=False, threshold=1.9, max_rounds=20)
    steps = [1 + math.ceil(math.log(1.9 / m) / math.log(STEP)) for m in (3, 2)]
    assert (
        done.rounds.tolist() == [*steps, 0]
        and done.guided.tolist() == [True, True, False]
        and done.success.tolist() == [True, True, False]
    )


def test_maxima_before_and_after():
    done = guide(descent(World(), images(3, 0.1)), SIZE, in_window=True, threshold=0.5, max_rounds=3)
    before, after = (
        torch.tensor([[m], [0.1]]) * WORDS * 100 for m in (3, 3 * STEP**3)
    )  # at the last look, before the per-step update
    assert torch.allclose(done.maxima, before.softmax(1)[:, 1:2]) and torch.allclose(
        done.maxima_after, after.softmax(1)[:, 1:2]
    )
    assert done.maxima_after[0] < done.maxima[0] and done.maxima_after[1] == done.maxima[1]


class Remembering(World):
    """A loss against a slowly following memory, which rests for images that are done (as InitNO's
    alignment).
    """

    def __call__(self, maps, subjects, context):
        m = maps.cross[2].mean((1, 2, 3))
        memory, old = context.memory, context.memory.get("m", m.detach())
        memory["m"] = torch.where(memory["active"], 0.9 * old + 0.1 * m.detach(), old)
        return m**2 + (m - memory["m"]).abs()


def test_a_memory_belongs_to_its_image():
    def two_steps(z):
        memory, world = {}, Remembering()
        for _ in range(2):
            here = StepContext(10, 50, 4.69, 4.8, memory=memory)
            z = guide(
                Descent(z, world.maps_of, world, SUBJECTS, here, lambda j: None),
                SIZE,
                in_window=True,
                threshold=0.5,
                max_rounds=6,
            ).z
        return z

    z = images(3, 0.1, 0.8, 0.72)
    together = two_steps(z)
    assert all(torch.equal(two_steps(z[b : b + 1])[0], together[b]) for b in range(4))


# What is not finite


def test_an_image_that_breaks_goes_back_and_rests():
    world = World(broken={3: 1})
    numbers = {"in_window": True, "threshold": 0.05, "max_rounds": 6}
    done = guide(descent(world, images(9, 8, 7)), SIZE, **numbers)
    assert done.non_finite.tolist() == [False, True, False]
    assert means(done.z)[1] == pytest.approx(8 * STEP**2)  # where it looked last with a finite loss
    assert done.updates.tolist() == [7, 2, 7] and done.success.tolist() == [False] * 3
    assert all(
        seen[1] == pytest.approx(8 * STEP**2, abs=1e-5) for seen in world.seen[4:]
    )  # no update at all any more
    whole = guide(descent(World(), images(9, 7)), SIZE, **numbers)
    assert torch.equal(done.z[[0, 2]], whole.z)  # the others do not notice
    assert done.losses[:3, 1].isfinite().all() and done.losses[3:, 1].isnan().all()


@pytest.mark.parametrize("numbers", [{}, {"threshold": 0.05, "max_rounds": 6}, {"max_rounds": 6}])
def test_broken_at_the_first_look_means_unchanged(numbers):
    world = World(broken={0: 0})
    done = guide(descent(world, images(9)), SIZE, in_window=True, **numbers)
    assert torch.equal(done.z, images(9)) and done.updates.tolist() == [0] and done.non_finite.all()
    assert len(world.seen) == 1
    assert done.guided is None or not done.guided.any() and not done.success.any()


def test_broken_after_the_refinement_is_no_success():
    world = World(broken={2: 0})  # the evaluation after two rounds, which have fixed it
    done = guide(descent(world, images(0.75)), SIZE, in_window=True, threshold=0.5, max_rounds=6)
    assert done.guided.all() and done.rounds.tolist() == [2] and not done.success.any()
    assert means(done.z) == pytest.approx([0.75 * STEP]) and done.updates.tolist() == [1]


def test_an_image_that_is_not_concerned_cannot_break():
    z, numbers = images(3, 0.1), {"in_window": True, "threshold": 0.5, "max_rounds": 6}
    done = guide(
        descent(World(broken={6: 1}), z), SIZE, **numbers
    )  # the last look; the second image was content at the first
    assert not done.non_finite.any() and torch.equal(done.z, guide(descent(World(), z), SIZE, **numbers).z)


def test_a_gradient_that_is_not_finite_ends_the_refinement():
    class Steep(World):
        def __call__(self, maps, subjects, context):
            m = super().__call__(maps, subjects, context)
            return torch.cat([m[:1] + (m[:1] - m[:1]).abs().sqrt(), m[1:]])  # the root of 0 has no slope

    world = Steep()
    done = guide(descent(world, images(9, 9)), SIZE, in_window=True, threshold=0.05, max_rounds=6)
    assert done.losses[0].isfinite().all() and done.non_finite.tolist() == [True, False]
    assert (
        torch.equal(done.z[:1], images(9))
        and done.updates.tolist() == [0, 7]
        and done.rounds.tolist() == [1, 6]
    )
    world = Steep()
    guide(descent(world, images(9)), SIZE, in_window=True, threshold=0.05, max_rounds=6)
    assert len(world.seen) == 1  # alone, nothing is left to look at


# Layout methods: several updates in each step


def layout_loop(m, rounds, threshold, lacking=True):
    """The authors' loop: while loss > threshold and iterations < rounds: look, update. (mean, looks, still
    lacking)
    """
    looks = 0
    while lacking and looks < rounds:
        loss = m**2
        looks += 1
        m *= STEP
        lacking = loss > threshold
    return m, looks, lacking


@pytest.mark.parametrize("level", LEVELS[:-1])
@pytest.mark.parametrize("before", [None, True, False])
def test_descend_is_the_authors_loop(level, before):
    world = World()
    m, looks, lacking = layout_loop(level, 5, 0.6, before is not False)
    done, after = descend(
        descent(world, images(level)),
        SIZE,
        max_rounds=5,
        threshold=0.4,
        before=None if before is None else torch.tensor([before]),
    )
    assert len(world.seen) == looks and after.tolist() == [lacking]
    if not looks:
        assert done is None  # not one forward
        return
    assert means(done.z) == pytest.approx(
        [m], abs=1e-6
    ) and done.updates.tolist() == done.rounds.tolist() == [looks]


def test_the_first_update_is_always_made():
    done, after = descend(descent(World(), images(0.1)), SIZE, max_rounds=5, threshold=0.4)
    assert done.updates.tolist() == [1] and not after.any()


@pytest.mark.parametrize("before", [None, (True, False, True, True)])
def test_images_descend_alone(before):
    z = images(3, 0.9, 0.85, 0.1)
    state = before and torch.tensor(before)
    together, after = descend(descent(World(), z), SIZE, max_rounds=5, threshold=0.4, before=state)
    for b in range(4):
        alone, one = descend(
            descent(World(), z[b : b + 1]),
            SIZE,
            max_rounds=5,
            threshold=0.4,
            before=None if state is None else state[b : b + 1],
        )
        assert one.tolist() == [after[b]]
        if alone is None:
            assert (
                torch.equal(together.z[b], z[b])
                and together.losses[:, b].isnan().all()
                and together.updates[b] == 0
            )
        else:
            assert torch.equal(alone.z[0], together.z[b]) and alone.updates.tolist() == [together.updates[b]]
            assert torch.equal(alone.maxima_after[0], together.maxima_after[b])


def test_an_image_that_breaks_while_descending_is_tried_again_next_time():
    world = World(broken={1: 0})
    done, after = descend(descent(world, images(3, 3)), SIZE, max_rounds=5, threshold=0.4)
    assert (
        done.non_finite.tolist() == [True, False]
        and done.updates.tolist() == [0, 5]
        and after.tolist() == [True, True]
    )
    assert torch.equal(done.z[:1], images(3)) and means(done.z)[1] == pytest.approx(3 * STEP**5)
