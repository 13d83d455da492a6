"""Presence, separation and their sum: values, gradients, batches, edges, registry."""

from __future__ import annotations

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives.attend_and_excite import Presence, presence
from gsn_ops.objectives.base import REGISTRY, register
from gsn_ops.objectives.cn_iou import PresenceAndSeparation
from gsn_ops.objectives.separation import Separation, separation
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase

HERE = StepContext(8, 50, 5.63, 5.72)
OBJECTIVES = [
    Presence(),
    Presence(top_k=3),
    Separation(),
    PresenceAndSeparation(),
    PresenceAndSeparation("mean"),
]


def subjects(*columns):
    return [SubjectColumns(SubjectPhrase(f"s{c}", f"s{c}"), {"l": (c,)}) for c in columns]


def maps_of(a):
    return AttentionMaps({4: a}, tuple(range(a.shape[-1])), (Span("l", 1, a.shape[-1] - 1),))


def attention(*shape, seed=0, dtype=torch.float64):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1).to(dtype)


def test_presence_is_the_worst_of_the_best_places():
    m = torch.zeros(2, 2, 3, 5)
    m[0, 0, 1, 2], m[0, 1, 0, 4] = 0.9, 0.3
    m[1, 0, 0, 0], m[1, 1, 2, 2] = 0.2, 1.0
    assert presence(m).tolist() == pytest.approx([0.7, 0.8])


def test_presence_top_k_is_a_mean_and_never_more_than_the_grid():
    m = torch.tensor([0.5, 0.3, 0.1, 0.0]).view(1, 1, 2, 2)
    assert presence(m, 2).item() == pytest.approx(1 - 0.4)
    assert presence(m, 0).item() == pytest.approx(0.5)
    assert presence(m, 99).item() == pytest.approx(1 - 0.225)


def test_presence_pulls_at_the_worst_subject_only():
    m = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)) / 2
    m[0, 1] /= 4
    m.requires_grad_(True)
    (g,) = torch.autograd.grad(presence(m).sum(), m)
    assert g[0, [0, 2]].abs().max() == 0
    assert g[0, 1].flatten().nonzero().flatten().tolist() == [m[0, 1].argmax().item()]
    assert g.sum() == -1


def test_separation_by_hand():
    a = torch.tensor([[0.4, 0.2], [0.0, 0.0]])
    b = torch.tensor([[0.1, 0.2], [0.1, 0.0]])
    c = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert separation(torch.stack([a, b])[None]).item() == pytest.approx(0.3 / 1.0)
    assert separation(torch.stack([a, b, c])[None]).item() == pytest.approx((0.3 + 0 + 0) / 3)


def test_separation_of_equal_and_of_disjoint_maps():
    m = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert separation(m.repeat(2, 3, 1, 1)).tolist() == pytest.approx([0.5, 0.5])
    left = torch.zeros(1, 2, 4, 4)
    left[0, 0, :, :2], left[0, 1, :, 2:] = 1, 1
    assert separation(left).item() == 0


@pytest.mark.parametrize("reduction, factor", [("sum", 1), ("mean", 0.5)])
def test_reduction(reduction, factor):
    maps, two = maps_of(attention(2, 8, 8, 12)), subjects(2, 5)
    parts = Presence()(maps, two, HERE) + Separation()(maps, two, HERE)
    assert torch.allclose(PresenceAndSeparation(reduction)(maps, two, HERE), factor * parts)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_gradcheck_in_double(objective):
    logits = torch.randn(2, 3, 4, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 3
    torch.autograd.gradcheck(
        lambda x: objective(maps_of(x.softmax(-1)), subjects(2, 4, 5), HERE), logits.requires_grad_(True)
    )


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("grid", [(8, 8), (24, 40)])
def test_an_image_in_a_batch_is_the_image_alone(objective, grid):
    a = attention(3, *grid, 20, dtype=torch.float32).requires_grad_(True)
    losses = objective(maps_of(a), subjects(3, 7), HERE)
    (together,) = torch.autograd.grad(losses.sum(), a)
    for b in range(3):
        one = a[b : b + 1].detach().requires_grad_(True)
        loss = objective(maps_of(one), subjects(3, 7), HERE)
        (alone,) = torch.autograd.grad(loss.sum(), one)
        assert torch.equal(loss, losses[b : b + 1])
        assert torch.equal(alone, together[b : b + 1])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize(
    "a",
    [
        torch.zeros(1, 8, 8, 20),
        torch.full((1, 8, 8, 20), 1 / 20),
        torch.full((1, 1, 1, 20), 1 / 20),
    ],
    ids=["zero", "flat", "one cell"],
)
def test_featureless_maps_give_finite_losses_and_gradients(objective, a):
    a = a.clone().requires_grad_(True)
    loss = objective(maps_of(a), subjects(2, 5), HERE)
    (g,) = torch.autograd.grad(loss.sum(), a)
    assert loss.isfinite().all() and g.isfinite().all()


def test_one_subject_has_a_differentiable_zero_separation():
    a = attention(2, 8, 8, 12).requires_grad_(True)
    loss = Separation()(maps_of(a), subjects(3), HERE)
    (g,) = torch.autograd.grad(loss.sum(), a)
    assert loss.tolist() == [0, 0] and g.abs().max() == 0
    both = PresenceAndSeparation()(maps_of(a), subjects(3), HERE)
    assert torch.equal(both, Presence()(maps_of(a), subjects(3), HERE))


def test_all_zero_subject_maps_do_not_divide_by_zero():
    m = torch.zeros(1, 2, 8, 8, requires_grad=True)
    (g,) = torch.autograd.grad(separation(m).sum(), m)
    assert separation(m).item() == 0 and g.isfinite().all()


def test_options_reach_the_maps():
    maps, two = maps_of(attention(1, 8, 8, 12)), subjects(2, 5)
    assert Presence(maps=MapOptions(kernel_size=0))(maps, two, HERE) < Presence()(maps, two, HERE)


def test_registry_knows_the_objectives_and_guards_names():
    assert {"presence", "iou", "cn_iou"} <= set(REGISTRY)
    assert REGISTRY["cn_iou"] is PresenceAndSeparation
    register("presence")(Presence)  # the same class again is fine
    with pytest.raises(ValueError, match="presence"):
        register("presence")(Separation)
    assert REGISTRY["presence"] is Presence


@pytest.mark.parametrize("wrong", [Presence(), type("Plain", (), {}), lambda maps, subjects, context: 0])
def test_the_registry_refuses_what_is_no_dataclass_and_a_forgotten_id(wrong):
    with pytest.raises(TypeError, match="'wrong_kind' is .*: register a frozen dataclass"):
        register("wrong_kind")(wrong)
    with pytest.raises(TypeError, match="An objective needs an id"):
        register(wrong)
    assert "wrong_kind" not in REGISTRY
