"""SAGA: where the mean starts, how it is capped, learned and sampled from; against a plain loop with torch's own SGD."""

from __future__ import annotations

import math

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapNeeds, StepContext
from gsn_ops.optimise.recipe import ExtraInputs
from gsn_ops.optimise.saga import Saga, capped, first_guess, saga, signal_and_noise, spread
from gsn_ops.optimise.seeded_noise import generator, noise_like
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.schedule import Schedule

SUBJECTS = (SubjectColumns(SubjectPhrase("dog", "dog"), {"l": (1,)}),)
VP = StepContext(10, 50, 4.692, math.sqrt(1 + 4.692**2))
FLOW = StepContext(5, 28, 0.93, 1.0)
A, B = 0.2, 0.98


class World:
    """A model: z is its own attention. Remembers every z, breaks on demand."""

    def __init__(self, broken=None):
        self.seen, self.broken = [], broken or {}  # forward -> image whose maps turn into NaN

    def __call__(self, z):
        assert z.dtype == torch.float32 and z.requires_grad
        a = z.movedim(1, -1)
        if len(self.seen) in self.broken:
            a = a + torch.zeros(len(z)).index_fill(
                0, torch.tensor(self.broken[len(self.seen)]), torch.nan
            ).view(-1, 1, 1, 1)
        self.seen.append(z.detach().clone())
        return AttentionMaps({2: a}, (0, 1, 2, 3), (Span("l", 0, 4),))


class Ramp:
    """L = mean (z - a ramp)^2 / 10."""

    needs = MapNeeds()

    def __call__(self, maps, subjects, context):
        a = maps.cross[2]
        return (a - torch.linspace(-1, 1, a[0].numel()).view(a.shape[1:])).square().mean((1, 2, 3)) / 10


class Nothing(Ramp):
    def __call__(self, maps, subjects, context):
        return 0 * maps.cross[2].sum((1, 2, 3)) + 1


def latents(batch=2, seed=0, h=6, w=5):
    g = torch.Generator().manual_seed(seed)
    colours = torch.randn(batch, 4, 1, 1, generator=g)
    return colours + torch.randn(batch, 4, h, w, generator=g) / 2, torch.randn(batch, 4, h, w, generator=g)


def run(x0, e, world=None, objective=None, **numbers):
    return saga(
        x0,
        e,
        world or World(),
        objective or Ramp(),
        SUBJECTS,
        VP,
        **{"a": A, "b": B, "shifts": 4, "noises": 3, **numbers},
    )


# The Gaussian


def test_signal_and_noise_of_both_kinds_of_models():
    a, b = signal_and_noise(VP, flow=False)
    assert (a, b) == pytest.approx(
        (0.2085, math.sqrt(1 - 0.2085**2)), abs=1e-4
    ) and a**2 + b**2 == pytest.approx(1)
    assert signal_and_noise(FLOW, flow=True) == pytest.approx((0.07, 0.93))


def test_a_guess_at_the_first_step():
    z = latents()[0]
    assert (
        torch.allclose(first_guess(z, A, B, flow=False), z * 0.02 / 0.2)
        and not first_guess(z, 0.0, 1.0, flow=True).any()
    )


def test_cap():
    mu, reference = latents(3)[0], torch.tensor([0.5, 100.0, 0.0])
    out = capped(mu, reference)
    std = [torch.std(m).item() for m in mu]  # one unbiased std over channels and cells
    assert torch.allclose(out[0], mu[0] * 0.5 / std[0]) and torch.std(out[0]).item() == pytest.approx(0.5)
    assert torch.equal(out[1], mu[1])  # contrast is never raised
    assert torch.equal(out[2], mu[2])  # nothing to compare with
    flat = torch.zeros(1, 4, 3, 3, requires_grad=True)
    capped(flat, torch.tensor([0.5])).sum().backward()
    assert torch.equal(flat.grad, torch.ones_like(flat))


