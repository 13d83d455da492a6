"""InitNO and the blobs that it finds in maps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives._foreground import blob, component, peak
from gsn_ops.objectives.attend_and_excite import presence
from gsn_ops.objectives.initno import InitNO, InitNOTerms, noise_divergence, self_overlap, stray_attention
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.subject_maps import smooth, subject_maps


def context():
    return StepContext(8, 50, 5.63, 5.72, memory={})


def image(*rows):
    return torch.tensor([[c == "#" for c in row] for row in rows])


def subjects(*columns):
    return [SubjectColumns(SubjectPhrase(f"s{c}", f"s{c}"), {"l": (c,)}) for c in columns]


def maps_of(a, rows=None):
    return AttentionMaps(
        {4: a},
        tuple(range(a.shape[-1])),
        (Span("l", 1, a.shape[-1] - 1),),
        self_rows={} if rows is None else {4: rows},
    )


def attention(*shape, seed=0):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def uniform_rows(shape):
    return lambda cells: torch.full((*cells.shape, *shape), 1 / math.prod(shape), dtype=torch.float64)


def test_components_are_joined_by_edges_not_by_corners():
    inside = image("##..", "..#.", ".##.", "#..#")
    seed = torch.zeros(4, 4, dtype=torch.bool)
    seed[2, 1] = True
    for at_once in (None, 1, 3, 4):  # how often it is asked changes nothing
        assert torch.equal(component(inside, seed, at_once), image("....", "..#.", ".##.", "...."))


def test_a_component_may_wind_through_a_large_grid():
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[::2] = True
    inside[1::4, -1] = inside[3::4, 0] = True  # a snake of more than 2000 cells
    seed = torch.zeros(64, 64, dtype=torch.bool)
    seed[0, 0] = True
    assert torch.equal(component(inside, seed), inside) and torch.equal(component(inside, seed, 5), inside)


def test_the_peak_is_one_cell_even_among_equals():
    m = torch.zeros(2, 3, 4)
    m[1, 2, 3] = 1
    assert peak(m).sum((1, 2)).tolist() == [1, 1]
    assert peak(m)[0, 0, 0] and peak(m)[1, 2, 3]


def dark(*shape):
    """A background of two dark levels, the lighter one in one corner: Otsu's threshold is the lighter."""
    m = torch.full(shape, 0.005, dtype=torch.float64)
    m[..., 0, -1] = 0.02
    return m


def test_a_blob_leaves_other_bright_places_out():
    m = dark(6, 6)
    m[0:2, 0:2], m[4:6, 4:6] = 0.8, 0.7
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[0:2, 0:2] = True
    assert torch.equal(blob(m), expected)
    both = blob(torch.stack([m, m.flip(0)]))
    assert torch.equal(both[0], expected) and torch.equal(both[1], expected.flip(0))


@pytest.mark.parametrize("m", [torch.zeros(5, 7), torch.full((5, 7), 0.3), torch.full((5, 7), 0.9 / 255)])
def test_the_blob_of_a_flat_map_is_everything(m):
    assert blob(m).all()


def test_the_peak_is_always_in_the_blob():
    m = torch.rand(50, 5, 5, generator=torch.Generator().manual_seed(0)) ** 4
    m[:25] = (m[:25] * 255).floor() / 255  # values at the very edge of a level
    assert (blob(m) & peak(m)).flatten(1).any(1).all()


def test_stray_attention_by_hand():
    m = dark(1, 1, 6, 6)
    m[0, 0, 0:2, 0:2] = torch.tensor([[0.8, 0.5], [0.6, 0.7]])
    assert stray_attention(m).item() == 0  # everything outside is weaker than everything inside
    m[0, 0, 4:6, 4:6] = 0.55
    assert stray_attention(m).item() == pytest.approx(0.55)  # stronger than the blob's 0.5
    assert stray_attention(m.expand(2, 3, 6, 6)).tolist() == pytest.approx([1.65, 1.65])


