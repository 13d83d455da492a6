"""A shift takes effect in every sampler: nothing before its step, everything after it, and exactly what a
shifted state would give.

The shifts here are a constant given straight to the watcher, so that the right answer is known, and the model
is a formula (`Tiny.light`), since only the sampler counts; refinements of the network come at the end, and in
test_guidance.py in every sampler.
"""

import functools

import pytest
import torch

from ..support.demo_model import SAMPLERS, empty, recording

N = 6
CARRIED = ("uni_pc", "uni_pc_bh2", "sa_solver")
MEMORYLESS = ("euler", "euler_cfg_pp", "heun", "exp_heun_2_x0", "dpm_2", "ddim")
OWN_GRID = ("dpm_fast", "dpm_adaptive")


@pytest.fixture(scope="module")
def delta():
    """A known shift in z."""
    return 0.2 * torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))


def as_flow_model(model):
    """MODEL under a flow model's sampling (SD3's, shift 3), by ComfyUI's own node."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    return ModelSamplingSD3().patch(model, 3.0)[0]


@pytest.fixture(scope="module")
def flow_model(tiny):
    return as_flow_model(tiny.light)


@pytest.fixture(scope="module")
def run(tiny):
    """A function: `tiny.sample_with` on the light model, unless another is named."""
    return lambda sampler, sigmas, model=None, **more: tiny.sample_with(
        sampler, sigmas, model or tiny.light, **more
    )


def constant_shift(delta):
    """x + c delta, c being the scale of an EPS model's input space."""
    return lambda step, model, x, sigma, extra: x + delta.to(x.device) * (1 + float(sigma[0]) ** 2) ** 0.5


def sampler_object(name):
    import comfy.samplers

    return comfy.samplers.sampler_object(name)


def prepared_noise():
    import comfy.sample

    return comfy.sample.prepare_noise(empty(), 3)


@pytest.mark.parametrize("k", (0, 3))
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_model_sees_the_same_before_the_step_and_something_else_after_it(tiny, run, delta, name, k):
    sigmas, stock, shifted, met, missed, steps_done = tiny.sigmas(name, steps=N), [], [], [], [], []
    plain = run(sampler_object(name), sigmas, recording(tiny.light, stock))

    def shift(*args):
        met.append((args[0], float(args[3][0]), len(shifted), len(steps_done)))
        return constant_shift(delta)(*args)

    watched = tiny.watch(sampler_object(name), [k], shift, missed.extend)
    changed = run(
        watched, sigmas, recording(tiny.light, shifted), callback=lambda step, *_: steps_done.append(step)
    )

    assert [m[0] for m in met] == [k] and missed == []
    _, sigma, calls, callbacks = met[0]
    if name not in OWN_GRID:
        assert sigma == pytest.approx(float(sigmas[k]), rel=1e-3)
        assert callbacks == k + (
            name == "sa_solver_pece" and k > 0
        )  # whose callback lies between the predicted and the corrected state
    assert (calls > 0) == (k > 0)
    for a, b in zip(stock[:calls], shifted[:calls], strict=True):
        assert torch.equal(a[1], b[1])
    assert len(shifted) > calls
    for a, b in zip(stock[calls:], shifted[calls:]):  # dpm_adaptive may need another number of calls
        assert not torch.equal(a[1], b[1])
    assert (plain - changed).abs().mean() > 1e-3


@pytest.mark.parametrize("name", SAMPLERS)
def test_at_step_0_it_is_a_stock_run_from_shifted_noise(tiny, run, delta, name):
    noise, sigmas = prepared_noise(), tiny.sigmas(name, steps=N)
    # at sigma_max ComfyUI starts from noise * sqrt(1 + sigma^2), which is exactly c
    right = run(sampler_object(name), sigmas, noise=noise + delta)
    ours = run(tiny.watch(sampler_object(name), [0], constant_shift(delta)), sigmas, noise=noise)
    assert (
        ours - right
    ).abs().max() < 5e-3  # rounding of the shifted start, amplified by cfg 7.5; the next test is exact
    assert (ours - run(sampler_object(name), sigmas, noise=noise)).abs().mean() > 0.02


@pytest.mark.parametrize("name", SAMPLERS)
def test_at_step_0_of_a_flow_model_it_is_that_run_bit_for_bit(tiny, run, flow_model, delta, name):
    noise, sigmas = prepared_noise(), tiny.sigmas(name, steps=4, model=flow_model)
    right = run(sampler_object(name), sigmas, flow_model, noise=noise + delta)
    watched = tiny.watch(sampler_object(name), [0], lambda step, model, x, sigma, extra: x + delta)
    ours = run(watched, sigmas, flow_model, noise=noise)
    if name in CARRIED:
        assert (ours - right).abs().max() < 1e-4  # the offset is added at the end
    else:
        assert torch.equal(ours, right)
    assert not torch.equal(ours, run(sampler_object(name), sigmas, flow_model, noise=noise))