def test_cap_is_part_of_the_graph():
    mu = latents(1)[0].double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda m: capped(m, torch.tensor([0.3], dtype=torch.float64)), mu)
    weights = torch.randn(mu.shape, generator=torch.Generator().manual_seed(1)).double()
    (g,) = torch.autograd.grad((capped(mu, torch.tensor([0.3], dtype=torch.float64)) * weights).sum(), mu)
    assert abs((g * mu).sum().item()) < 1e-9 < g.norm()  # more contrast of mu makes no difference


def test_spread_is_piecewise_constant():
    v = torch.arange(6.0).view(1, 1, 2, 3)
    out = spread(v, 4, torch.zeros(1, 4, 7, 10))
    assert out.shape == (1, 1, 7, 10)
    assert torch.equal(out[0, 0, :4, :4], torch.full((4, 4), 1.0)) and torch.allclose(
        out[0, 0, 4:, 8:], torch.exp(torch.tensor(2.5)).expand(3, 2)
    )
    assert spread(torch.tensor(2 * math.log(0.5)), 0, v).item() == pytest.approx(0.5)


# The loop


def published(
    x0, e, index, objective, *, seed=0, shifts=4, noises=3, lr=20.0, momentum=0.4, block=0, per_channel=False
):
    """One image as METHODS describe it: (z, mean losses)."""
    source = generator(seed, index, "saga")
    m_ref = A * x0
    mu = (A * x0.mean((1, 2), keepdim=True).expand_as(x0)).clone().requires_grad_(True)
    c, h, w = x0.shape
    v = torch.full(
        (c if per_channel else 1, -(-h // block), -(-w // block)) if block else (),
        2 * math.log(B),
        requires_grad=bool(block),
    )
    sgd = torch.optim.SGD([mu, v] if block else [mu], lr=lr, momentum=momentum)

    def sample(noise):
        cap = torch.minimum(torch.ones(()), m_ref.std() / mu.std())
        cells = (
            v
            if not block
            else torch.nn.functional.interpolate(v[None], scale_factor=block, mode="nearest")[0, :, :h, :w]
        )
        return mu * cap + torch.exp(cells / 2) * noise

    losses = []
    for _ in range(shifts):
        z = torch.stack([sample(noise_like(e, source)) for _ in range(noises)])
        loss = objective(World()(z), SUBJECTS, VP).mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    return sample(e).detach(), losses


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"momentum": 0.0, "noises": 1},
        {"momentum": 0.7, "shifts": 9},
        {"lr": 200.0, "shifts": 6},
        {"block": 4, "per_channel": True},
        {"block": 2},
    ],
)
def test_it_is_the_published_loop(numbers):
    x0, e = latents()
    ours = {("learning_rate" if k == "lr" else k): v for k, v in numbers.items()}
    done = run(x0, e, seed=5, **ours)
    for b in range(2):
        z, losses = published(x0[b], e[b], b, Ramp(), seed=5, **numbers)
        assert torch.allclose(done.z[b], z, atol=1e-5)
        assert done.losses[:, b].tolist() == pytest.approx(losses, rel=1e-5)
    assert done.updates.tolist() == [len(losses)] * 2


def test_the_cap_binds_in_that_test():
    """So that its last setting proves more than a cap that is never reached."""
    x0, e = latents()
    done = run(x0, e, seed=5, learning_rate=200.0, shifts=6)
    mu = done.z - B * e
    assert mu.flatten(1).std(1).tolist() == pytest.approx((A * x0).flatten(1).std(1).tolist(), rel=1e-4)


def test_it_learns():
    x0, e = latents()
    done = run(x0, e, shifts=30, noises=10, learning_rate=100.0)
    assert (done.losses[-5:].mean(0) < done.losses[:5].mean(0)).all()


