"""Recipes as sequences: at which steps of a run, in which order, how many forwards and updates; every
published method among them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapNeeds, StepContext
from gsn_ops.objectives.initno import InitNOTerms
from gsn_ops.optimise import methods as all_methods
from gsn_ops.optimise.guidance import Checkpoint, Guide, InnerLoop, StepSize
from gsn_ops.optimise.initial_noise import OptimiseNoise
from gsn_ops.optimise.methods import METHODS, preset, register_method
from gsn_ops.optimise.recipe import ExtraInputs
from gsn_ops.optimise.refine import Refine
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.schedule import Moment, Schedule

SUBJECTS = (SubjectColumns(SubjectPhrase("dog", "dog"), {"l": (1,)}),)
KEPT = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
SIGMAS = ((1 - KEPT) / KEPT).sqrt()  # of SD1's 1000 timesteps


def sd1_percent(percent):
    """ComfyUI's percent_to_sigma for SD1: interpolated in the logarithm."""
    if not 0 < percent < 1:
        return 999999999.9 if percent <= 0 else 0.0
    t = torch.tensor((1 - percent) * 999, dtype=torch.float64)
    low, high = SIGMAS[t.floor().long()].log(), SIGMAS[t.ceil().long()].log()
    return float((low + t % 1 * (high - low)).exp())


