"""SynGen, total variation and its binding: against the formulas written out word by word."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives.divide_and_bind import (
    TotalVariation,
    TotalVariationAndBinding,
    attribute_divergence,
    binding_weight,
    total_variation,
)
from gsn_ops.objectives.syngen import SynGen, away, distance, pair_distance
from gsn_ops.prompt import EncoderTokens, Piece, Span, SubjectColumns, SubjectPhrase
from gsn_ops.subject_maps import subject_maps

HERE = StepContext(8, 50, 5.63, 5.72)


def attention(*shape, seed=0):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def maps_of(a, prompt, encoder="l"):
    return AttentionMaps(
        {4: a},
        tuple(range(a.shape[-1])),
        (Span(encoder, 1, a.shape[-1] - 1),),
        prompt=tuple(Span(encoder, *s) for s in prompt),
    )


def word(label, noun, *modifiers, encoder="l"):
    return SubjectColumns(
        SubjectPhrase(label, label), {encoder: noun}, tuple({encoder: m} for m in modifiers)
    )


def plain_distance(a, b):
    """D(a, b) of two maps [h, w], straight from the definition."""
    p, q = a / a.sum(), b / b.sum()
    return (((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2).item()


def plain_syngen(a, prompt, entities, variant, include_entities=False):
    """METHODS' SynGen for one image a [h, w, n], loops and floats only."""
    grouped = variant == "group_mean"

    def pieces(unit):
        maps = [a[..., c] for c in unit]
        return [sum(maps) / len(maps)] if grouped else maps

    def d(unit, other):
        return max(plain_distance(x, y) for x in pieces(unit) for y in pieces(other))

    total = 0.0
    for noun, modifiers in entities:
        used = {c for unit in (noun, *modifiers) for c in unit}
        others = [(c,) for c in prompt if c not in used]
        if grouped:
            foreign = [u for n, ms in entities if n != noun for u in (n, *ms)]
            others = [o for o in others if not any(o[0] in u for u in foreign)] + foreign

        def neg(unit, others=others):
            return -sum(d(unit, o) for o in others) / len(others) if others else 0.0

        if not modifiers and (include_entities or grouped):
            total += neg(noun)
        total += sum(d(m, noun) + (neg(noun) + neg(m)) / 2 for m in modifiers)
    return total


def test_distance_of_two_distributions_by_hand():
    a, b = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[2.0, 2.0]]])
    kl = 0.25 * math.log(0.5) + 0.75 * math.log(1.5), 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert distance(a, b).item() == pytest.approx(sum(kl) / 2)
    assert distance(7 * a, b / 9).item() == pytest.approx(sum(kl) / 2)
    assert distance(b, a).item() == pytest.approx(sum(kl) / 2)
    assert distance(a, a).item() == 0


def test_distance_of_disjoint_maps_is_large_and_finite():
    a, b = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    assert distance(a, b).item() == pytest.approx(-math.log(torch.finfo(torch.float32).eps), rel=1e-5)


def test_words_of_several_pieces_are_as_far_as_their_worst_pair():
    a, b = attention(1, 2, 9, seed=1), attention(1, 3, 9, seed=2)
    apart = distance(a, b)
    assert apart.shape == (1, 2, 3)
    assert pair_distance(a, b).item() == apart.max().item()
    assert away(a, b).item() == pytest.approx(-apart.amax(1).mean().item())
    assert away(a, None).item() == 0


@pytest.mark.parametrize("variant", ["original", "group_mean"])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize(
    "entities",
    [
        [((3,), [(2,)]), ((6,), [(5,)])],
        [((3, 4), [(2,)]), ((7,), [(5,), (6,)])],
        [((3, 4), [(1, 2)]), ((8, 9), []), ((5,), [])],
        [((3,), [])],
    ],
    ids=["plain", "pieces", "mixed", "no modifier"],
)
def test_syngen_is_the_formula(variant, include, entities):
    a, prompt = attention(2, 4, 5, 14), range(1, 11)
    subjects = [word(f"s{j}", noun, *modifiers) for j, (noun, modifiers) in enumerate(entities)]
    loss = SynGen(variant, include)(maps_of(a, [(1, 11)]), subjects, HERE)
    assert loss.tolist() == pytest.approx([plain_syngen(x, prompt, entities, variant, include) for x in a])