def test_the_mean_starts_at_the_colour_of_the_prediction():
    x0, e = latents()
    for origin, mu in (
        ("x0_mean", A * x0.mean((2, 3), keepdim=True).expand_as(x0)),
        ("x0", A * x0),
        ("zeros", torch.zeros_like(x0)),
    ):
        world = World()
        done = run(x0, e, world, Nothing(), origin=origin, shifts=1, noises=1)
        own = torch.stack([noise_like(e[b], generator(0, b, "saga")) for b in range(2)])
        assert torch.allclose(world.seen[0], capped(mu, (A * x0).flatten(1).std(1)) + B * own, atol=1e-6), (
            origin
        )
        assert torch.allclose(done.z, capped(mu, (A * x0).flatten(1).std(1)) + B * e, atol=1e-6)


def test_a_colour_by_chance():
    x0, e = latents()
    mu = run(x0, e, objective=Nothing(), origin="random", shifts=1, noises=1).z - B * e
    assert torch.allclose(mu, mu[..., :1, :1].expand_as(mu), atol=1e-5)  # one colour per image
    assert mu[..., 0, 0].std() > 0.01 and not torch.allclose(mu[0], mu[1], atol=1e-3)
    assert not torch.allclose(
        mu, run(x0, e, objective=Nothing(), origin="random", shifts=1, noises=1, seed=9).z - B * e, atol=1e-3
    )


def test_the_image_keeps_its_own_noise():
    x0, e = latents()
    one, other = run(x0, e), run(x0, -e)
    assert torch.allclose(one.z - other.z, 2 * B * e, atol=1e-6)  # the same mean, whatever the image's noise


def test_a_flow_model_without_a_prediction():
    _, e = latents()
    done = saga(torch.zeros_like(e), e, World(), Ramp(), SUBJECTS, FLOW, a=0.07, b=0.93, shifts=3, noises=2)
    assert done.z.isfinite().all() and not torch.allclose(
        done.z, 0.93 * e, atol=1e-4
    )  # nothing to cap by, so it learns uncapped


