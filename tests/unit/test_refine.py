"""The refinement loop: Adam in z, cost, stops per image, what happens when something goes wrong."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives.attend_and_excite import Presence
from gsn_ops.objectives.cn_iou import PresenceAndSeparation
from gsn_ops.optimise.methods import METHODS, preset
from gsn_ops.optimise.published_methods import FAST, LATENT_REFINE, RELATIONS
from gsn_ops.optimise.refine import refine
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.subject_maps import subject_maps

HERE = StepContext(8, 50, 5.63, 5.72)
SUBJECTS = [SubjectColumns(SubjectPhrase(w, w), {"l": (c,)}) for w, c in (("dog", 2), ("cat", 5))]
MIX = torch.randn(4, 10, generator=torch.Generator().manual_seed(7)) / 2
SPANS = (Span("l", 1, 9),)


class Model:
    """A stand-in for ComfyUI's probe: z [B, 4, h, w] -> attention, differentiable; counts its forwards,
    breaks on demand.
    """

    def __init__(self, broken=None):
        self.forwards, self.seen = 0, []
        self.broken = broken or {}  # forward -> image whose maps turn into NaN

    def __call__(self, z):
        assert z.dtype == torch.float32 and z.requires_grad
        self.seen.append(z.detach().clone())
        a = (z.movedim(1, -1)[..., None] * MIX).sum(-2).softmax(-1) / 4  # [B, h, w, n]
        if self.forwards in self.broken:
            nan = torch.zeros(len(z)).index_fill(0, torch.tensor(self.broken[self.forwards]), torch.nan)
            a = a + nan.view(-1, 1, 1, 1)
        self.forwards += 1
        return AttentionMaps({2: a}, tuple(range(10)), SPANS)


def noise(batch=3, seed=0):
    return torch.randn(batch, 4, 8, 6, generator=torch.Generator().manual_seed(seed))


def run(z, model=None, objective=PresenceAndSeparation(), **numbers):  # noqa: B008  frozen
    return refine(z, model or Model(), objective, SUBJECTS, HERE, **{"shifts": 12, **numbers})


class Linear:
    """Loss with the gradient g for every element of z."""

    def __init__(self, g):
        self.g = g

    def __call__(self, maps, subjects, context):
        return self.g * maps.cross[2].sum((1, 2, 3))


@pytest.mark.parametrize(
    "eps, shifts",
    [
        (1e-3, {1e-6: 0.0005, 1e-5: 0.005, 1e-4: 0.0455, 1e-3: 0.25, 1e-2: 0.4545}),
        (1e-8, {1e-6: 0.495, 1e-5: 0.4995, 1e-4: 0.5, 1e-3: 0.5, 1e-2: 0.5}),
    ],
)
def test_shift_of_fifty_adam_steps(eps, shifts):
    def identity(z):
        return AttentionMaps({2: z.movedim(1, -1)}, (0, 1, 2, 3), (Span("l", 0, 4),))

    for g, expected in shifts.items():
        z = torch.zeros(1, 4, 2, 2)
        done = refine(z, identity, Linear(g), SUBJECTS[:1], HERE, shifts=50, learning_rate=1e-2, eps=eps)
        assert torch.allclose(done.z, torch.full_like(z, -expected), atol=1e-4)


def test_is_adam_on_the_sum_of_the_losses():
    z = noise()
    done = run(z, eps=1e-3, learning_rate=0.05)
    leaf = z.clone().requires_grad_(True)
    adam = torch.optim.Adam([leaf], lr=0.05, betas=(0.9, 0.999), eps=1e-3)
    for j in range(12):
        adam.zero_grad()
        losses = PresenceAndSeparation()(Model()(leaf), SUBJECTS, HERE)
        assert torch.allclose(done.losses[j], losses, atol=1e-6)
        losses.sum().backward()
        adam.step()
    assert torch.allclose(done.z, leaf, atol=1e-6)
    assert (done.losses[-1] < done.losses[0]).all()


def test_cost_is_one_forward_per_shift_and_nothing_else():
    model, calls = Model(), []
    done = run(noise(), model, shifts=7, on_evaluation=lambda j: calls.append((j, model.forwards)))
    assert model.forwards == 7
    assert calls == [(j, j) for j in range(7)]  # before each forward
    assert done.losses.shape == (7, 3) and done.updates.tolist() == [7, 7, 7]


def test_input_is_left_alone_and_output_is_float32():
    z = noise().to(torch.bfloat16)
    before = z.clone()
    done = run(z)
    assert torch.equal(z, before) and done.z.dtype == torch.float32 and not done.z.requires_grad
    z = noise()
    before = z.clone()
    assert not torch.equal(run(z).z, z) and torch.equal(z, before)


def test_same_bits_twice():
    assert torch.equal(run(noise()).z, run(noise()).z)


def test_images_of_a_batch_are_the_images_alone():
    z = noise()
    together = run(z)
    for b in range(3):
        alone = run(z[b : b + 1])
        assert torch.equal(alone.z, together.z[b : b + 1])
        assert torch.equal(alone.losses[:, 0], together.losses[:, b])
        assert torch.equal(alone.maxima[0], together.maxima[b])


def test_maxima_are_those_of_the_first_look():
    z = noise()
    m = subject_maps(Model()(z.clone().requires_grad_(True)), SUBJECTS, MapOptions())
    assert torch.equal(run(z).maxima, m.detach().flatten(2).amax(-1))


def test_attention_at_the_last_look_is_told_where_it_is_not_the_first():
    z, model = noise(), Model()
    done = run(z, model)
    m = subject_maps(Model()(model.seen[-1].requires_grad_(True)), SUBJECTS, MapOptions())
    assert torch.equal(done.maxima_after, m.detach().flatten(2).amax(-1))
    stopped = run(z, learning_rate=0.05, stop_at_loss=1e3)
    assert stopped.maxima_after is None is run(z, shifts=1).maxima_after


def test_stop_at_loss_is_per_image():
    z = noise()
    free = run(z, learning_rate=0.05)
    level = free.losses[5, 0].item() + 1e-7  # image 0 gets there at its sixth look
    assert (free.losses[:5, 0] > level).all()
    stopped = run(z, learning_rate=0.05, stop_at_loss=level)
    for b in range(3):
        looks = (free.losses[:, b] <= level).nonzero().flatten()
        n = looks[0].item() if len(looks) else 12
        assert stopped.updates[b] == n
        expected = run(z[b : b + 1], learning_rate=0.05, shifts=n) if n else None
        assert torch.equal(stopped.z[b : b + 1], expected.z if n else z[b : b + 1])
        assert torch.equal(stopped.losses[: n + 1, b], free.losses[: n + 1, b])
        assert stopped.losses[n + 1 :, b].isnan().all()


def test_a_batch_that_has_stopped_costs_nothing_more():
    model = Model()
    done = run(noise(), model, stop_at_loss=10.0)
    assert model.forwards == 1 and done.updates.tolist() == [0, 0, 0]
    assert torch.equal(done.z, noise()) and not done.non_finite.any()


def test_only_if_needed_leaves_good_images_alone():
    z = noise()
    weakest = run(z).maxima.amin(1)
    level = weakest.sort().values[1:].mean().item()  # the best image passes, the others do not
    good = weakest >= level
    done = run(z, only_if_needed=True, present_at=level)
    assert done.needed.tolist() == (~good).tolist() and good.sum() == 1
    assert torch.equal(done.z[good], z[good])
    assert torch.equal(done.z[~good], run(z).z[~good])
    assert done.updates.tolist() == [0 if g else 12 for g in good]


def test_only_if_needed_looks_once_when_all_is_there():
    model = Model()
    done = run(noise(), model, only_if_needed=True, present_at=0.0)
    assert model.forwards == 1 and not done.needed.any()
    assert torch.equal(done.z, noise())


def test_stop_at_presence_is_per_image_and_at_any_look():
    """An image is refined until its weakest subject gets there, then it is exactly what that many shifts make
    of it.
    """
    z, numbers = noise(), {"learning_rate": 0.2, "objective": Presence()}

    def weakest(z):
        m = subject_maps(Model()(z.clone().requires_grad_(True)), SUBJECTS, MapOptions())
        return m.detach().flatten(2).amax(-1).amin(1)

    seen = Model()
    run(z, seen, **numbers)
    course = torch.stack([weakest(at) for at in seen.seen])  # [looks, B] of a run in which nobody stops
    level = (course[4:6, 0].sum() / 2).item()
    looks = [(course[:, b] >= level).nonzero().flatten().tolist() for b in range(3)]
    expected = [found[0] if found else 12 for found in looks]
    assert expected[0] == 5
    stopped = run(z, stop_at_presence=level, **numbers)
    assert stopped.updates.tolist() == expected
    assert stopped.needed.tolist() == (course[0] < level).tolist()
    for b, n in enumerate(expected):
        assert torch.equal(stopped.z[b], run(z, shifts=n, **numbers).z[b] if n else z[b])


def test_the_look_that_ends_the_loop_has_no_backward_pass():
    """Nor is it needed: it would be one more pass for nothing on every picture that is left alone."""
    for numbers in (
        {"only_if_needed": True, "present_at": 0.0},
        {"stop_at_loss": 10.0},
        {"stop_at_presence": 1e-6},
    ):
        done = run(noise(), **numbers)
        assert (len(done.losses), done.passes, done.updates.tolist()) == (1, 0, [0, 0, 0])
    z, free = noise()[:1], run(noise()[:1], learning_rate=0.05)
    done = run(z, learning_rate=0.05, stop_at_loss=free.losses[5, 0].item() + 1e-7)
    assert (len(done.losses), done.passes, done.updates.tolist()) == (6, 5, [5])
    assert (len(free.losses), free.passes) == (12, 12)


def test_adam_with_one_second_moment_per_image_keeps_the_shape_of_the_gradient():
    z = noise()
    done = run(z, adaptive="image", shifts=1, learning_rate=0.05, eps=1e-12)
    leaf = z.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(PresenceAndSeparation()(Model()(leaf), SUBJECTS, HERE).sum(), leaf)
    length = gradient.flatten(1).square().mean(1).sqrt().view(-1, 1, 1, 1)
    assert torch.allclose(done.z, z - 0.05 * gradient / length, atol=1e-6)


def test_adam_per_image_over_several_steps():
    """Against float64 loops over the images; an image does not notice the others."""
    z = noise()
    done = run(z, adaptive="image", shifts=6, learning_rate=0.05)
    for b in range(3):
        at, m, v = z[b : b + 1].double(), 0.0, 0.0
        for t in range(1, 7):
            leaf = at.float().requires_grad_(True)
            (g,) = torch.autograd.grad(PresenceAndSeparation()(Model()(leaf), SUBJECTS, HERE).sum(), leaf)
            g = g.double()
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * float(g.square().mean())
            at = at - 0.05 * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-3)
        assert torch.allclose(done.z[b].double(), at[0], atol=1e-5)
        assert torch.equal(
            done.z[b : b + 1], run(z[b : b + 1], adaptive="image", shifts=6, learning_rate=0.05).z
        )


def test_no_element_moves_further_than_its_reach():
    z = noise()
    done, free = (
        run(z, adaptive="image", shifts=6, learning_rate=0.05, max_displacement=reach).z - z
        for reach in (0.1, 0.0)
    )
    assert free.abs().max() > 0.2 and done.abs().max() <= 0.1 + 1e-6 and done.abs().max() > 0.0999
    assert torch.equal(run(z, max_displacement=5.0).z, run(z).z)  # nothing is that far


def test_an_unknown_second_moment_is_refused():
    with pytest.raises(ValueError, match="element or image"):
        run(noise(), adaptive="pixel")


def test_an_image_that_breaks_keeps_its_last_good_latent():
    z, model = noise(), Model(broken={4: 1})
    done = run(z, model)
    whole = run(z)
    assert done.non_finite.tolist() == [False, True, False]
    assert torch.equal(done.z[[0, 2]], whole.z[[0, 2]])  # the others do not notice
    assert torch.equal(done.z[1], model.seen[3][1])  # looked at last with a finite loss
    assert done.updates.tolist() == [12, 3, 12]
    assert done.losses[:4, 1].isfinite().all() and done.losses[4:, 1].isnan().all()
    assert all(torch.equal(seen[1], model.seen[3][1]) for seen in model.seen[5:])


def test_broken_at_the_first_look_means_unchanged():
    done = run(noise(), Model(broken={0: 2}))
    assert torch.equal(done.z[2], noise()[2]) and done.updates.tolist() == [12, 12, 0]
    assert done.z.isfinite().all()


def test_a_gradient_that_is_not_finite_counts_as_broken():
    class Steep:
        def __call__(self, maps, subjects, context):
            m = maps.cross[2].mean((1, 2, 3))
            return torch.cat([m[:1] + (m[:1] - m[:1]).abs().sqrt(), m[1:]])  # the root of 0 has no slope

    done = run(noise(), objective=Steep())
    assert done.non_finite.tolist() == [True, False, False] and done.losses[0].isfinite().all()
    assert torch.equal(done.z[0], noise()[0]) and done.z.isfinite().all()


def test_cancel_passes_through_and_changes_nothing():
    z, before, model = noise(), noise(), Model()

    def cancel(j):
        if j == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(z, model, on_evaluation=cancel)
    assert torch.equal(z, before) and model.forwards == 3


@pytest.mark.parametrize(
    "numbers", [{"learning_rate": 0.0}, {"learning_rate": -1.0}, {"eps": 0.0}, {"shifts": 0}]
)
def test_numbers_that_cannot_work_are_refused_before_the_first_forward(numbers):
    model = Model()
    with pytest.raises(ValueError, match="learning_rate > 0"):
        run(noise(), model, **numbers)
    assert model.forwards == 0


def test_video_latents_have_one_more_axis():
    def maps_of(z):
        return Model()(z.flatten(2, 3))  # [B, 4, T, h, w] -> [B, 4, (T h), w]

    z = noise()[:, :, None].repeat(1, 1, 2, 1, 1)
    assert run(z, maps_of).z.shape == z.shape


def test_latent_refine_has_the_papers_numbers():
    (recipe,) = preset(LATENT_REFINE)
    assert METHODS[0] == recipe.method == LATENT_REFINE
    assert (recipe.shifts, recipe.learning_rate, recipe.eps) == (50, 0.01, 1e-3)
    assert recipe.objective == PresenceAndSeparation("sum", MapOptions(pieces="noun"))
    assert recipe.moment.percent == 0.18 and recipe.stop_at_loss == 0
    assert dataclasses.replace(recipe, shifts=5).shifts == 5
    assert (recipe.adaptive, recipe.max_displacement, recipe.stop_at_presence, recipe.only_if_needed) == (
        "element",
        0,
        0,
        False,
    )
    with pytest.raises(ValueError, match="Latent Refine"):
        preset("Latent Refien")


def test_the_fast_method_is_ours_and_behind_the_published_ones():
    (ours,), (paper,) = preset(FAST), preset(LATENT_REFINE)
    assert METHODS[-2] == ours.method == FAST and METHODS[-1] == RELATIONS
    assert ours.shifts <= 15 and ours.moment == paper.moment and ours.objective.maps.pieces == "noun"
    z = noise()
    done = run(
        z,
        **{
            name: getattr(ours, name)
            for name in ("shifts", "learning_rate", "eps", "adaptive", "max_displacement", "stop_at_presence")
        },
    )
    assert (done.z - z).abs().max() <= 1 + 1e-6 and (done.losses[0] > done.losses.nan_to_num(9).amin(0)).all()
