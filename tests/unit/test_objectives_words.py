"""Objectives about words and who looks where: CONFORM, EBAMA and Self-Cross, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives._foreground import otsu_mask
from gsn_ops.objectives.attend_and_excite import presence
from gsn_ops.objectives.base import shortfall
from gsn_ops.objectives.conform import Conform, nt_xent
from gsn_ops.objectives.ebama import Ebama
from gsn_ops.objectives.initno import stray_attention
from gsn_ops.objectives.self_cross import SelfCross, self_cross_overlap
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.subject_maps import smooth, subject_maps

N = 12
HERE = StepContext(3, 50, 9.3, 9.4)


def subject(label, noun, *modifiers, role="wanted"):
    return SubjectColumns(
        SubjectPhrase(label, label, role=role), {"l": noun}, tuple({"l": m} for m in modifiers)
    )


CAT, DOG, OWL = subject("cat", (3,), (2,)), subject("dog", (6, 7), (4,), (5,)), subject("owl", (8,))
FOX = subject("fox", (6,))


def attention(*shape, seed=0, sharp=2.0):
    """Probabilities [B, h, w, n]."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (sharp * logits).softmax(-1)


def maps_of(a, own=None, stop=10):
    rows = {} if own is None else {4: lambda cells: own[cells].unflatten(-1, a.shape[1:3])}
    return AttentionMaps(
        {4: a}, tuple(range(N)), (Span("l", 1, N - 1),), self_rows=rows, prompt=(Span("l", 1, stop),)
    )


def at(a, previous=None):
    return StepContext(3, 50, 9.3, 9.4, previous)