def test_cost():
    world, calls = World(), []
    done = run(
        *latents(), world, shifts=5, noises=4, on_evaluation=lambda r: calls.append((r, len(world.seen)))
    )
    assert len(world.seen) == 20 == done.passes and done.losses.shape == (5, 2)
    assert calls == [(n // 4, n) for n in range(20)]  # before every forward, so that cancel is prompt


# Chance, images, failures


def test_every_look_has_a_fresh_noise_and_no_image_shares_one():
    world = World()
    run(*latents(), world, Nothing(), shifts=3, noises=3)
    noises = {tuple(z[b].flatten()[:6].tolist()) for z in world.seen for b in range(2)}
    assert len(noises) == 18


def test_the_global_stream_is_not_touched_and_seeds_tell():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    x0, e = latents()
    one, again, other = run(x0, e, seed=1), run(x0, e, seed=1), run(x0, e, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.z, again.z) and not torch.equal(one.z, other.z)


@pytest.mark.parametrize("numbers", [{}, {"block": 4, "per_channel": True}, {"origin": "random"}])
def test_images_of_a_batch_do_not_notice_each_other(numbers):
    x0, e = latents(3)
    together = run(x0, e, **numbers)
    for b in range(3):
        (x, n), (own, noise) = latents(3, seed=50), (x0[b], e[b])
        x[b], n[b] = own, noise
        mixed = run(x, n, **numbers)
        assert torch.equal(mixed.z[b], together.z[b]) and torch.equal(
            mixed.losses[:, b], together.losses[:, b]
        )
        assert torch.equal(mixed.maxima[b], together.maxima[b])
    assert torch.equal(run(x0[:1], e[:1], **numbers).z[0], together.z[0])


@pytest.mark.parametrize("block", [0, 3])
def test_an_image_that_breaks_keeps_its_last_good_mean(block):
    x0, e = latents(3)
    world = World(broken={7: 1})  # the second of three forwards of update 2
    done, whole, before = (
        run(x0, e, world, block=block),
        run(x0, e, block=block),
        run(x0, e, shifts=1, block=block),
    )
    assert done.non_finite.tolist() == [False, True, False] and done.updates.tolist() == [4, 1, 4]
    assert torch.equal(
        done.z[1], before.z[1]
    )  # after one update: the mean that was looked at last with a finite loss
    assert (
        torch.equal(done.z[[0, 2]], whole.z[[0, 2]])
        and done.losses[2:, 1].isnan().all()
        and done.losses[:2].isfinite().all()
    )


def test_broken_at_once_is_no_update():
    world = World(broken={0: 0})
    done = run(*latents(1), world)
    assert done.updates.tolist() == [0] and done.z.isfinite().all() and len(world.seen) == 3


def test_cancel_passes_through():
    world = World()

    def cancel(r):
        if len(world.seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(*latents(), world, on_evaluation=cancel)
    assert len(world.seen) == 4


@pytest.mark.parametrize(
    "numbers, words",
    [
        ({"shifts": 0}, "shifts >= 1"),
        ({"noises": 0}, "noises >= 1"),
        ({"momentum": 1.0}, "momentum < 1"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"block": -1}, "block >= 0"),
        ({"origin": "blue"}, "x0_mean, x0, zeros, random"),
    ],
)
def test_numbers_that_cannot_work_are_refused(numbers, words):
    world = World()
    with pytest.raises(ValueError, match=words):
        run(*latents(), world, **numbers)
    assert not world.seen


def test_the_inputs_are_left_alone():
    x0, e = (t.to(torch.bfloat16) for t in latents())
    copies = x0.clone(), e.clone()
    done = run(x0, e, block=2)
    assert torch.equal(x0, copies[0]) and torch.equal(e, copies[1])
    assert done.z.dtype == torch.float32 and not done.z.requires_grad and not done.maxima.requires_grad


def test_video_latents_have_one_more_axis():
    x0, e = (t[:, :, None].repeat(1, 1, 2, 1, 1) for t in latents())
    world = World()
    assert run(x0, e, lambda z: world(z.flatten(2, 3)), block=4, per_channel=True).z.shape == e.shape


# The recipe


def test_recipe():
    schedule = Schedule(tuple(14.0 - i for i in range(14)) + (0.0,), lambda p: 14 * (1 - p))
    recipe = Saga()
    assert (
        recipe.shifts,
        recipe.noises,
        recipe.learning_rate,
        recipe.momentum,
        recipe.block,
        recipe.origin,
    ) == (50, 10, 20, 0.4, 0, "x0_mean")
    assert (
        recipe.objective.reduction == "mean" and recipe.priority == 1
    )  # after the initial noise, before refinement and guidance
    assert recipe.active_steps(schedule).steps == (3,) and recipe.active_steps(schedule).updates == {3: 50}
    assert recipe.scaled(0.5).learning_rate == 10 and recipe.scaled(0.0).disabled and not recipe.disabled
    late = Schedule((1.0, 0.5, 0.0), lambda p: 14 * (1 - p))
    assert recipe.active_steps(late).steps == () and "too little noise" in recipe.active_steps(late).reason


@pytest.mark.parametrize("flow, context", [(False, VP), (True, FLOW)])
def test_the_worker_finds_signal_and_noise(flow, context):
    x0, e = latents()
    schedule = Schedule((context.sigma, 0.0), lambda p: context.sigma * (1 - p), flow=flow)
    recipe = Saga(objective=Ramp(), shifts=2, noises=2, momentum=0.1)
    done = recipe.start(schedule, 4)(
        torch.zeros_like(e), World(), SUBJECTS, context, lambda j: None, ExtraInputs(e, x0)
    )
    a, b = signal_and_noise(context, flow)
    assert torch.equal(
        done.z,
        saga(x0, e, World(), Ramp(), SUBJECTS, context, a=a, b=b, seed=4, shifts=2, noises=2, momentum=0.1).z,
    )
