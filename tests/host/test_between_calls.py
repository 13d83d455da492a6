"""Few steps: reading between two calls of the model, and samplers that add noise anew."""

import pytest
import torch

from ..support.demo_model import SAMPLERS, recording
from ..support.model_state import state_of

STEPS = 4
MUCH = {"learning_rate": 0.1}
OWN_GRID = ("dpm_fast", "dpm_adaptive")


@pytest.fixture
def updates(tiny, monkeypatch):
    """(state, updated state, noise level) of every update of a recipe."""
    run, seen = tiny.module("gsn_ops.host.sampling.recipe_run").RecipeRun, []
    update = run.update

    def noting(self, step):
        found = update(self, step)
        seen.append((step.state.x.clone(), found.clone(), float(step.state.sigma.max())))
        return found

    monkeypatch.setattr(run, "update", noting)
    return seen


def nursed(tiny, model=None, sampler="euler", lines=None, run=None, **changes):
    """The latent of a short run and what its recipe reports."""
    on_status = None if lines is None else lines.append
    patched, book = tiny.attach(model, on_status=on_status, report="curve", **changes)
    out = tiny.sample(patched, sampler=sampler, **{"steps": STEPS, "cfg": 1.0, **(run or {})})
    return out, book.find(out).recipes[0]


def test_it_reads_where_a_step_put_in_would_and_the_next_state_gets_it(tiny, updates):
    """Euler's method moves on a line, so a run with one step more passes the same point."""
    levels = tiny.sigmas(steps=STEPS)
    middle = (levels[1] + levels[2]) / 2
    calls, stock, lines = [], [], []
    _, recipe = nursed(tiny, recording(tiny.model, calls), lines=lines, step=1, **MUCH, between="middle")
    assert recipe.sigma == pytest.approx(float(middle)) and recipe.updates == (2,)
    assert "between steps 1 and 2 of 4" in recipe.status and "; between steps 1 and 2 of 4; " in lines[0]
    sigmas = torch.cat([levels[:2], middle[None], levels[2:]])
    nursed(tiny, step=2, **MUCH, run={"steps": STEPS + 1, "sigmas": sigmas})
    (x, updated, sigma), (same, as_a_step, level) = updates
    assert torch.allclose(x, same, atol=1e-4) and sigma == pytest.approx(level)
    assert torch.allclose(updated - x, as_a_step - same, atol=2e-3) and (updated - x).abs().max() > 1e-2
    tiny.sample(recording(tiny.model, stock), steps=STEPS, cfg=1.0)
    plain = [state for _, state, _ in stock]
    ours = [state for _, state, gradients in calls if not gradients]
    assert all(torch.equal(a, b) for a, b in zip(plain[:2], ours[:2], strict=True))
    assert torch.allclose(ours[2] - plain[2], updated - x, atol=1e-3)


@pytest.mark.parametrize("sampler", ("heun", "dpmpp_2m", "uni_pc"))
def test_any_sampler_that_adds_no_noise_reads_between_its_calls(tiny, sampler, updates):
    levels = tiny.sigmas(sampler, steps=STEPS)
    out, recipe = nursed(tiny, sampler=sampler, step=1, between="middle", shifts=1)
    assert recipe.sigma == pytest.approx(float((levels[1] + levels[2]) / 2), rel=1e-4)
    assert not torch.equal(out, tiny.sample(sampler=sampler, steps=STEPS, cfg=1.0))


def test_the_wanted_noise_level_itself(tiny):
    schedule = tiny.module("gsn_ops.schedule")
    levels = tiny.sigmas(steps=3, scheduler="karras").tolist()
    wanted = (levels[1] * levels[2]) ** 0.5
    run = {"steps": 3, "scheduler": "karras"}
    _, recipe = nursed(tiny, run=run, moment=schedule.Moment(sigma=wanted), between="exact", shifts=1)
    assert recipe.sigma == pytest.approx(wanted) and "is the nearest" not in recipe.status
    assert "between steps 1 and 2 of 3" in recipe.status
    _, at_state = nursed(tiny, run=run, moment=schedule.Moment(sigma=levels[1]), between="exact", shifts=1)
    assert at_state.sigma == pytest.approx(levels[1]) and ": step 1 of 3" in at_state.status


@pytest.mark.parametrize(
    "changes, sampler, why",
    (
        ({"step": 3, "between": "middle"}, "euler", "no call of the model follows"),
        ({"step": 2, "between": "exact"}, "euler", "chosen by its number, choose between=middle"),
        ({"step": 2, "between": "middle"}, "dpmpp_2m_sde", "adds noise anew"),
    ),
)
def test_where_nothing_lies_between_it_acts_at_the_step_and_says_why(tiny, changes, sampler, why):
    lines: list[str] = []
    _, recipe = nursed(tiny, lines=lines, sampler=sampler, shifts=1, **changes)
    assert recipe.step == changes["step"] and recipe.updates == (1,)
    assert "at the step itself" in recipe.status and why in recipe.status and why in lines[-1]


def test_without_an_update_the_run_is_stock_and_the_model_as_it_was(tiny):
    before, stock = state_of(tiny.model), tiny.sample(steps=STEPS, cfg=1.0)
    out, recipe = nursed(tiny, step=2, between="middle", only_if_needed=True, present_at=0.0)
    assert torch.equal(out, stock) and recipe.updates == (0,)
    assert state_of(tiny.model) == before


def test_what_the_next_state_keeps_of_a_change_tells_who_adds_noise_anew(tiny):
    """With a model that predicts noise 0, states are linear in what came before."""
    import comfy.samplers

    facts = tiny.module("gsn_ops.host.sampling.sampler_facts")
    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(lambda apply, args: torch.zeros_like(args["input"]))
    noise, change = (torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(n)) for n in range(2))
    for name in SAMPLERS:
        if name in OWN_GRID:
            continue
        states: list[dict] = [{}, {}]
        for seen, start in zip(states, (noise, noise + 0.1 * change), strict=True):
            kept = lambda i, x0, x, total, seen=seen: seen.setdefault(i, x.clone())  # noqa: E731
            tiny.sample(model, sampler=name, steps=3, cfg=1.0, noise=start, latent=noise * 0, callback=kept)
        length = [float((states[1][i] - states[0][i]).norm()) for i in (0, 1)]
        sigmas = tiny.sigmas(name, steps=3)
        share = length[1] / length[0] / float(sigmas[1] / sigmas[0])
        assert facts.renoises(comfy.samplers.sampler_object(name)) == (share < 0.6), (name, share)


def test_a_sampler_with_steps_of_its_own_acts_at_one_of_them_and_says_so(tiny):
    """dpm_fast has four states here, the first of which is the nearest: no call comes before it."""
    run = {"steps": 8}
    levels = tiny.sigmas("dpm_fast", **run).tolist()
    moment = tiny.module("gsn_ops.schedule").Moment(sigma=(levels[0] + levels[1]) / 2)
    lines: list[str] = []
    more = {"moment": moment, "between": "exact", "shifts": 1}
    _, recipe = nursed(tiny, sampler="dpm_fast", lines=lines, run=run, **more)
    assert recipe.sigma == pytest.approx(levels[0]) and recipe.updates == (1,)
    assert ": step 1 of 8 (sigma" in recipe.status and "between steps" not in recipe.status
    assert "not between two: this sampler has steps of its own" in lines[-1]