@pytest.mark.parametrize("k", (1, 3))
@pytest.mark.parametrize("name", MEMORYLESS)
def test_a_memoryless_sampler_equals_run_to_k_shift_and_resume(tiny, run, delta, name, k):
    sigmas = tiny.sigmas(name, steps=N)
    ours = run(tiny.watch(sampler_object(name), [k], constant_shift(delta)), sigmas)
    state = run(sampler_object(name), sigmas[: k + 1])
    shifted = state + delta * (1 + float(sigmas[k]) ** 2) ** 0.5
    resumed = run(sampler_object(name), sigmas[k:], latent=shifted, noise=torch.zeros_like(shifted))
    assert torch.equal(ours, resumed)


@pytest.mark.parametrize("k", (1, 3))
@pytest.mark.parametrize("name", ("uni_pc", "uni_pc_bh2"))
def test_unipc_is_shifted_at_the_corrected_state_that_its_model_never_sees(
    tiny, run, delta, name, k, monkeypatch
):
    from comfy.extra_samplers.uni_pc import UniPC

    sigmas, update = tiny.sigmas(name, steps=N), UniPC.multistep_uni_pc_update
    ours = run(tiny.watch(sampler_object(name), [k], constant_shift(delta)), sigmas)

    def instrumented(self, x, model_prev_list, t_prev_list, t, order, **options):
        """ComfyUI's own step; the one that ends on sigma_k gets the shift (UniPC works in z) at its trial
        point and its result.
        """
        if float(t[0]) != float(sigmas[k]):
            return update(self, x, model_prev_list, t_prev_list, t, order, **options)
        model_fn = self.model_fn
        self.model_fn = lambda x, t: model_fn(x + delta, t)
        x, model_x = update(self, x, model_prev_list, t_prev_list, t, order, **options)
        self.model_fn = model_fn
        return x + delta, model_x

    monkeypatch.setattr(UniPC, "multistep_uni_pc_update", instrumented)
    right = run(sampler_object(name), sigmas)
    assert (ours - right).abs().max() < 2e-4


@pytest.mark.parametrize("name", CARRIED)
def test_a_carried_offset_fades_as_the_samplers_own_state_does(tiny, run, delta, name):
    """With a prediction that never changes, a shift fades by the sampler's linear part alone: as in a run
    that begins shifted.
    """
    k, sigmas, target = 2, tiny.sigmas(name, steps=8)[:6], torch.full((1, 4, 16, 16), 0.3)
    model = tiny.light.clone()
    model.set_model_sampler_cfg_function(lambda args: args["input"] - target)
    stock = run(sampler_object(name), sigmas, model)

    def effect(*steps):
        return run(tiny.watch(sampler_object(name), steps, constant_shift(delta)), sigmas, model) - stock

    start, shift = (
        torch.ones(1, 4, 16, 16),
        constant_shift(delta)(k, None, torch.zeros_like(delta), sigmas[k : k + 1], {}),
    )
    shifted, plain = (
        run(sampler_object(name), sigmas[k:], model, latent=x, noise=torch.zeros_like(x))
        for x in (start + shift, start)
    )
    assert (shifted - plain).abs().max() > 1e-2
    assert torch.allclose(effect(k), shifted - plain, atol=1e-4)
    assert torch.allclose(effect(1, k), effect(1) + effect(k), atol=1e-4)


@pytest.mark.parametrize(
    "name, calls",
    [("heun", 8), ("uni_pc", 8), ("sa_solver", 8), ("ddpm", 8), ("sa_solver_pece", 8), ("dpm_fast", 3)],
)
def test_with_a_shift_at_each_of_several_steps_each_happens_once_and_in_order(tiny, run, delta, name, calls):
    steps = []

    def shift(step, model, x, sigma, extra):
        steps.append(step)
        return constant_shift(delta / 20)(step, model, x, sigma, extra)

    out = run(tiny.watch(sampler_object(name), range(8), shift), tiny.sigmas(name, steps=16))
    assert (
        len(steps) == calls and sorted(set(steps)) == steps
    )  # dpm_fast has a grid of its own, 3 states of it in this half
    assert out.isfinite().all()


