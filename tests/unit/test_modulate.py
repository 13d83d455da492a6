"""What acts without gradients: the algebra against attention written out, and Prompt-to-Prompt's columns."""

import math

import pytest
import torch

from gsn_ops.modulate.alternate_prompts import prompt_of_steps
from gsn_ops.modulate.local_blend import blend, blend_mask, word_mask
from gsn_ops.modulate.normalized_attention import normalized_guidance
from gsn_ops.modulate.prompt_reinjection import reinject_anchored
from gsn_ops.modulate.prompt_to_prompt import align, refined_maps, replacement
from gsn_ops.modulate.vsf import flipped_attention
from gsn_ops.modulate.word_boost import boost_factors, lacking
from gsn_ops.modulate.word_weights import factors, weighted_output, weighted_probabilities


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def call():
    """q, k, v of one call, its output and probabilities."""
    q, k, v = (random(2, 3, n, 8, seed=n) for n in (7, 9, 10))
    v = v[:, :, :9]
    p = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
    return v, p, p @ v


def test_typed_weights():
    assert factors(1.0) == (1.0, 1.0) and factors(0.0) == (0.0, 1.0) and factors(-1.5) == (1.0, -1.5)
    assert factors(1.5)[0] == pytest.approx(math.e) and factors(0.5)[0] == 0.25
    assert factors(1e6) == (64.0, 1.0)
    below, above = ((factors(1 + d)[0] - 1) / d for d in (-1e-6, 1e-6))
    assert below == pytest.approx(2, rel=1e-5) and above == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("a", (0.0, 0.25, 1.5, 7.4))
@pytest.mark.parametrize("g", (-2.0, 0.5, 1.0))
def test_weighting_is_a_constant_in_the_score_and_a_factor_of_the_value(call, a, g):
    v, p, out = call
    columns, a, g = [2, 5, 6], torch.tensor([a, 3.0, a]).double(), torch.tensor([g, 1.0, -1.0]).double()
    probability, value = torch.ones(9).double(), torch.ones(9).double()
    probability[columns], value[columns] = a, g
    weighted = p * probability / (p * probability).sum(-1, keepdim=True)
    picked = p[..., columns]
    ours = weighted_output(out, v[:, :, columns], picked, a, g)
    assert (ours - weighted @ (value[:, None] * v)).abs().max() < 1e-14
    assert (weighted_probabilities(picked, a) - weighted[..., columns]).abs().max() < 1e-15


def test_a_probability_rises_with_its_weight_in_every_head_and_at_every_place(call):
    _, p, _ = call
    seen = [weighted_probabilities(p[..., [4]], torch.tensor([factors(w)[0]])) for w in (0, 0.5, 1, 1.5, 3)]
    assert seen[0].abs().max() == 0
    assert all((more > less).all() for less, more in zip(seen, seen[1:]))


def test_a_row_that_attends_to_removed_words_alone_stays_finite():
    p, v = torch.ones(1, 1, 1), torch.ones(1, 1, 4)
    out = weighted_output(v, v, p, torch.zeros(1), torch.ones(1))
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("threshold", (0.5, 0.8, 1.0))
def test_a_subject_is_raised_by_how_much_it_lacks(threshold):
    peaks = torch.tensor([[0.0, 0.2, threshold, 1.0]])
    lack = lacking(peaks, threshold)
    assert lack[0, 0] == 1 and lack[0, 2:].tolist() == [0, 0]
    assert lack[0, 1].item() == pytest.approx(1 - 0.2 / threshold)
    factors = boost_factors(lack, 3.0)
    assert factors[0, 0].item() == pytest.approx(math.exp(3)) and factors[0, 2:].tolist() == [1, 1]
    assert (factors[0, :-1] >= factors[0, 1:]).all()


def test_vsf_with_a_high_beta_is_plain_attention():
    q, k, v = random(1, 2, 4), random(1, 3, 4, seed=1), random(1, 3, 4, seed=2)
    negative = random(1, 2, 4, seed=3)
    far = flipped_attention(q, k, v, negative, negative, 1.8, 1e9)
    assert torch.allclose(far, (q @ k.transpose(-1, -2) / 2).softmax(-1) @ v)


