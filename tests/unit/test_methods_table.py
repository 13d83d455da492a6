"""docs/methods.md is what its command makes of the methods, and it says what is so."""

import re

import pytest

from gsn_ops.optimise.auto import AUTO
from gsn_ops.optimise.gradient_free import GRADIENT_FREE
from gsn_ops.optimise.methods import METHODS, preset
from tools import method_choice, method_facts, methods_table
from tools.host_env.paths import CLONE
from tools.papers import PAPERS, paper_of

PAGE = (CLONE / "docs" / "methods.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells
    for cells in (line[2:-2].split(" | ") for line in PAGE.splitlines() if line.startswith("| "))
}


def test_the_committed_page_is_not_stale():
    made = methods_table.document()
    assert PAGE.splitlines() == made.splitlines(), (
        "stale: run `python3 tools/dev.py methods --write docs/methods.md`"
    )


def test_every_method_of_the_drop_down_has_a_row():
    assert [name for name in ROWS if name not in ("method", "node", "---")] == [
        *METHODS,
        *GRADIENT_FREE,
        *methods_table.NODES,
    ]


@pytest.mark.parametrize("method", METHODS)
def test_a_row_names_files_of_this_clone(method):
    named = re.findall(r"`([^`]+\.py)`", ROWS[method][-1])
    assert len(named) >= 2
    for file in named:
        assert (CLONE / file).is_file(), file


def test_every_paper_is_one_of_a_method():
    assert {paper_of(method) for method in (*METHODS, *GRADIENT_FREE, *methods_table.NODES)} == set(
        PAPERS.values()
    )


def test_a_method_of_an_unknown_paper_is_an_error_that_names_it():
    with pytest.raises(KeyError, match="Other .* 2031.*PAPERS"):
        paper_of("Other (Nobody et al. 2031)")


@pytest.mark.parametrize(
    ("method", "numbers"),
    [
        ("Latent Refine (Grimal et al. 2025)", "5, 6, 7"),
        ("Attend-and-Excite (Chefer et al. 2023)", "2"),  # the same file names an equation of another paper
        ("A-STAR (Agarwal et al. 2023)", "2, 3"),
        ("Divide & Bind (Li et al. 2023)", "4, 6"),
        ("SAGA (2026)", ""),  # its objective is of an earlier paper of the same authors
    ],
)
def test_equations_are_those_of_the_methods_own_paper(method, numbers):
    found = methods_table.equations(paper_of(method), preset(method))
    wanted, got = (set(text.split(", ")) - {""} for text in (numbers, found))
    assert wanted <= got if wanted else not got


@pytest.mark.parametrize(
    ("text", "numbers"), [("5", [5]), ("2 and 3", [2, 3]), ("5, 6 and 8", [5, 6, 8]), ("5 to 7", [5, 6, 7])]
)
def test_numbers_of_equations_in_words(text, numbers):
    assert methods_table.numbers_in(text) == numbers


@pytest.mark.parametrize(
    ("method", "steps", "passes"),
    [
        ("Latent Refine (Grimal et al. 2025)", "step 8, up to 50 updates", 50),
        ("SynGen (Rassin et al. 2023)", "steps 0-24, 1 update each", 25),
        ("Attend-and-Excite (Chefer et al. 2023)", "steps 0-24, 1 update each, up to 21 at 0, 10, 20", 85),
        ("Layout Guidance (Chen et al. 2024)", "steps 0-9, up to 5 updates each", 50),
        ("SAGA (2026)", "step 10, up to 50 updates", 500),
        ("FOCUS (2025)", "steps 0-49, 1 update each", 50),
    ],
)
def test_steps_and_passes_are_the_published_ones(method, steps, passes):
    (recipe,) = preset(method)
    assert method_facts.steps_in_words(method_facts.updates_of(recipe)[0]) == steps
    assert method_facts.passes(recipe) == passes


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("Latent Refine (Grimal et al. 2025)", ""),
        ("SynGen (Rassin et al. 2023)", "an attribute"),
        ("CONFORM (Meral et al. 2024)", "two subjects"),
        ("InitNO (Guo et al. 2024)", "an empty latent, self-attention maps"),
        ("BoxDiff (Xie et al. 2023)", "a Subject Region"),
        ("Point Layout (USTC study 2024)", "a Subject Region (its middle)"),
        ("Neglect (USTC study 2024)", "an unwanted subject"),
        ("FOCUS (2025)", "a flow model, an attribute or two subjects"),
    ],
)
def test_needs_are_found_by_asking(method, wanted):
    assert method_facts.needs(preset(method)) == wanted


def test_m9_the_help_page_says_which_method_is_for_what_and_is_current():
    assert method_choice.section() in method_choice.PAGE.read_text("utf-8"), (
        "stale: run `python3 tools/dev.py run -m tools.method_choice --write`"
    )
    named = [method for methods in method_choice.GROUPS.values() for method in methods]
    assert sorted(named) == sorted([AUTO, *METHODS, *GRADIENT_FREE])