def test_for_one_piece_words_with_modifiers_the_forms_agree():
    maps, subjects = (
        maps_of(attention(2, 4, 5, 14), [(1, 11)]),
        [word("a", (3,), (2,)), word("b", (6,), (5,))],
    )
    original, grouped = (SynGen(v)(maps, subjects, HERE) for v in ("original", "group_mean"))
    assert original.tolist() == pytest.approx(grouped.tolist())


def test_without_modifiers_original_syngen_is_a_differentiable_zero():
    a = attention(2, 4, 5, 14).requires_grad_(True)
    loss = SynGen()(maps_of(a, [(1, 11)]), [word("a", (3,))], HERE)
    (g,) = torch.autograd.grad(loss.sum(), a)
    assert loss.tolist() == [0, 0] and g.abs().max() == 0


def test_a_prompt_of_one_phrase_has_no_other_words():
    a = attention(1, 4, 5, 14)
    loss = SynGen()(maps_of(a, [(2, 4)]), [word("a", (3,), (2,))], HERE)
    assert loss.item() == pytest.approx(plain_distance(a[0, ..., 2], a[0, ..., 3]))


def test_template_words_can_be_skipped():
    a, entities = attention(1, 4, 5, 14), [((6,), [(5,)])]
    loss = SynGen(skip=3)(maps_of(a, [(1, 11)]), [word("a", (6,), (5,))], HERE)
    assert loss.item() == pytest.approx(plain_syngen(a[0], range(4, 11), entities, "original"))
    with pytest.raises(ValueError, match="skip"):
        SynGen(skip=-2)


def test_only_a_template_that_is_there_is_skipped():
    a, entities = attention(1, 4, 5, 14), [((6,), [(5,)])]
    for template, first in (({"l": 3}, 4), ({}, 1)):
        maps = replace(maps_of(a, [(1, 11)]), template=template)
        loss = SynGen(skip=-1)(maps, [word("a", (6,), (5,))], HERE)
        assert loss.item() == pytest.approx(plain_syngen(a[0], range(first, 11), entities, "original"))


@pytest.mark.parametrize(
    "text, pieces",
    [("a photo of a cat", 3), ("Painting of a dog", 2), ("a cat in a photo of a dog", 0), ("a photo", 0)],
)
def test_the_template_of_a_text(text, pieces):
    words, at = [], 0
    for part in text.split():
        at = text.index(part, at)
        words.append(Piece(part, at, at + len(part), len(words) + 1))
        at += len(part)
    assert EncoderTokens("l", text, tuple(words), ((1, len(words) + 1, 77),)).template == pieces


def test_without_a_prompt_the_span_counts():
    a, entities = attention(1, 4, 5, 14), [((6,), [(5,)])]
    loss = SynGen()(maps_of(a, []), [word("a", (6,), (5,))], HERE)
    assert loss.item() == pytest.approx(plain_syngen(a[0], range(1, 13), entities, "original"))


def test_chunks_of_a_long_prompt_are_one_prompt():
    a = attention(1, 4, 5, 20)
    loss = SynGen()(maps_of(a, [(1, 6), (9, 13)]), [word("a", (3,), (10,))], HERE)
    assert loss.item() == pytest.approx(
        plain_syngen(a[0], [*range(1, 6), *range(9, 13)], [((3,), [(10,)])], "original")
    )


def test_encoders_are_evaluated_one_by_one_and_averaged():
    a, spans = attention(1, 4, 5, 20), (Span("l", 1, 8), Span("t5", 9, 15))
    maps = AttentionMaps({4: a}, tuple(range(20)), spans, prompt=spans)
    cat = SubjectColumns(SubjectPhrase("cat", "cat"), {"l": (3,), "t5": (11,)}, ({"l": (2,), "t5": (10,)},))
    dog = SubjectColumns(SubjectPhrase("dog", "dog"), {"l": (6,)}, ({"l": (5,)},))  # unknown to t5
    in_l = plain_syngen(a[0], range(1, 8), [((3,), [(2,)]), ((6,), [(5,)])], "original")
    in_t5 = plain_syngen(a[0], range(9, 15), [((11,), [(10,)])], "original")
    assert SynGen()(maps, [cat, dog], HERE).item() == pytest.approx((in_l + in_t5) / 2)
    assert SynGen()(maps, [dog], HERE).item() == pytest.approx(
        plain_syngen(a[0], range(1, 8), [((6,), [(5,)])], "original")
    )


