"""What the methods do as their authors' code does (E): which words a subject's map is made of."""

from pathlib import Path

import pytest

from gsn_ops.objectives.base import map_options
from gsn_ops.objectives.per_encoder import innermost
from gsn_ops.optimise.methods import METHODS, preset
from gsn_ops.optimise.overrides import override, shared_attention
from gsn_ops.optimise.refine import Refine

GROUPS_NOUNS = [name for name in METHODS if name.startswith(("Latent Refine", "Ours+", "SAGA"))]


@pytest.mark.parametrize("method", GROUPS_NOUNS)
def test_e2_the_noun_alone_is_grouped_and_the_phrase_can_be_chosen(method):
    recipes = [r for r in preset(method) if hasattr(innermost(r.objective), "maps")]
    assert recipes and all(map_options(innermost(r.objective)).pieces == "noun" for r in recipes)
    chosen = override(tuple(recipes), "pieces=phrase")
    assert any(map_options(innermost(r.objective)).pieces == "phrase" for r in chosen)


def test_e2_there_are_such_methods():
    assert len(GROUPS_NOUNS) >= 4


@pytest.mark.parametrize("method", GROUPS_NOUNS)
def test_d4_what_a_phrase_cannot_reach_is_known_before_the_run(method):
    recipes = preset(method)
    assert shared_attention(recipes) == ""
    refines = [r for r in override(recipes, "pieces=phrase") if isinstance(r, Refine)]
    said = shared_attention(tuple(refines))
    assert bool(said) == bool(refines) and (not refines or "choose pieces=noun" in said)


@pytest.mark.parametrize(
    "about",
    (
        "SAGA's reference trajectory",
        "Latent Refine, sum",
        "Attend-and-Excite's loop",
        "Divide & Bind, attributes",
        "T5's first token",
        "Precision",
        "ddim_uniform",
    ),
)
def test_e5_where_a_method_differs_from_its_authors_code_is_on_the_page(about):
    page = (Path(__file__).resolve().parents[2] / "docs" / "methods.md").read_text("utf-8")
    assert about in page