@pytest.mark.parametrize("scale", (0.01, 1.0, 100.0))
def test_the_anchored_form_does_not_depend_on_the_size_of_the_origins_features(scale):
    x, y = random(5, 8), random(5, 8, seed=1)
    found = reinject_anchored(x, scale * y, 0.1)
    assert torch.allclose(found, reinject_anchored(x, y, 0.1), atol=1e-4)
    assert torch.allclose(reinject_anchored(scale * x, y, 0.1), scale * found, rtol=1e-3, atol=1e-3 * scale)


def test_a_small_change_of_attention_is_enlarged_by_normalized_guidance():
    z, change = random(3, 8), 1e-6 * random(3, 8, seed=1)
    before, after = (normalized_guidance(x, z, 5.0, 10.0, 0.5) for x in (z, z + change))
    assert torch.allclose(after - before, 3 * change, rtol=1e-4, atol=1e-9)


# Rare-to-Frequent


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], [0] * 8),
        ([0], [1] * 8),
        ([1], [0, 1, 0, 1, 0, 1, 1, 1]),
        ([0, 1], [1, 2, 1, 2, 1, 2, 2, 2]),
        ([1, 2], [0, 2, 0, 2, 0, 2, 1, 2]),
    ],
)
def test_stand_ins_take_turns_with_the_real_prompt(levels, expected):
    assert prompt_of_steps(8, levels) == expected


def test_four_steps_alternate_too():
    assert prompt_of_steps(4, [1], (0, 2)) == [0, 1, 1, 1]
    assert prompt_of_steps(6, [1], (0, 6), alternate=3) == [0, 1, 1, 0, 1, 1]


# Prompt-to-Prompt


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a cat", "a cat", [0, 1]),
        ("a cat", "a red cat", [0, -1, 1]),
        ("a red cat", "a cat", [0, 2]),
        ("a cat and a dog", "a cat and a bird", [0, 1, 2, 3, -1]),
        ("a a", "a", [0]),
        ("cat", "dog", [-1]),
        ("", "dog", [-1]),
        ("dog", "", []),
    ],
)
def test_alignment(source, target, expected):
    assert align(source.split(), target.split()) == expected


def test_refinement_takes_the_sources_column_where_there_is_one():
    source, target = random(2, 3), random(2, 3, seed=1)
    found = refined_maps(source, target, [2, -1, 0])
    assert torch.equal(found, torch.stack([source[:, 2], target[:, 1], source[:, 0]], -1))


@pytest.mark.parametrize("published", (False, True))
@pytest.mark.parametrize(
    ("source", "target", "changed"),
    [([1, 1, 1], [1, 1, 1], [1]), ([2, 1], [2, 1], [0, 1]), ([1, 3], [1, 3], [])],
)
def test_equal_lengths_keep_every_column(published, source, target, changed):
    assert torch.equal(replacement(source, target, changed, 8, published), torch.eye(8))


def test_a_shorter_word_shares_and_the_tail_moves_up():
    clean, published = (replacement([1, 2, 1], [1, 1, 1], [1], 8, rule) for rule in (False, True))
    assert clean.argmax(0).tolist()[:7] == [0, 1, 2, 4, 5, 6, 7] and clean[2:4, 2].tolist() == [1.0, 1.0]
    assert clean[:, 7].sum() == 0  # the source has no column left
    assert published.argmax(0).tolist()[:7] == [0, 1, 2, 3, 4, 5, 6]


def test_words_before_the_last_changed_one_keep_their_pieces_in_both_rules():
    source, target, changed = [1, 1, 2, 1, 1], [1, 2, 2, 2, 1], [1, 3]
    for published in (False, True):
        found = replacement(source, target, changed, 12, published)
        assert found[3, 4] == found[4, 5] == 1  # the unchanged word of two pieces
        assert found[5, 6] == found[5, 7] == 0.5


def test_the_mask_of_an_edit_is_where_either_image_has_the_word():
    here, there = torch.zeros(4, 4), torch.zeros(4, 4)
    here[0, 0], there[3, 3] = 5.0, 0.001
    mask = blend_mask(here, there, (8, 8))
    assert mask[:4, :4].all() and mask[4:, 4:].all() and not mask[4:, :4].any()
    assert not word_mask(torch.zeros(4, 4), (8, 8)).any()
    source, target = random(2, 8, 8), random(2, 8, 8, seed=1)
    found = blend(source, target, mask)
    assert torch.equal(found[:, mask], target[:, mask]) and torch.equal(found[:, ~mask], source[:, ~mask])