def test_e1_a_flat_background_is_foreground_as_in_the_authors_code():
    m = torch.full((6, 6), 0.01)  # one dark level: the threshold is that level
    m[0:2, 0:2], m[4:6, 4:6] = 0.8, 0.7
    assert blob(m).all() and stray_attention(m[None, None]).item() == 0


def test_stray_attention_pulls_at_the_stray_place():
    m = dark(1, 1, 6, 6)
    m[0, 0, 0:2, 0:2] = torch.tensor([[0.8, 0.5], [0.6, 0.7]])
    m[0, 0, 5, 5] = 0.6
    m.requires_grad_(True)
    (g,) = torch.autograd.grad(stray_attention(m).sum(), m)
    assert g[0, 0].nonzero().tolist() == [[5, 5]] and g[0, 0, 5, 5] == 1


def test_self_overlap_by_hand():
    a = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    b = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
    c = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert self_overlap(torch.stack([a, b, c])[None]).item() == pytest.approx((0.5 / 2 + 0 + 0) / 3, abs=1e-6)
    assert self_overlap(a[None, None]).item() == 0


def test_noise_divergence_is_that_of_two_gaussians_per_image():
    mu, logvar = torch.zeros(2, 3, 4, 4, dtype=torch.float64), torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    assert noise_divergence(mu, logvar).tolist() == [0, 0]
    mu[1], logvar[1] = 0.3, 0.2
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(0.3, math.exp(0.1)), torch.distributions.Normal(0.0, 1.0)
    ).item()
    assert noise_divergence(mu, logvar).tolist() == pytest.approx([0, expected])


def test_self_attention_is_asked_for_one_cell_per_subject():
    a, asked = attention(2, 6, 8, 12), []

    def rows(cells):
        asked.append(cells)
        return uniform_rows((6, 8))(cells)

    InitNO()(maps_of(a, rows), subjects(3, 5), context())
    m = subject_maps(maps_of(a), subjects(3, 5), MapOptions())
    assert [c.tolist() for c in asked] == [m.flatten(2).argmax(-1).tolist()]


def test_the_overlap_is_gated_per_image_at_the_initial_noise_only():
    a = torch.full((2, 6, 8, 12), 1e-3, dtype=torch.float64)
    a[1, 2, 2, 3] = a[1, 4, 4, 5] = 1  # both subjects of image 1 are present
    maps, two = maps_of(a, uniform_rows((6, 8))), subjects(3, 5)
    m = subject_maps(maps, two, MapOptions(kernel_size=0))
    assert (presence(m) > 0.5).tolist() == [True, False]
    init = InitNO(maps=MapOptions(kernel_size=0)).terms(maps, two, context())
    assert init.overlap.tolist() == pytest.approx([0, 0.5], abs=1e-5)
    late = InitNO("refine", maps=MapOptions(kernel_size=0)).terms(maps, two, context())
    assert late.overlap.tolist() == pytest.approx([0.5, 0.5], abs=1e-5)


def test_rows_are_smoothed_like_maps():
    a = attention(1, 6, 8, 12)
    own = torch.zeros(1, 2, 6, 8, dtype=torch.float64)
    own[0, 0, 2, 2] = own[0, 1, 2, 3] = 1
    terms = InitNO("refine").terms(maps_of(a, lambda cells: own), subjects(3, 5), context())
    assert terms.overlap.item() == pytest.approx(self_overlap(smooth(own, 3, 0.5)).item())
    assert terms.overlap.item() > 0


@pytest.mark.parametrize("phase, clean, alignment", [("init", 1.0, 0.0), ("refine", 0.1, 0.1)])
def test_phases_weigh_their_terms(phase, clean, alignment):
    parts = InitNOTerms(*(torch.tensor([x]) for x in (0.1, 0.2, 0.4, 0.8 if alignment else 0.0)))
    assert InitNO(phase).total(parts).item() == pytest.approx(0.1 + 0.2 + clean * 0.4 + alignment * 0.8)
    maps, two = maps_of(attention(2, 6, 8, 12), uniform_rows((6, 8))), subjects(3, 5)
    terms = InitNO(phase).terms(maps, two, context())
    assert torch.equal(InitNO(phase)(maps, two, context()), InitNO(phase).total(terms))