def test_total_variation_by_hand_and_its_two_kinds():
    m = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 0.0]])
    across = (1 + 0 + 0.5) / 3
    assert total_variation(m, "textbook").item() == pytest.approx(across + (1 + 0 + 0.5 + 0) / 4)
    assert total_variation(m, "legacy").item() == pytest.approx(
        across + (0.5 + 0 + 0 + 0) / 4
    )  # row 0 does not count


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
def test_a_grid_without_neighbours_varies_only_where_it_can(shape):
    m = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
    flat = max(shape) == 1
    assert total_variation(m, "textbook").item() == (0 if flat else 1)


@pytest.mark.parametrize("objective", [TotalVariation(), TotalVariationAndBinding()], ids=repr)
def test_refinement_by_variation_looks_at_the_flattest_map_alone(objective):
    maps, subjects = (
        maps_of(attention(2, 8, 8, 14), [(1, 11)]),
        [word("a", (3,), (2,)), word("b", (6,), (5,))],
    )
    least = total_variation(subject_maps(maps, subjects, MapOptions())).amin(1)
    assert objective.shortfall(maps, subjects, HERE, 0.3).tolist() == pytest.approx((0.3 - least).tolist())
    assert TotalVariation()(maps, subjects, HERE).tolist() == pytest.approx((-least).tolist())


def test_binding_grows_in_three_stages_at_any_number_of_steps():
    assert [binding_weight(i, 50) for i in (0, 9, 10, 19, 20, 49)] == [1, 1, 5, 5, 10, 10]
    assert [binding_weight(i, 25) for i in (0, 4, 5, 9, 10, 24)] == [1, 1, 5, 5, 10, 10]


@pytest.mark.parametrize("variation, f", [(0.05, 0.3), (0.5, 0.2)])
def test_attributes_in_place_cost_nothing_and_elsewhere_what_the_formula_says(variation, f):
    m = torch.zeros(1, 6, 6, dtype=torch.float64)
    m[0, 1, 1] = 0.8
    variation = torch.tensor([variation], dtype=torch.float64)
    assert attribute_divergence(m, m / 3, variation).item() == pytest.approx(0, abs=1e-12)
    total = math.exp(0.8) + 35
    cut = f * math.exp(0.8) / total
    high, low = math.exp(0.8) / total - cut + 1e-5, 1 / total - cut + 1e-5
    middle = (high + low) / 2  # at the two peaks; elsewhere both are low
    js = high * math.log(high / middle) + low * math.log(low / middle)
    assert attribute_divergence(m, m.flip(2) / 5, variation).item() == pytest.approx(js)


def test_only_subjects_with_attributes_are_bound():
    maps = maps_of(attention(2, 8, 8, 14), [(1, 11)])
    bare = [word("a", (3,)), word("b", (6,))]
    assert torch.equal(TotalVariationAndBinding()(maps, bare, HERE), TotalVariation()(maps, bare, HERE))
    bound = [word("a", (3,), (2,)), word("b", (6,))]
    late = replace(HERE, index=30)
    m, c = subject_maps(maps, bare, MapOptions()), subject_maps(maps, [word("c", (2,))], MapOptions())
    variation = total_variation(m)
    value = variation[:, 0] - 10 * attribute_divergence(m[:, 0], c[:, 0], variation[:, 0])
    expected = -torch.minimum(value, variation[:, 1])
    assert TotalVariationAndBinding()(maps, bound, late).tolist() == pytest.approx(expected.tolist())


def test_attribute_maps_may_come_from_finer_levels():
    coarse, fine = attention(1, 4, 4, 14), attention(1, 8, 8, 14, seed=1)
    maps = AttentionMaps({4: coarse, 2: fine}, tuple(range(14)), (Span("l", 1, 13),))
    subjects, objective = [word("a", (3,), (2,))], TotalVariationAndBinding(attribute_levels="finer")
    alone = AttentionMaps({4: coarse}, maps.columns, maps.spans)
    nearest = AttentionMaps({4: fine[:, ::2, ::2]}, maps.columns, maps.spans)
    m, c = (subject_maps(x, [word("x", (n,))], MapOptions())[:, 0] for x, n in ((alone, 3), (nearest, 2)))
    variation = total_variation(m)
    expected = attribute_divergence(m, c, variation) - variation
    early = replace(HERE, index=0)
    assert objective(maps, subjects, early).item() == pytest.approx(expected.item())
    assert torch.equal(objective(alone, subjects, early), TotalVariationAndBinding()(alone, subjects, early))
    assert objective.shortfall(maps, subjects, early, 0.3).item() == pytest.approx(0.3 - variation.item())