def test_the_watched_sampler_keeps_its_options_and_the_given_object_is_not_written_to(tiny, run, delta):
    from comfy_extras.nodes_custom_sampler import SamplerDPMPP_2M_SDE

    given = SamplerDPMPP_2M_SDE.execute("heun", 0.5, 0.9, "cpu")[0]
    before = dict(vars(given))
    watched = tiny.watch(given, [0], constant_shift(delta))
    run(watched, tiny.sigmas(steps=4))
    assert watched is not given and vars(given) == before
    assert watched.extra_options == given.extra_options
    assert watched.sampler_function.__name__ == given.sampler_function.__name__


@pytest.mark.parametrize("k", (0, 1, 3))
def test_a_sampler_node_whose_options_make_it_another_sampler(tiny, run, delta, k):
    from comfy_extras.nodes_custom_sampler import SamplerSASolver, SamplerSEEDS2

    for node, name in (
        (SamplerSEEDS2.execute("phi_2", 0.0, 1.0, 1.0)[0], "exp_heun_2_x0"),
        (SamplerSASolver.execute(tiny.light, 1.0, 0.2, 0.8, 1.0, 3, 4, True, False)[0], "sa_solver_pece"),
    ):
        ours, same = (
            run(tiny.watch(sampler, [k], constant_shift(delta)), tiny.sigmas(steps=N))
            for sampler in (node, sampler_object(name))
        )
        assert torch.equal(ours, same)


@pytest.mark.parametrize("k", (0, 3))
def test_a_sampler_with_a_loop_of_its_own(tiny, run, delta, k):
    """Not a KSAMPLER: another pack's Sampler class, with its own arithmetic, callback and use of the model's
    attributes.
    """
    import comfy.samplers

    class OwnEuler(comfy.samplers.Sampler):
        def sample(
            self,
            model_wrap,
            sigmas,
            extra_args,
            callback,
            noise,
            latent_image=None,
            denoise_mask=None,
            disable_pbar=False,
        ):
            x = model_wrap.inner_model.model_sampling.noise_scaling(
                sigmas[0], noise, latent_image, self.max_denoise(model_wrap, sigmas)
            )
            for i in range(len(sigmas) - 1):
                denoised = model_wrap(x, sigmas[i] * x.new_ones(len(x)), **extra_args)
                callback(i, denoised, x, len(sigmas) - 1)
                x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
            return x

    sigmas, steps_done = tiny.sigmas(steps=N), []
    ours = run(
        tiny.watch(OwnEuler(), [k], constant_shift(delta)),
        sigmas,
        callback=lambda step, *_: steps_done.append(step),
    )
    euler = run(tiny.watch(sampler_object("euler"), [k], constant_shift(delta)), sigmas)
    assert steps_done == list(range(N))
    assert (ours - euler).abs().max() < 1e-4


@pytest.mark.parametrize("k", (1, 3))
def test_a_sampler_function_without_a_name_of_its_own(tiny, run, delta, k):
    """A partial of a host sampler, as other packs make them."""
    import comfy.samplers
    from comfy.k_diffusion.sampling import sample_heun

    partial = comfy.samplers.KSAMPLER(functools.partial(sample_heun, s_noise=1.0))
    ours, same = (
        run(tiny.watch(sampler, [k], constant_shift(delta)), tiny.sigmas(steps=N))
        for sampler in (partial, sampler_object("heun"))
    )
    assert torch.equal(ours, same)


def test_noise_added_before_each_call_is_reported_as_a_missed_step(tiny, run, delta):
    """s_churn evaluates above sigma_k: the state is never shown, nothing happens, and the caller hears which
    step.
    """
    import comfy.samplers

    missed = []
    churning = comfy.samplers.ksampler("euler", {"s_churn": 2.0})
    plain = run(churning, tiny.sigmas(steps=4))
    ours = run(tiny.watch(churning, [2], constant_shift(delta), missed.extend), tiny.sigmas(steps=4))
    assert missed == [2] and torch.equal(plain, ours)


def test_a_refinement_of_a_flow_model_and_of_an_eps_model_each_in_its_networks_space(tiny):
    for model, c in (
        (as_flow_model(tiny.model), lambda sigma: 1.0),
        (tiny.model, lambda sigma: (1 + sigma**2) ** 0.5),
    ):
        patched, book = tiny.attach(model, step=2)
        out = tiny.sample(patched)
        action = book.find(out).recipes[0]
        assert action.c == pytest.approx(c(action.sigma), rel=1e-5) and action.updates == (2,)
        assert not torch.equal(out, tiny.sample(model))


@pytest.mark.parametrize("name", ("euler", "heun", "dpmpp_2m_sde", "uni_pc", "dpm_fast"))
def test_a_refinement_twice_with_one_seed_is_the_same_bits(tiny, name):
    once, again = (tiny.sample(tiny.attach(step=2, shifts=3)[0], name) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, tiny.sample(sampler=name))