# --- CONFORM


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def conform_by_loops(rows, labels, temperature):
    """METHODS 2.9 for the rows of one image."""
    losses = []
    for i, e in enumerate(rows):
        others = sum(
            math.exp(cosine(e, rows[n]) / temperature) for n in range(len(rows)) if labels[n] != labels[i]
        )
        for j, f in enumerate(rows):
            if i != j and labels[i] == labels[j]:
                own = math.exp(cosine(e, f) / temperature)
                losses.append(-math.log(own / (own + others)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("earlier", [False, True])
def test_conform_contrasts_single_pieces_with_those_of_the_step_before(earlier):
    now, before = maps_of(attention(2, 8, 8, N)), maps_of(attention(2, 8, 8, N, seed=1))
    pieces, labels = [(2,), (3,), (4,), (5,), (6,), (7,)], [0, 0, 1, 1, 1, 1]
    rows = [subject_maps(m, [subject("", c) for c in pieces], MapOptions()).flatten(2) for m in (now, before)]
    together = torch.cat(rows, 1) if earlier else rows[0]
    expected = [conform_by_loops(image, labels * 2 if earlier else labels, 0.7) for image in together]
    context = at(now, before if earlier else None)
    assert Conform(temperature=0.7)(now, [CAT, DOG], context).tolist() == pytest.approx(expected)
    assert torch.equal(
        Conform(use_previous=False)(now, [CAT, DOG], context), Conform()(now, [CAT, DOG], HERE)
    )


def test_conform_has_nothing_to_do_without_pairs_or_without_a_rival():
    a = attention(2, 8, 8, N).requires_grad_(True)
    for subjects in ([subject("cat", (3,)), subject("dog", (6,))], [CAT]):
        loss = Conform()(maps_of(a), subjects, HERE)
        assert loss.tolist() == [0, 0]
        assert torch.autograd.grad(loss.sum(), a)[0].abs().max() == 0


def test_conform_pairs_a_word_with_itself_a_step_before():
    now, before = maps_of(attention(1, 8, 8, N)), maps_of(attention(1, 8, 8, N, seed=1))
    assert Conform()(now, [subject("cat", (3,)), subject("dog", (6,))], at(now, before)).item() > 0


def test_contrast_survives_tiny_temperatures():
    e = torch.rand(2, 4, 9, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    loss = nt_xent(e, [0, 0, 1, 1], 1e-3)
    (g,) = torch.autograd.grad(loss.sum(), e)
    assert loss.isfinite().all() and g.isfinite().all() and g.abs().max() > 0


def test_a_column_that_two_encoders_share_is_one_piece():
    a, spans = attention(1, 8, 8, N), (Span("l", 1, N - 1), Span("g", 1, 10))
    both = [
        SubjectColumns(s.phrase, s.noun | {"g": s.noun["l"]}, tuple(m | {"g": m["l"]} for m in s.modifiers))
        for s in (CAT, DOG)
    ]
    maps = AttentionMaps({4: a}, tuple(range(N)), spans)
    pieces = [(2,), (3,), (4,), (5,), (6,), (7,)]
    rows = subject_maps(
        maps, [SubjectColumns(CAT.phrase, {"l": c, "g": c}) for c in pieces], MapOptions()
    ).flatten(2)
    assert Conform()(maps, both, HERE).item() == pytest.approx(
        conform_by_loops(rows[0], [0, 0, 1, 1, 1, 1], 0.5)
    )


# --- EBAMA


def symmetric_kl(a, b):
    p, q = a / a.sum(), b / b.sum()
    return ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()).item() / 2


def ebama_by_loops(rows, strengths, subjects, kind, lam):
    """METHODS 2.5 for one image; rows: column -> flattened raw map, strengths: highest value of each noun's
    map.
    """

    def d(m, n):
        one = symmetric_kl if kind == "kl" else lambda a, b: 1 - cosine(a, b)
        pairs = [[one(rows[p], rows[q]) for q in n] for p in m]
        return max(map(max, pairs)) if kind == "kl" else sum(map(max, pairs))

    loss = -lam * sum(strengths)
    for s in subjects:
        noun, modifiers = s.noun["l"], [m["l"] for m in s.modifiers]
        own = {*noun, *(c for m in modifiers for c in m)}
        others = [c for c in range(1, 10) if c not in own]
        for m in modifiers:
            loss += d(m, noun) - sum(max(d((n,), (o,)) for n in noun) for o in others) / len(others)
    return loss


@pytest.mark.parametrize("kind", ["cos", "kl"])
def test_ebama_against_loops(kind):
    a, subjects = attention(2, 8, 8, N), [CAT, DOG, subject("rose", (8,), (1, 9)), subject("owl", (10,))]
    maps = maps_of(a)
    first = subject_maps(maps, [subject("", (c,)) for c in (3, 6, 8, 10)], MapOptions()).flatten(2).amax(-1)
    expected = [
        ebama_by_loops(a[b].flatten(0, 1).T, first[b].tolist(), subjects, kind, 0.3) for b in range(2)
    ]
    assert Ebama(kind, 0.3)(maps, subjects, HERE).tolist() == pytest.approx(expected)


def test_ebama_without_modifiers_lifts_the_nouns():
    maps = maps_of(attention(2, 8, 8, N))
    m = subject_maps(maps, [OWL], MapOptions()).flatten(2).amax(-1)
    assert torch.allclose(Ebama()(maps, [OWL], HERE), -0.5 * m[:, 0])


def test_ebama_evaluates_encoders_one_by_one():
    a, spans = attention(1, 8, 8, N), (Span("l", 1, 6), Span("t5", 7, 12))
    maps = AttentionMaps({4: a}, tuple(range(N)), spans)
    cat = SubjectColumns(CAT.phrase, {"l": (3,), "t5": (9,)}, ({"l": (2,), "t5": (8,)},))
    clip = SubjectColumns(CAT.phrase, {"l": (3,)}, ({"l": (2,)},))
    t5 = SubjectColumns(CAT.phrase, {"t5": (9,)}, ({"t5": (8,)},))
    parts = [
        Ebama()(AttentionMaps({4: a}, tuple(range(N)), (span,)), [known], HERE)
        for span, known in zip(spans, (clip, t5), strict=True)
    ]
    assert torch.allclose(Ebama()(maps, [cat], HERE), sum(parts) / 2)


def test_ebama_without_others_or_without_subjects():
    maps = maps_of(attention(1, 8, 8, N), stop=4)
    cat = subject("cat", (3,), (2,), (1,))
    assert Ebama()(maps, [cat], HERE).isfinite().all()
    with pytest.raises(ValueError, match="no subject to evaluate"):
        Ebama()(maps, [subject("bird", (8,), role="unwanted")], HERE)


# --- Self-Cross


def selfcross_by_loops(m, own, normalise):
    """L_sc of METHODS 2.8 for the subject maps [k, h, w] of one image and its self-attention [cells,
    cells].
    """
    h, w = m.shape[1:]
    s = []
    for j in range(len(m)):
        total = torch.zeros(h, w, dtype=m.dtype)
        for y in range(h):
            for x in range(w):
                if otsu_mask(m[j])[y, x]:
                    total += m[j, y, x] * smooth(own[w * y + x].view(1, 1, h, w), 3, 0.5)[0, 0]
        s.append(total / total.sum())
    c = [e / e.sum() for e in m] if normalise else list(m)
    pairs = [(i, j) for i in range(len(m)) for j in range(len(m)) if i != j]
    return sum(torch.minimum(s[j], c[i]).sum().item() for i, j in pairs) / len(pairs)


def lively(h, w):
    """Two images: the subjects' words are strong somewhere in the first, nowhere in the second."""
    a = attention(2, h, w, N, sharp=0.5)
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    for c, (v, u) in {3: (0.3, 0.3), 6: (0.5, 0.7), 8: (0.8, 0.2)}.items():
        a[0, ..., c] += 0.5 * torch.exp(-((y - v) ** 2 + (x - u) ** 2) / 0.05)
    return a


@pytest.mark.parametrize(
    "normalise, grid, divided",
    [
        ("auto", (16, 12), False),
        ("always", (16, 12), True),
        ("auto", (12, 20), True),
        ("never", (12, 20), False),
    ],
)
def test_selfcross_against_loops_and_its_gate(normalise, grid, divided):
    cells = grid[0] * grid[1]
    own = torch.randn(cells, cells, generator=torch.Generator().manual_seed(4), dtype=torch.float64).softmax(
        -1
    )
    subjects, objective = [CAT, FOX, OWL], SelfCross(normalise=normalise, maps=MapOptions(temperature=10))
    maps = maps_of(lively(*grid), own)
    m = subject_maps(maps, subjects, objective.maps)
    cross, clean = presence(m, 16), stray_attention(m)
    assert (cross > 0.5).tolist() == [False, True]
    overlap = [selfcross_by_loops(image, own, divided) for image in m]
    terms = objective.terms(maps, subjects, HERE)
    assert terms.overlap.tolist() == pytest.approx([overlap[0], 0]) and torch.equal(terms.cross, cross)
    gated = torch.tensor([overlap[0], 0], dtype=torch.float64)
    assert torch.allclose(objective(maps, subjects, HERE), cross + clean + gated)
    step = SelfCross("guidance", normalise=normalise, maps=objective.maps)
    assert torch.allclose(step(maps, subjects, HERE), cross + 0.1 * clean + gated)
    lacking = shortfall(step, maps, subjects, HERE, 0.8, None)
    expected = [max(c - 0.2, o - 0.3) for c, o in zip(cross.tolist(), overlap, strict=True)]
    assert lacking.tolist() == pytest.approx(expected)


def test_selfcross_gradients_where_the_gate_is_open():
    own = torch.randn(25, 25, generator=torch.Generator().manual_seed(4), dtype=torch.float64).softmax(-1)
    a = lively(5, 5)[:1]
    objective = SelfCross(maps=MapOptions(temperature=20), top_k=2)
    terms = objective.terms(maps_of(a, own), [CAT, FOX], HERE)
    assert terms.cross < 0.5 and terms.overlap > 0
    torch.autograd.gradcheck(lambda x: objective(maps_of(x, own), [CAT, FOX], HERE), a.requires_grad_(True))


def test_mixing_by_hand():
    left, right = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    s, c = torch.stack([left, right])[None], torch.stack([left, left])[None] / 4
    assert self_cross_overlap(s, c).item() == pytest.approx((0.5 + 0) / 2)  # S_0 on C_1; S_1 on C_0
    assert self_cross_overlap(s[:, :1], c[:, :1]).item() == 0


def test_selfcross_of_one_subject_needs_no_self_attention():
    assert SelfCross()(maps_of(attention(1, 8, 8, N)), [CAT], HERE).isfinite().all()
    with pytest.raises(ValueError, match="No self-attention was captured"):
        SelfCross()(maps_of(attention(1, 8, 8, N)), [CAT, DOG], HERE)


def test_selfcross_can_take_the_larger_of_two_encoders():
    a, spans = attention(2, 8, 8, N), (Span("l", 1, 6), Span("t5", 6, 11))
    own = torch.full((64, 64), 1 / 64, dtype=torch.float64)
    maps = AttentionMaps(
        {4: a}, tuple(range(N)), spans, self_rows={4: lambda cells: own[cells].unflatten(-1, (8, 8))}
    )
    cat = SubjectColumns(CAT.phrase, {"l": (3,), "t5": (8,)})
    dog = SubjectColumns(DOG.phrase, {"t5": (9, 10)})
    m = SelfCross(joined="max")._subject_maps(maps, [cat, dog])
    single = [
        subject_maps(AttentionMaps({4: a}, tuple(range(N)), (span,)), [s], MapOptions())[:, 0]
        for span, s in ((spans[0], cat), (spans[1], cat), (spans[1], dog))
    ]
    assert torch.equal(m[:, 0], torch.maximum(single[0], single[1])) and torch.equal(m[:, 1], single[2])
    assert SelfCross(joined="max")(maps, [cat, dog], HERE).isfinite().all()