def karras(n):
    high, low = float(SIGMAS[-1]), float(SIGMAS[0])
    return [(high ** (1 / 7) + i / (n - 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for i in range(n)] + [
        0.0
    ]


def flow(t, shift=3.0):
    return shift * t / (1 + (shift - 1) * t)


PAPER = Schedule((*SIGMAS[1::20].flip(0).tolist(), 0.0), sd1_percent)  # 50 steps of ddim_uniform
KARRAS = Schedule(tuple(karras(20)), sd1_percent)
SD3 = Schedule(
    tuple(flow(1 - i / 28 * 0.999) for i in range(28)) + (0.0,),
    lambda p: 1.0 if p <= 0 else flow(1 - p),
    flow=True,
)
IMG2IMG = Schedule(PAPER.sigmas[30:], sd1_percent)  # 20 steps at denoise 0.4
HIGH, LOW = (
    Schedule(PAPER.sigmas[:16], sd1_percent),
    Schedule(PAPER.sigmas[15:], sd1_percent),
)  # split after step 15


class Recorder:
    """An objective that is never content. Writes down where it is asked, at which latent, and with which
    context.
    """

    needs = MapNeeds()

    def __init__(self, name, log):
        self.name, self.log = name, log

    def __call__(self, maps, subjects, context):
        a = maps.cross[2]
        self.log.append((context.index, self.name, float(a.detach().mean()), context))
        return 10 + 0.01 * a.mean((1, 2, 3))

    def terms(self, maps, subjects, context):
        one = torch.ones(len(maps.cross[2]))
        return InitNOTerms(one, 0 * one, 0 * one, 0 * one)


def maps_of(z):
    return AttentionMaps({2: z.movedim(1, -1)}, (0, 1, 2, 3), (Span("l", 0, 4),))


def context(schedule, i):
    sigma = schedule.sigmas[i]
    return StepContext(i, schedule.n_steps, sigma, 1.0 if schedule.flow else math.sqrt(1 + sigma**2))


def recorded(recipe, log):
    """The recipe with recorders for its objectives."""
    named = {
        name: Recorder(type(getattr(recipe, name)).__name__, log)
        for name in ("objective", "refinement")
        if getattr(recipe, name, None) is not None
    }
    return replace(recipe, **named)


def sample(recipes, schedule, z=None):
    """All recipes in one run of a sampler that does nothing: (look log, [(step, name, updates, on_evaluation
    calls)], z).
    """
    log, acts = [], []
    z = torch.ones(1, 4, 2, 2) if z is None else z
    ours = [recorded(r, log) for r in recipes]
    work = [(r, r.active_steps(schedule), r.start(schedule)) for r in sorted(ours, key=lambda r: r.priority)]
    for i in range(schedule.n_steps):
        for recipe, when, worker in work:
            if i in when.steps:
                calls = []
                extra = ExtraInputs(**dict.fromkeys(recipe.extra_inputs, z))
                worked = worker(z, maps_of, SUBJECTS, context(schedule, i), calls.append, extra)
                if worked is not None:
                    z = worked.z
                    acts.append((i, recipe.objective.name, worked.updates.item(), len(calls)))
                    assert worked.updates.item() <= when.updates[i] and sorted(set(calls)) == list(
                        range(max(calls) + 1)
                    )
    return log, acts, z


def runs(steps, updates, looks=None):
    return {i: (updates, updates if looks is None else looks) for i in steps}


FIRST = range(25)
REFINED = {i: (21, 21) if i in (0, 10, 20) else (1, 1) for i in FIRST}  # 20 and the per-step update
EXPECTED = {  # method -> most updates, [{step: (updates, forwards)} of each recipe, in the order of work]
    "Latent Refine (Grimal et al. 2025)": (50, [{8: (50, 50)}]),
    "Latent Refine + SynGen, Ours+ (Grimal et al. 2025)": (73, [{2: (50, 50)}, runs(range(2, 25), 1)]),
    "SynGen (Rassin et al. 2023)": (25, [runs(FIRST, 1)]),
    "SynGen+ (Grimal et al. 2025)": (45, [{0: (20, 20)}, runs(FIRST, 1)]),
    "Attend-and-Excite (Chefer et al. 2023)": (85, [REFINED]),
    "Attend-and-Excite, separate (USTC study 2024)": (85, [REFINED]),
    "Divide & Bind (Li et al. 2023)": (
        225,
        [{i: (1, 1) for i in FIRST} | {0: (101, 101), 10: (51, 51), 20: (51, 51)}],
    ),
    "InitNO (Guo et al. 2024)": (100, [{0: (100, 100)}]),
    "InitNO+ (Guo et al. 2024)": (165, [{0: (100, 100)}, runs(FIRST, 1) | runs((10, 20), 21, 22)]),
    "A-STAR (Agarwal et al. 2023)": (25, [runs(FIRST, 1)]),
    "CONFORM (Meral et al. 2024)": (85, [REFINED]),
    "EBAMA (Zhang et al. 2024)": (26, [runs(range(26), 1)]),
    "Self-Cross Guidance (Qiu et al. 2025)": (
        165,
        [{0: (100, 100)}, {i: (21, 21) if i in (10, 20) else (1, 1) for i in FIRST}],
    ),
    "BoxDiff (Xie et al. 2023)": (85, [REFINED]),
    "Layout Guidance (Chen et al. 2024)": (50, [runs(range(10), 5)]),
    "R&B, Region and Boundary (Xiao et al. 2024)": (50, [runs(range(10), 5)]),
    "Bounded Attention, loss (Dahary et al. 2024)": (75, [runs(range(15), 5)]),
    "LMD energy (Lian et al. 2024)": (
        65,
        [runs(range(5), 4) | runs(range(5, 10), 3) | runs(range(10, 20), 2) | runs(range(20, 30), 1)],
    ),
    "Point Layout (USTC study 2024)": (50, [runs(FIRST, 1), runs(FIRST, 1)]),
    "Neglect (USTC study 2024)": (85, [REFINED]),
    "SAGA (2026)": (50, [{10: (50, 500)}]),
    "SAGA+ (2026)": (69, [{6: (50, 500)}, runs(range(6, 25), 1)]),
    "SAGA-Sigma (2026)": (50, [{12: (50, 500)}]),
    "SAGA-Sigma+ (2026)": (69, [{6: (50, 500)}, runs(range(6, 25), 1)]),
    "Latent Refine (fast)": (15, [{8: (15, 15)}]),
    "Latent Refine + relations": (15, [{0: (15, 15)}]),
}
LATENT_METHODS = [
    m for m in METHODS if m != "FOCUS (2025)"
]  # that one turns predictions: test_focus_looks_once_per_step


@pytest.mark.parametrize("method", LATENT_METHODS)
def test_a_published_method_as_a_sequence(method):
    assert method in EXPECTED, "a new method needs its sequence here"
    most, sequences = EXPECTED[method]
    recipes = sorted(preset(method), key=lambda r: r.priority)
    log, acts, _ = sample(recipes, PAPER)
    expected = [
        (i, type(r.objective).__name__, *steps[i])
        for i in range(50)
        for r, steps in zip(recipes, sequences, strict=True)
        if i in steps
    ]
    assert acts == expected
    assert sum(updates for _, _, updates, _ in acts) == most
    assert [(i, name) for i, name, _, _ in log] == [
        (i, name) for i, name, _, looks in acts for _ in range(looks)
    ]
    assert most == sum(
        sum(r.active_steps(PAPER).updates.values()) for r in recipes
    )  # what the progress bar counts


def test_steps_without_work_make_no_forward():
    for method in LATENT_METHODS:
        for recipe in preset(method):
            when = recipe.active_steps(PAPER)
            assert set(when.steps) == {i for i, most in when.updates.items() if most > 0}


def test_focus_looks_once_per_step():
    (recipe,) = preset("FOCUS (2025)")
    when = recipe.active_steps(SD3)
    assert when.steps == tuple(range(28)) and set(when.updates.values()) == {1}
    log = []
    work = replace(recipe, objective=Recorder("focus", log)).start(SD3)
    z = torch.ones(1, 4, 2, 2)
    worked = work(z, maps_of, SUBJECTS, context(SD3, 3), lambda j: None)
    assert (
        len(log) == 1
        and torch.equal(worked.z, z)
        and worked.updates.item() == 0
        and worked.velocity_term.abs().max() > 0
    )
    none = recipe.active_steps(PAPER)
    assert not none.steps and "modifies the velocity of flow models" in none.reason


def test_two_methods_meet_in_the_documented_order():
    """Noise, refinement, guidance; in either order of the nodes; the later one works on what the earlier one
    left.
    """
    noise, refine = (
        OptimiseNoise(rounds=1, iterations=2, final_iterations=1),
        Refine(moment=Moment(step=0), shifts=3),
    )
    guide, other = Guide(step_size=StepSize(20)), Guide(objective=preset(METHODS[2])[0].objective)
    for order in ((noise, refine, guide), (guide, refine, noise), (refine, guide, noise)):
        _, acts, _ = sample(order, PAPER)
        assert [name for i, name, _, _ in acts if i == 0] == ["InitNO", "PresenceAndSeparation", "Presence"]
    for order in ((guide, other), (other, guide)):
        log, acts, _ = sample(order, PAPER)
        assert [name for i, name, _, _ in acts if i == 3] == [
            type(r.objective).__name__ for r in order
        ]  # guidance: that of the nodes
        at = [mean for _, _, mean, _ in log]
        assert all(
            later < earlier for earlier, later in zip(at, at[1:], strict=False)
        )  # each looks at the shifted latent


# When


GUIDED = Guide(
    checkpoints=tuple(Checkpoint(Moment(sigma=s), t) for s, t in ((13.12, 0.05), (4.692, 0.5), (2.135, 0.8)))
)
OURS, OURS_PLUS = preset(METHODS[0])[0], preset(METHODS[1])


@pytest.mark.parametrize(
    "schedule, refine, plus, window, checkpoints",
    [
        (PAPER, 8, (2, range(2, 25)), range(25), (0, 10, 20)),
        (KARRAS, 4, (2, range(2, 9)), range(9), (0, 5, 8)),
        (HIGH, 8, (2, range(2, 15)), range(15), (0, 10)),
        (LOW, None, (None, range(10)), range(10), (5,)),  # 15 of the paper is 0 here
        (IMG2IMG, None, (None, ()), (), ()),
    ],
)
def test_steps_of_a_run(schedule, refine, plus, window, checkpoints):
    assert OURS.active_steps(schedule).steps == (() if refine is None else (refine,))
    assert [r.active_steps(schedule).steps for r in OURS_PLUS] == [
        () if plus[0] is None else (plus[0],),
        tuple(plus[1]),
    ]
    when = GUIDED.active_steps(schedule)
    assert GUIDED.window(schedule) == tuple(window) and tuple(GUIDED.checkpoints_at(schedule)) == checkpoints
    assert when.steps == tuple(sorted({*window, *checkpoints}))
    assert when.updates == {i: (i in window) + 20 * (i in checkpoints) for i in when.steps}


def test_steps_of_a_flow_model():
    assert (
        Refine(moment=Moment(sigma=0.93)).active_steps(SD3).steps == (5,) == Refine().active_steps(SD3).steps
    )
    assert Guide().active_steps(SD3).steps == tuple(range(15))  # flow(0.5) = 0.75; step 14 is at 0.75
    assert Guide(end_percent=1.0).active_steps(SD3).steps == tuple(range(28))


@pytest.mark.parametrize(
    "schedule", [KARRAS, PAPER, HIGH, *(Schedule(tuple(karras(n)), sd1_percent) for n in (12, 30, 50))]
)
def test_guidance_begins_at_the_step_that_was_refined(schedule):
    refine, guide = OURS_PLUS
    assert guide.active_steps(schedule).steps[0] == refine.active_steps(schedule).steps[0]


@pytest.mark.parametrize(
    "recipe, words",
    [
        (Guide(), "between 0% and 50%"),
        (OURS, "too little noise"),
        (OptimiseNoise(), "does not start from noise"),
        (
            Guide(start_percent=0.2, end_percent=0.4, inner_loops=(InnerLoop(0.4, 5, 0.2),)),
            "between 20% and 40%",
        ),
        (Guide(start_percent=0, end_percent=0, checkpoints=GUIDED.checkpoints), "too little noise"),
    ],
)
def test_what_is_not_in_a_run_says_why(recipe, words):
    when = recipe.active_steps(IMG2IMG)
    assert when.steps == () and when.updates == {} and words in when.reason
    assert not recipe.active_steps(PAPER).reason


def test_a_window_between_two_steps_is_empty_and_says_so():
    when = Guide(start_percent=0.501, end_percent=0.502).active_steps(KARRAS)
    assert when.steps == () and "widen the window" in when.reason


def test_a_checkpoint_outside_the_window_refines_only():
    guide = Guide(end_percent=0.1, checkpoints=(Checkpoint(Moment(sigma=2.135), 0.8),))
    when = guide.active_steps(PAPER)
    assert when.steps == (0, 1, 2, 3, 4, 20) and when.updates[20] == 20
    _, acts, _ = sample((guide,), PAPER)
    assert acts[-1] == (20, "Presence", 20, 21)


def test_loops_end_where_the_window_ends():
    guide = Guide(
        start_percent=0.058, end_percent=0.1, inner_loops=(InnerLoop(0.08, 3, 0.0), InnerLoop(0.5, 2, 0.0))
    )
    assert guide.active_steps(PAPER).updates == {2: 3, 3: 3, 4: 2}
    assert guide.active_steps(KARRAS).updates == {2: 3}


@pytest.mark.parametrize(
    "recipe", [Refine(), Guide(), OptimiseNoise(), Guide(inner_loops=(InnerLoop(0.5, 5, 0.2),)), GUIDED]
)
def test_strength_zero_is_off(recipe):
    assert not recipe.disabled and recipe.scaled(0.0).disabled and not recipe.scaled(0.5).disabled


def test_an_empty_window_without_checkpoints_is_off():
    assert (
        Guide(start_percent=0.3, end_percent=0.3).disabled
        and Guide(start_percent=0.5, end_percent=0.3).disabled
    )
    assert not replace(GUIDED, end_percent=0.0).disabled


# How far


def test_step_sizes_of_attend_and_excite():
    sizes = [StepSize().at(context(PAPER, i)) for i in (0, 1, 10, 20, 24, 49)]
    assert sizes == pytest.approx([20, 19.898, 18.95, 17.84, 17.38, 14.14], abs=6e-3)
    assert (
        StepSize(20, 1.0, 1.0).at(context(PAPER, 7)) == 20
        and StepSize(70, function="constant").at(context(KARRAS, 7)) == 70
    )


def gradient_of(loss, z):
    leaf = z.detach().requires_grad_(True)
    return torch.autograd.grad(loss(leaf).sum(), leaf)[0]


@pytest.mark.parametrize("i", [0, 8, 24])
def test_the_native_rule_of_layout_guidance(i):
    """x <- x - sigma^2 dL/dx, while the latent that is kept is z = x / c."""
    c = context(PAPER, i)
    x = c.c * torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(i))

    class Square(Recorder):
        def __call__(self, maps, subjects, context):
            return (maps.cross[2] ** 2).sum((1, 2, 3)) / 100

    expected = x - c.sigma**2 * gradient_of(lambda x: ((x / c.c) ** 2).sum((1, 2, 3)) / 100, x)
    worker = Guide(objective=Square("", []), step_size=StepSize(1.0, function="x")).start(PAPER)
    assert torch.allclose(worker(x / c.c, maps_of, SUBJECTS, c, lambda j: None).z * c.c, expected, atol=1e-5)
    worker = Guide(objective=Square("", []), step_size=StepSize(5.0, function="noise")).start(PAPER)
    z = worker(x / c.c, maps_of, SUBJECTS, c, lambda j: None).z
    eta = 5 * math.sqrt(1 - 1 / (1 + c.sigma**2))  # LMD: sqrt(1 - abar) eta
    assert torch.allclose(z, x / c.c - eta * 2 * x / c.c / 100, atol=1e-5)


def test_a_gradient_step_is_one_of_size_a_c_squared_in_x():
    c = context(PAPER, 2)
    z = torch.ones(1, 4, 2, 2)
    _, _, after = sample((Guide(start_percent=0.05, end_percent=0.059),), PAPER, z)
    shift = StepSize().at(c) * 0.01 / 16  # the recorder's gradient is 0.01 / 16 everywhere
    assert torch.allclose(z - after, torch.full_like(z, shift), atol=1e-6)


# What is remembered from step to step


def test_objectives_get_the_previous_step_and_a_memory_of_the_run():
    log, _, _ = sample((GUIDED,), PAPER)
    by_step = {i: [c for at, _, _, c in log if at == i] for i in range(25)}
    last = {i: [mean for at, _, mean, _ in log if at == i][-1] for i in range(25)}
    assert all(c.previous is None for c in by_step[0])
    for i in range(1, 25):
        for c in by_step[i]:  # the same during all looks of a step: the last look of the step before
            assert (
                float(c.previous.cross[2].mean()) == pytest.approx(last[i - 1])
                and not c.previous.cross[2].requires_grad
            )
    memories = {id(c.memory) for _, _, _, c in log}
    assert len(memories) == 1
    worker, again = GUIDED.start(PAPER), GUIDED.start(PAPER)
    assert worker.memory is not again.memory and worker.memory == {} and worker.previous is None


class Falling(Recorder):
    """Loss = the latent's mean, tested against the threshold itself (LMD's energy)."""

    def __call__(self, maps, subjects, context):
        super().__call__(maps, subjects, context)
        return maps.cross[2].mean((1, 2, 3))

    def shortfall(self, maps, subjects, context, threshold):
        return maps.cross[2].mean((1, 2, 3)) - threshold


@pytest.mark.parametrize("recipe", [Guide(), preset("LMD energy (Lian et al. 2024)")[0]])
def test_a_step_that_failed_is_undone_by_restoring_the_worker(recipe):
    """As after an out-of-memory error: the step done again has the numbers of a step done once."""
    recipe = replace(recipe, objective=Falling("E", []))
    z = torch.stack([torch.full((4, 2, 2), e) for e in (9.0, 1.0)])
    worker, other = recipe.start(PAPER), recipe.start(PAPER)
    first, _ = (w(z, maps_of, SUBJECTS, context(PAPER, 0), lambda j: None) for w in (worker, other))
    before = worker.snapshot()
    failed = worker(first.z - 5, maps_of, SUBJECTS, context(PAPER, 1), lambda j: None)
    worker.memory["left"] = torch.ones(2)
    worker.restore(before)
    assert "left" not in worker.memory and worker.memory is not other.memory
    done, expected = (
        w(first.z, maps_of, SUBJECTS, context(PAPER, 1), lambda j: None) for w in (worker, other)
    )
    assert torch.equal(done.z, expected.z) and torch.equal(done.updates, expected.updates)
    assert torch.equal(worker.previous.cross[2], other.previous.cross[2])
    assert not torch.equal(failed.z, done.z)
    assert (worker.lacking is None) == (other.lacking is None)
    if worker.lacking is not None:
        assert torch.equal(worker.lacking, other.lacking)


def test_recipes_say_what_they_do_to_a_run():
    kinds = {type(r): r for method in METHODS for r in preset(method)}
    order = sorted(kinds.values(), key=lambda r: r.priority)
    assert [type(r).__name__ for r in order] == ["OptimiseNoise", "Saga", "Refine", "Guide", "SteerVelocity"]
    assert [r.modifies_prediction for r in order] == [False, False, False, False, True]
    assert [r.starts_from_new_noise for r in order] == [True, True, False, False, False]
    assert [bool(r.extra_inputs) for r in order] == [False, True, False, False, False]


def test_lmd_carries_its_test_from_step_to_step():
    """E starts at infinity; 4, 3, 2, 1 looks per step while the last E seen, of whichever step, is above
    5.
    """
    log, (lmd,) = [], preset("LMD energy (Lian et al. 2024)")
    recipe = replace(
        lmd, objective=Falling("E", log), step_size=StepSize(1.6, function="constant")
    )  # 0.1 per update
    z, worker, updates = (
        torch.stack([torch.full((4, 2, 2), e) for e in (5.95, 9.0, 1.0)]),
        recipe.start(PAPER),
        {},
    )
    for i in recipe.active_steps(PAPER).steps:
        worked = worker(z, maps_of, SUBJECTS, context(PAPER, i), lambda j: None)
        if worked is not None:
            z, updates[i] = worked.z, worked.updates.tolist()
    # 5.95: its eleventh look, in step 2, is the first below 5, moves once more and is the last of the run.
    # 9.0: 41 + 1 updates until it is below 5. 1.0: the very first look only.
    ends = (
        {0: [4, 4, 1], 1: [4, 4, 0], 2: [3, 4, 0]}
        | {i: [0, 4, 0] for i in (3, 4)}
        | {i: [0, 3, 0] for i in range(5, 10)}
    )
    assert updates == ends | {i: [0, 2, 0] for i in (10, 11)} | {12: [0, 2, 0]}
    assert len(log) == 5 * 4 + 5 * 3 + 2 * 3  # and no forward after that


def test_layout_guidance_starts_anew_in_each_step():
    log = []
    recipe = replace(
        preset("Layout Guidance (Chen et al. 2024)")[0],
        objective=Falling("L", log),
        step_size=StepSize(1.6, function="constant"),
    )
    z, worker, updates = (
        torch.stack([torch.full((4, 2, 2), e) for e in (0.95, 0.05)]),
        recipe.start(PAPER),
        [],
    )
    for i in recipe.active_steps(PAPER).steps:
        worked = worker(z, maps_of, SUBJECTS, context(PAPER, i), lambda j: None)
        z = worked.z
        updates.append(worked.updates.tolist())
    assert updates == [
        [5, 1],
        [4, 1],
        *[[1, 1]] * 8,
    ]  # 0.95 ... 0.25, 0.15 still moves; then the first one of each step


@pytest.mark.parametrize("name, recipes", [(None, lambda: ()), ("A tuple", (Refine(),)), ("Nothing", None)])
def test_a_method_is_registered_by_a_text_and_a_function(name, recipes):
    with pytest.raises(TypeError, match="cannot be registered: give its name as a text, and a function"):
        register_method(name, recipes)
    assert name not in all_methods.methods()


@pytest.mark.parametrize("made", [(), Refine(), ("Refine",)])
def test_a_method_that_gives_no_tuple_of_recipes_is_named(made, monkeypatch):
    monkeypatch.setattr(all_methods, "_METHODS", dict(all_methods._METHODS))
    register_method("Theirs (2026)", lambda: made)
    with pytest.raises(TypeError, match="'Theirs .2026.' must return a tuple of recipes"):
        preset("Theirs (2026)")
