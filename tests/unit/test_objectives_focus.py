"""FOCUS and its variants for flow models, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives.base import shortfall
from gsn_ops.objectives.focus import Focus, bound_apart, js_divergence, rows_of
from gsn_ops.objectives.focus_ae import FocusPresence
from gsn_ops.objectives.focus_tv import FocusVariation
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.subject_maps import aggregate, smooth

N = 12
HERE = StepContext(3, 50, 0.9, 1.0)


def subject(label, noun, *modifiers, role="wanted"):
    return SubjectColumns(
        SubjectPhrase(label, label, role=role), {"l": noun}, tuple({"l": m} for m in modifiers)
    )


CAT, DOG, OWL = subject("cat", (3,), (2,)), subject("dog", (6, 7), (4,), (5,)), subject("owl", (8,))


def attention(*shape, seed=0):
    """Probabilities [B, h, w, n]."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def maps_of(a):
    return AttentionMaps({4: a}, tuple(range(N)), (Span("l", 1, N - 1),))


def jsd_by_loops(rows):
    q = [[v**3 for v in row] for row in rows.tolist()]
    q = [[v / max(sum(row), 1e-10) for v in row] for row in q]
    mean = [sum(column) / len(q) for column in zip(*q, strict=True)]
    kl = [
        sum(v * (math.log(v + 1e-10) - math.log(m + 1e-10)) for v, m in zip(row, mean, strict=True))
        for row in q
    ]
    return sum(kl) / len(q) / math.log(len(q))


def focus_by_loops(rows, groups):
    """METHODS 2.16 for one image; rows: column -> blurred raw map, flattened."""
    inside = [jsd_by_loops(rows[list(g)]) for g in groups if len(g) > 1]
    loss = sum(inside) / len(inside) if inside else 0
    if len(groups) > 1:
        loss += 1 - jsd_by_loops(torch.stack([rows[list(g)].mean(0) for g in groups]))
    return loss / 2


@pytest.mark.parametrize(
    "subjects, groups",
    [
        ([CAT, DOG, OWL], [(2, 3), (4, 5, 6, 7), (8,)]),
        ([DOG], [(4, 5, 6, 7)]),
        ([OWL, subject("bee", (1,))], [(8,), (1,)]),
        ([OWL], [(8,)]),
    ],
    ids=["three", "one subject", "single words", "one word"],
)
def test_focus_against_loops(subjects, groups):
    a = attention(2, 8, 8, N)
    rows = smooth(a.movedim(-1, 1), 3, 1.0, legacy=False).flatten(2)
    expected = [focus_by_loops(image, groups) for image in rows]
    assert Focus()(maps_of(a), subjects, HERE).tolist() == pytest.approx(expected)


def test_divergence_of_equal_and_of_disjoint_rows():
    one = torch.rand(1, 1, 9, generator=torch.Generator().manual_seed(0))
    assert js_divergence(one.repeat(1, 3, 1)).item() == pytest.approx(0, abs=1e-6)
    assert js_divergence(torch.eye(5)[None]).item() == pytest.approx(1, abs=1e-6)
    assert bound_apart([torch.eye(2)[None, :1], torch.eye(2)[None, 1:]]).item() == pytest.approx(0, abs=1e-6)


def test_rows_of_a_subject_come_from_all_its_encoders_without_a_second_softmax():
    a, spans = attention(1, 8, 8, N), (Span("l", 1, 6), Span("g", 1, 6), Span("t5", 6, 12))
    maps = AttentionMaps({4: a}, tuple(range(N)), spans)
    cat = SubjectColumns(CAT.phrase, {"l": (3,), "g": (3,), "t5": (8, 9)}, ({"l": (2,)},))
    (rows,) = rows_of(maps, [cat, subject("bird", (5,), role="unwanted")], MapOptions(kernel_size=0))
    assert torch.equal(rows, a.movedim(-1, 1)[:, [2, 3, 8, 9]])
    with pytest.raises(ValueError, match="no subject to evaluate"):
        rows_of(maps, [subject("bird", (5,), role="unwanted")], MapOptions())


def test_focus_presence_is_the_weakest_subjects_best_share():
    a = attention(2, 8, 8, N)
    rows = smooth(a.movedim(-1, 1), 3, 1.0, legacy=False)
    total = rows[:, 2:9].sum(1)
    best = [(rows[:, list(g)].mean(1) / total).flatten(1).amax(1) for g in ((2, 3), (4, 5, 6, 7), (8,))]
    assert torch.allclose(FocusPresence()(maps_of(a), [CAT, DOG, OWL], HERE), 1 - torch.stack(best).amin(0))


@pytest.mark.parametrize("kind", ["textbook", "legacy"])
def test_focus_variation_is_that_of_rows_around_one(kind):
    a = attention(2, 6, 8, N)
    rows = smooth(a.movedim(-1, 1), 3, 1.0, legacy=False)
    values = []
    for g in ((2, 3), (4, 5, 6, 7)):
        r = rows[:, list(g)].mean(1)
        r = r * 48 / r.sum((1, 2), keepdim=True)
        down = r[:, 1:] - r[:, :-1] if kind == "textbook" else r[:, -1:] - r[:, 1:]
        values.append((r[:, :, 1:] - r[:, :, :-1]).abs().mean((1, 2)) + down.abs().mean((1, 2)))
    least = torch.stack(values).amin(0)
    objective = FocusVariation(kind)
    assert torch.allclose(objective(maps_of(a), [CAT, DOG], HERE), -least)
    assert torch.allclose(shortfall(objective, maps_of(a), [CAT, DOG], HERE, 0.4, None), 0.4 - least)


def test_levels_are_averaged_before_the_rows_are_taken():
    fine, coarse = attention(1, 16, 16, N), attention(1, 8, 8, N, seed=1)
    both = AttentionMaps({4: fine, 8: coarse}, tuple(range(N)), (Span("l", 1, N - 1),))
    assert torch.equal(Focus()(both, [CAT, DOG], HERE), Focus()(maps_of(aggregate(both)), [CAT, DOG], HERE))
