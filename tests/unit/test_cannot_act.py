"""Whether an objective can act on these subjects is known before the first pass, and a gradient of 0 moves
nothing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapNeeds, StepContext
from gsn_ops.objectives.astar import AStar
from gsn_ops.objectives.base import REGISTRY, evaluate_loss, reason_to_skip
from gsn_ops.objectives.conform import Conform
from gsn_ops.objectives.per_encoder import ByEncoder
from gsn_ops.objectives.separation import Separation
from gsn_ops.objectives.syngen import SynGen
from gsn_ops.objectives.weighted_sum import WeightedSum
from gsn_ops.optimise.guidance import Checkpoint, Guide
from gsn_ops.optimise.initial_noise import OptimiseNoise
from gsn_ops.optimise.methods import preset
from gsn_ops.optimise.recipe import ExtraInputs
from gsn_ops.optimise.refine import Refine
from gsn_ops.optimise.saga import Saga
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region
from gsn_ops.schedule import Moment, Schedule

N = 10
CAT, DOG = (SubjectColumns(SubjectPhrase(name, name), {"l": (c,)}) for name, c in (("cat", 3), ("dog", 6)))
RED_CAT = replace(CAT, modifiers=({"l": (2,)},))
GIRAFFE = SubjectColumns(SubjectPhrase("giraffe", "giraffe"), {"l": (6, 7)})
SUBJECTS = {
    "one": (CAT,),
    "one of two tokens": (GIRAFFE,),
    "one with an attribute": (RED_CAT,),
    "two": (CAT, DOG),
    "two, one of two tokens": (CAT, GIRAFFE),
    "two with an attribute": (RED_CAT, DOG),
}
OBJECTIVES = {
    **{name: cls for name, cls in REGISTRY.items() if name not in ("weighted_sum", "lmd_transfer")},
    "syngen entities": lambda: SynGen(include_entities=True),
    "conform alone": lambda: Conform(use_previous=False),
    "ebama lam 0": lambda: REGISTRY["ebama"](lam=0.0),
    "astar frozen": lambda: AStar(source="frozen"),
    "sum": lambda: WeightedSum(((1.0, SynGen()), (0.5, Separation()))),
    "sum of weight 0": lambda: WeightedSum(((0.0, REGISTRY["presence"]()),)),
    "by encoder": lambda: ByEncoder(Separation()),
}


def maps_of(logits):
    """Maps of one layer from logits [B, heads, h, w, N], with rows of self-attention."""
    heads = logits.softmax(-1)

    def rows(cells):
        features = heads[:, 0].flatten(1, 2)
        own = features.gather(1, cells[..., None].expand(-1, -1, N))
        return (9 * own @ features.mT).softmax(-1).unflatten(-1, heads.shape[2:4])

    spans = (Span("l", 1, N - 1),), (Span("l", 1, N - 2),)
    return AttentionMaps({2: heads.mean(1)}, tuple(range(N)), spans[0], {2: (heads,)}, {2: rows}, spans[1])


def logits(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(1, 2, 8, 8, N, generator=generator, dtype=torch.float64)


def context(compares=True):
    return StepContext(1, 50, 5.0, 5.1, maps_of(logits(seed=1)) if compares else None, {})


@pytest.mark.parametrize("compares", (True, False), ids=("compares", "first"))
@pytest.mark.parametrize("subjects", SUBJECTS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_d1_d3_a_reason_is_given_where_the_gradient_is_zero_and_nowhere_else(name, subjects, compares):
    """SynGen without attributes, CONFORM and separation with one subject, and whatever else has no slope."""
    objective, chosen, leaf = OBJECTIVES[name](), SUBJECTS[subjects], logits().requires_grad_(True)
    regions = {}
    if getattr(objective, "check", None) is not None and not isinstance(objective, WeightedSum | ByEncoder):
        regions = {s.label: Region(boxes=((0.0, 0.1, 0.5, 0.7),), point=(0.2, 0.4)) for s in chosen}
    if name == "neglect":
        chosen = tuple(replace(s, phrase=replace(s.phrase, role="unwanted")) for s in chosen)
    loss = objective(maps_of(leaf), chosen, replace(context(compares), regions=regions))
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    reason = reason_to_skip(objective, chosen, regions, compares)
    assert bool(reason) == (not gradient.any()), reason or "no reason is given"
    assert not reason or any(cure in reason for cure in ("choose", "add", "set", "raise", "write"))


def test_a_region_lets_a_star_keep_one_subject():
    regions = {"cat": Region(boxes=((0.0, 0.1, 0.5, 0.7),))}
    assert reason_to_skip(AStar(), (CAT,), {}) and not reason_to_skip(AStar(), (CAT,), regions)


def test_unwanted_subjects_are_no_second_subject():
    unwanted = replace(DOG, phrase=replace(DOG.phrase, role="unwanted"))
    assert "only 'cat'" in reason_to_skip(Separation(), (CAT, unwanted), {})


class Flat:
    """A loss of 7 whatever the attention is, with a gradient of 0."""

    needs = MapNeeds()
    phase = "init"

    def __call__(self, maps, subjects, context):
        return 7 + 0 * maps.cross[2].sum((1, 2, 3))

    def terms(self, maps, subjects, context):
        from gsn_ops.objectives.initno import InitNOTerms

        one = torch.ones(len(maps.cross[2]))
        return InitNOTerms(one, one, one, 0 * one)


SCHEDULE = Schedule((14.6, 5.0, 1.0, 0.0), lambda percent: 14.6 * (1 - percent))
LOOPS = {
    "refine": Refine(objective=Flat(), moment=Moment(step=0), shifts=3),
    "refine by image": Refine(objective=Flat(), moment=Moment(step=0), shifts=3, adaptive="image"),
    "guide": Guide(objective=Flat(), end_percent=1.0),
    "guide at a checkpoint": Guide(objective=Flat(), checkpoints=(Checkpoint(Moment(step=0), 0.5),)),
    "initial noise": OptimiseNoise(objective=Flat(), rounds=1, iterations=2, final_iterations=1),
    "saga": Saga(objective=Flat(), moment=Moment(step=0), shifts=2, noises=2),
}


@pytest.mark.parametrize("name", LOOPS)
def test_d2_a_gradient_of_zero_makes_no_update(name):
    """ComfyUI leaves an image without an update as it is, bit for bit."""
    z = torch.randn(2, N, 4, 4, generator=torch.Generator().manual_seed(0))

    def look(latent):
        return AttentionMaps({2: latent.movedim(1, -1)}, tuple(range(N)), (Span("l", 0, N),))

    recipe = LOOPS[name]
    extra = ExtraInputs(**dict.fromkeys(recipe.extra_inputs, z))
    result = recipe.start(SCHEDULE)(z, look, (CAT,), StepContext(0, 3, 14.6, 14.63), lambda j: None, extra)
    assert result.updates.tolist() == [0, 0]
    if recipe.extra_inputs == frozenset():
        assert torch.equal(result.z, z)


class Wrong:
    """An objective that returns `value` of the maps."""

    needs = MapNeeds()

    def __init__(self, value):
        self.value = value

    def __call__(self, maps, subjects, context):
        return self.value(maps.cross[2])


@pytest.mark.parametrize(
    "value, found",
    [
        (lambda a: a.mean(), "a tensor of shape []"),
        (lambda a: a.mean((1, 2)), "a tensor of shape [2, 10]"),
        (lambda a: a.mean((1, 2, 3))[:1], "a tensor of shape [1]"),
        (lambda a: 0.5, "0.5"),
        (lambda a: None, "None"),
        (lambda a: [a.mean()], "[tensor("),
    ],
)
@pytest.mark.parametrize("inside", (lambda o: o, lambda o: WeightedSum(((1.0, o),)), ByEncoder))
def test_a_loss_that_is_not_one_number_per_image_is_named_with_the_cure(value, found, inside):
    a = torch.rand(2, 4, 4, N, requires_grad=True)
    maps = AttentionMaps({2: a}, tuple(range(N)), (Span("l", 0, N),))
    with pytest.raises(ValueError, match="one number per image, a tensor of shape .2.") as error:
        evaluate_loss(inside(Wrong(value)), maps, (CAT,), context())
    assert found in str(error.value) and "The objective Wrong (" in str(error.value)
    assert "for the pack that it comes from" in str(error.value)


def test_a_loss_without_a_gradient_is_named_with_the_cure():
    a = torch.rand(2, 4, 4, N, requires_grad=True)
    maps = AttentionMaps({2: a}, tuple(range(N)), (Span("l", 0, N),))
    objective = Wrong(lambda a: a.detach().mean((1, 2, 3)))
    with pytest.raises(ValueError, match="without a gradient: .* without detach"):
        evaluate_loss(objective, maps, (CAT,), context())
    with torch.no_grad():  # the report's evaluations need none
        assert evaluate_loss(objective, maps, (CAT,), context()).shape == (2,)


def test_e3_initno_plus_compares_with_maps_of_every_step_from_the_first():
    """The refinement at step 1 sees a cache that began at step 0; its guide alone would begin there."""
    _, guide = preset("InitNO+ (Guo et al. 2024)")
    guide = replace(guide, checkpoints=(Checkpoint(Moment(step=1), 0.99),), max_rounds=1)
    worker, seen = guide.start(SCHEDULE), []
    refine = guide.refinement

    class Noted:
        needs = refine.needs

        def __call__(self, maps, subjects, context):
            seen.append(refine.terms(maps, subjects, replace(context, memory=dict(context.memory))).alignment)
            return refine(maps, subjects, context)

        shortfall = staticmethod(refine.shortfall)

    worker.recipe = replace(guide, refinement=Noted())
    for step, sigma in ((0, 14.6), (1, 5.0)):
        z = logits(seed=step)[:, 0].movedim(-1, 1).float().repeat(2, 1, 1, 1)

        def look(latent):
            return maps_of(latent.movedim(1, -1)[:, None].repeat(1, 2, 1, 1, 1))

        worker(z, look, (CAT, DOG), StepContext(step, 3, sigma, sigma), lambda j: None)
    assert (seen[0] > 0).all()


def test_e4_divide_and_bind_has_twice_as_many_updates_at_its_first_step():
    (guide,) = preset("Divide & Bind (Li et al. 2023)")
    schedule = Schedule(tuple(float(s) for s in range(20, -1, -1)), lambda percent: 20 * (1 - percent))
    assert [guide.active_steps(schedule).updates[step] for step in (0, 4, 8)] == [101, 51, 51]
    fewer = replace(guide, max_rounds=5).active_steps(schedule).updates
    assert [fewer[step] for step in (0, 4, 8)] == [11, 6, 6]