def test_guidance_is_presence_and_needs_no_self_attention():
    maps, two = maps_of(attention(2, 6, 8, 12)), subjects(3, 5)
    assert torch.equal(
        InitNO("guidance", top_k=2)(maps, two, context()), presence(subject_maps(maps, two, MapOptions()), 2)
    )


def test_alignment_compares_with_a_fading_memory():
    first, second, third = (attention(2, 6, 8, 12, seed=s) for s in (1, 2, 3))
    two, objective, here = subjects(3, 5), InitNO("refine"), context()
    m1, m2, m3 = (subject_maps(maps_of(a), two, MapOptions()) for a in (first, second, third))
    seen = [
        objective.terms(maps_of(a, uniform_rows((6, 8))), two, here).alignment for a in (first, second, third)
    ]
    cache2 = 0.9 * m1 + 0.1 * m2
    cache3 = 0.9 * cache2 + 0.1 * m3
    assert seen[0].tolist() == [0, 0]
    for value, m, cache in ((seen[1], m2, cache2), (seen[2], m3, cache3)):
        assert value.tolist() == pytest.approx((m - cache).abs().mean((2, 3)).sum(1).tolist())


def test_the_memory_of_images_that_have_stopped_rests():
    first, second, third = (attention(2, 6, 8, 12, seed=s) for s in (1, 2, 3))
    two, objective, rows = subjects(3, 5), InitNO("refine"), uniform_rows((6, 8))
    together, alone = context(), context()
    objective(maps_of(first, rows), two, together)
    together.memory["active"] = torch.tensor([False, True])
    objective(maps_of(second, rows), two, together)
    del together.memory["active"]
    last = objective.terms(maps_of(third, rows), two, together).alignment
    for a in (first, third):  # image 0 was asked twice only
        stopped = objective.terms(maps_of(a[:1], rows), two, alone).alignment
    assert torch.equal(last[:1], stopped)


def test_evaluating_a_test_does_not_move_the_memory():
    maps, two, here = maps_of(attention(2, 6, 8, 12), uniform_rows((6, 8))), subjects(3, 5), context()
    InitNO("refine").shortfall(maps, two, here, 0.8)
    assert here.memory == {}


def test_refinement_wants_presence_and_separate_rows():
    a = torch.full((1, 6, 8, 12), 1e-3, dtype=torch.float64)
    a[0, 2, 2, 3] = a[0, 4, 4, 5] = 1
    two, plain = subjects(3, 5), MapOptions(kernel_size=0)
    together = maps_of(a, uniform_rows((6, 8)))
    assert InitNO("refine", maps=plain).shortfall(together, two, context(), 0.8).item() == pytest.approx(
        0.2, abs=1e-5
    )
    assert InitNO("guidance", maps=plain).shortfall(together, two, context(), 0.8).item() == pytest.approx(
        -0.2, abs=1e-3
    )
    apart = replace(
        together, self_rows={4: lambda cells: torch.eye(48, dtype=torch.float64)[cells].unflatten(-1, (6, 8))}
    )
    assert InitNO("refine", maps=plain).shortfall(apart, two, context(), 0.8).item() == pytest.approx(
        -0.2, abs=1e-3
    )


def test_one_subject_overlaps_with_nobody_and_asks_for_no_rows():
    terms = InitNO().terms(maps_of(attention(2, 6, 8, 12)), subjects(3), context())
    assert terms.overlap.tolist() == [0, 0]


def test_a_model_without_self_attention_is_refused_in_words():
    with pytest.raises(ValueError, match="self-attention"):
        InitNO()(maps_of(attention(2, 6, 8, 12)), subjects(3, 5), context())
