"""Numbers and spatial words in prompts, and the losses that use them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gsn_ops.joint_prompts import join_subjects
from gsn_ops.maps import AttentionMaps, StepContext
from gsn_ops.objectives.base import reason_to_skip
from gsn_ops.objectives.count_kl import CountBlobs, cluster_centres
from gsn_ops.objectives.relation import Relation, centre, relation_hinge
from gsn_ops.optimise.methods import preset
from gsn_ops.optimise.published_methods import RELATIONS
from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens, Span, SubjectColumns, SubjectPhrase
from gsn_ops.subjects.matching import split_words
from gsn_ops.subjects.relations import OPPOSITE
from gsn_ops.subjects.resolve import choose_subjects
from gsn_ops.subjects.syntax import parse_subjects


def prompt(text: str, first: int = 1) -> PromptTokens:
    """One encoder with a token per word."""
    pieces = tuple(Piece(w.text, w.start, w.stop, n + first) for n, w in enumerate(split_words(text)))
    return PromptTokens((EncoderTokens("l", text, pieces, ((1, len(pieces) + 1, 77),)),), 77)


def relations(text: str, typed: str = "") -> list[tuple[str, str, str]]:
    subjects, _ = choose_subjects(parse_subjects(typed), prompt(text))
    return [(s.label, relation, other) for s in subjects for relation, other in s.relations]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat to the left of a dog", ("cat", "left of", "dog")),
        ("a cat on the left of a dog", ("cat", "left of", "dog")),
        ("a cat left of a dog", ("cat", "left of", "dog")),
        ("a cat on the left side of the big dog", ("cat", "left of", "big dog")),
        ("a red cat to the far right of a blue dog", ("red cat", "right of", "blue dog")),
        ("a cat to the upper left of a dog", ("cat", "left of", "dog")),
        ("the upper shelf above the lower shelf", ("upper shelf", "above", "lower shelf")),
        ("a cat standing to the right of a dog", ("cat", "right of", "dog")),
        ("a cat that is to the right of a dog", ("cat", "right of", "dog")),
        ("a photo of a lamp above a table", ("lamp", "above", "table")),
        ("a cat on top of a car", ("cat", "above", "car")),
        ("a bird sitting atop a dog", ("bird", "above", "dog")),
        ("a cat below a bird", ("cat", "below", "bird")),
        ("a cat sleeping under a table", ("cat", "below", "table")),
        ("a cat underneath a table", ("cat", "below", "table")),
        ("to the left of a dog is a cat", ("cat", "left of", "dog")),
        ("above the table, there is a lamp", ("lamp", "above", "table")),
        ("a cat on the left and a dog on the right", ("cat", "left of", "dog")),
        ("a cat on the right, a dog on the left", ("cat", "right of", "dog")),
        ("on the left a cat, on the right a dog", ("cat", "left of", "dog")),
        ("a bird at the top and a dog at the bottom of the image", ("bird", "above", "dog")),
    ],
)
def test_relations_of_a_prompt(text, expected):
    assert relations(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "a cat and a dog",
        "a cat next to a dog",
        "a cat not to the left of a dog",
        "a cat turns left, a dog turns right",
        "the left paw of a cat, a dog",
        "a cat left behind and a dog",
        "a cat. Above, a dog",
        "a bridge over a river",
    ],
)
def test_what_is_no_relation(text):
    assert relations(text) == []


def test_a_relation_to_what_is_no_subject_says_nothing_about_the_others():
    assert relations("a cat to the left of the tree and a dog", "cat, dog") == []
    assert relations("a cat to the left of the tree and a dog") == [("cat", "left of", "tree")]


def test_the_order_of_the_prompt_counts_not_that_of_the_field():
    assert relations("a cat to the left of a dog", "dog, cat") == [("cat", "left of", "dog")]


def test_chains_and_three_places():
    assert relations("a cat left of a dog left of a bird") == [
        ("cat", "left of", "dog"),
        ("dog", "left of", "bird"),
    ]
    text = "a cat on the left, a dog in the middle and a bird on the right"
    assert relations(text) == [("cat", "left of", "dog"), ("dog", "left of", "bird")]


def test_the_same_word_twice():
    assert relations("a dog above another dog", "dog, dog") == [("dog", "above", "dog#2")]


def test_weights_and_first_columns_do_no_harm():
    subjects, _ = choose_subjects((), prompt("a (cat:1.2) to the left of a (dog:0.8)"))
    assert [s.relations for s in subjects] == [(("left of", "dog"),), ()]
    moved, _ = choose_subjects((), prompt("a cat above a dog"), first_column=10)
    assert moved[0].relations == (("above", "dog"),) and moved[0].noun["l"] == (12,)


def test_unwanted_subjects_have_no_place():
    assert relations("a cat to the left of a dog", "cat, -dog") == []


def test_relations_survive_joined_prompts():
    subjects, _ = choose_subjects((), prompt("a cat above a dog"))
    joined, _ = join_subjects([subjects, subjects], [0, 77])
    assert joined[0].relations == (("above", "dog"),)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("three dogs and a cat", {"dogs": 3, "cat": 0}),
        ("two big red dogs", {"big red dogs": 2}),
        ("3 dogs, 1 cat", {"dogs": 3, "cat": 1}),
        ("a pair of dogs and a couple of cats", {"dogs": 2, "cats": 2}),
        ("a dog, page 3", {"dog": 0}),
        ("25 dogs", {"dogs": 0}),
        ("dogs", {"dogs": 0}),
    ],
)
def test_counts_of_a_prompt(text, counts):
    typed = ", ".join(counts)
    subjects, _ = choose_subjects(parse_subjects(typed), prompt(text))
    assert {s.label: s.count for s in subjects} == counts


# --- the losses


def maps_of(*grids: torch.Tensor) -> AttentionMaps:
    """Raw attention [B, h, w] of the columns 1, 2, ...; column 0 and the last are markers."""
    grids = torch.stack([torch.zeros_like(grids[0]), *grids, torch.zeros_like(grids[0])], -1)
    n = grids.shape[-1]
    return AttentionMaps({2: grids}, tuple(range(n)), (Span("l", 1, n - 1),))


def spot(row: int, column: int, size: int = 8) -> torch.Tensor:
    """A map with one high cell; elsewhere less than other words have."""
    grid = torch.full((1, size, size), 0.01)
    grid[0, row, column] = 0.3
    return grid


OTHERS = torch.full((1, 8, 8), 0.1)
"""The map of another word of the prompt, which has the attention of the rest of the image."""


CONTEXT = StepContext(0, 20, 5.0, 5.1)


def subject(label: str, column: int, **more) -> SubjectColumns:
    return SubjectColumns(SubjectPhrase(label, label), {"l": (column,)}, **more)


def test_centre_of_one_cell():
    m = torch.zeros(1, 4, 8)
    m[0, 1, 6] = 0.7
    assert centre(m, -1).item() == pytest.approx(6.5 / 8)
    assert centre(m, -2).item() == pytest.approx(1.5 / 4)


def test_hinge_by_hand():
    """Centres at 1.5 / 8 and 3.5 / 8: left of by 0.25, so 0 is kept; the opposite lacks 0.5."""
    a, b = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    a[0, 3, 1], b[0, 3, 3] = 1.0, 1.0
    assert relation_hinge(a, b, "left of").item() == pytest.approx(0.0)
    assert relation_hinge(a, b, "right of").item() == pytest.approx(0.5)
    assert relation_hinge(a, b, "above").item() == pytest.approx(0.25)
    for relation, other in OPPOSITE.items():
        assert relation_hinge(a, b, relation) == relation_hinge(b, a, other)


def test_relation_is_nought_where_all_stands_right():
    cat, dog = subject("cat", 1, relations=(("left of", "dog"),)), subject("dog", 2)
    right = Relation()(maps_of(spot(4, 1), spot(4, 6), OTHERS), [cat, dog], CONTEXT)
    wrong = Relation()(maps_of(spot(4, 6), spot(4, 1), OTHERS), [cat, dog], CONTEXT)
    assert right.item() == 0 and wrong.item() > 0.25


def test_relation_pulls_the_centres_apart():
    logits = torch.zeros(2, 8, 8, 4, requires_grad=True)
    a = logits.softmax(-1)
    maps = AttentionMaps({2: a}, (0, 1, 2, 3), (Span("l", 1, 3),))
    cat, dog = subject("cat", 1, relations=(("above", "dog"),)), subject("dog", 2)
    loss = Relation()(maps, [cat, dog], CONTEXT)
    assert loss.shape == (2,) and loss[0].item() == pytest.approx(0.25)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    up, down = -gradient[0, :4, :, 1].sum(), -gradient[0, 4:, :, 1].sum()
    assert up > 0 > down  # a step along -gradient strengthens the cat above and weakens it below


def test_without_relation_or_number_they_say_why():
    cat, dog = subject("cat", 1), subject("dog", 2)
    assert "left of, right of, above or below" in reason_to_skip(Relation(), [cat, dog], {})
    assert "three dogs" in reason_to_skip(CountBlobs(), [cat, dog], {})
    assert not reason_to_skip(Relation(), [replace(cat, relations=(("above", "dog"),)), dog], {})
    assert not reason_to_skip(CountBlobs(), [replace(cat, count=2)], {})


def test_the_method_is_latent_refine_where_the_prompt_has_no_relation():
    (recipe,) = preset(RELATIONS)
    cat, dog = subject("cat", 1), subject("dog", 2)
    maps = maps_of(spot(4, 1), spot(4, 6))
    assert not reason_to_skip(recipe.objective, [cat, dog], {})
    alone = recipe.objective.parts[0][1](maps, [cat, dog], CONTEXT)
    assert torch.equal(recipe.objective(maps, [cat, dog], CONTEXT), alone)


def test_clusters_by_hand():
    """Two cells far apart: each is a centre; the third centre is the next largest M d^2."""
    m = torch.zeros(2, 8, 8)
    m[0, 1, 1], m[0, 6, 6], m[0, 1, 6] = 1.0, 0.9, 0.8
    m[1, 2, 3], m[1, 2, 5] = 1.0, 1.0
    two = cluster_centres(m, 3)[0].round().tolist()
    assert sorted(two) == [[1, 1], [1, 6], [6, 6]]
    assert sorted(cluster_centres(m, 2)[1].tolist()) == [[2, 3], [2, 5]]


def test_count_is_lower_for_the_right_number():
    two = maps_of(torch.maximum(spot(2, 2), spot(5, 5)), OTHERS)
    one = maps_of(spot(2, 2), OTHERS)
    dogs = [subject("dogs", 1, count=2)]
    found, lacking = (CountBlobs()(m, dogs, replace(CONTEXT, memory={})) for m in (two, one))
    assert found.shape == (1,) and 0 < found < lacking


def test_centres_stay_within_a_step_and_are_found_anew_in_the_next():
    dogs, context = [subject("dogs", 1, count=2)], replace(CONTEXT, memory={})
    CountBlobs()(maps_of(torch.maximum(spot(2, 2), spot(5, 5)), OTHERS), dogs, context)
    (first,) = context.memory.values()
    CountBlobs()(maps_of(torch.maximum(spot(2, 5), spot(5, 2)), OTHERS), dogs, context)
    (same,) = context.memory.values()
    assert same is first
    CountBlobs()(maps_of(torch.maximum(spot(2, 5), spot(5, 2)), OTHERS), dogs, replace(context, index=1))
    (other,) = context.memory.values()
    assert not torch.equal(other, first)
