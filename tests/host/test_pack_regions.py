"""Regional prompts that another node puts into the model: their words are named (F9)."""

import pytest

from ..support import foreign_patches

TEXTS = ("a yellow star", "a purple ring and a star")


def with_regions(tiny, shares=(0.4, 0.3, 0.3)):
    rows = [tiny.encode(text)[0][0] for text in TEXTS]
    return foreign_patches.regions(tiny.model, rows, list(shares))


def test_f9_the_texts_of_regions_are_named_with_the_cure(tiny):
    lines = []
    patched, book = tiny.attach(with_regions(tiny), step=1, on_status=lines.append)
    recipe = book.find(tiny.sample(patched, positive=tiny.encode("a red circle"))).recipes[0]
    assert recipe.updates == (2,)
    for said in (recipe.status, lines[-1]):
        assert "regions of another node are not nursed: 'a yellow star', 'a purple ring and a star'" in said
        assert "Conditioning (Combine)" in said


def test_f9_a_region_of_a_text_that_is_not_known_is_said(tiny):
    rows = 0.5 * tiny.encode("a yellow star")[0][0].roll(1, 1)
    model = foreign_patches.regions(tiny.model, [rows], [0.5, 0.5])
    patched, book = tiny.attach(model, step=1)
    assert "are not nursed: 'another text'" in book.find(tiny.sample(patched)).recipes[0].status


def test_f9_without_regions_nothing_is_said(tiny):
    patched, book = tiny.attach(step=1)
    assert "regions" not in book.find(tiny.sample(patched)).recipes[0].status


@pytest.fixture
def node(tiny):
    """Encodes as the node with this id, in this queued prompt."""
    from comfy_execution.utils import CurrentNodeContext

    def encode(text, node="7", queued="first"):
        with CurrentNodeContext(queued, node, 0):
            return tiny.host.CLIPTextEncode().encode(tiny.clip, text)[0]

    return encode


def refused(tiny, positive, subjects):
    syntax = tiny.module("gsn_ops.subjects.syntax")
    patched, _ = tiny.attach(step=1, subjects=syntax.parse_subjects(subjects))
    with pytest.raises(ValueError) as error:
        tiny.sample(patched, positive=positive)
    return str(error.value)


def test_f9_a_subject_that_only_a_region_has_is_refused_with_its_prompt(tiny, node):
    positive = node("a red circle", node="6")
    node("a gold cross")
    said = refused(tiny, positive, "cross")
    assert "is not in the prompt" in said and "in another prompt of this workflow, 'a gold cross'" in said
    assert "ConditioningCombine" in said


def test_f9_prompts_of_an_earlier_queue_are_not_named(tiny, node):
    node("a gold heart")
    node("a gold moon", queued="second")
    positive = node("a red circle", node="6", queued="second")
    assert "another prompt" not in refused(tiny, positive, "heart")
    assert "'a gold moon'" in refused(tiny, positive, "moon")
