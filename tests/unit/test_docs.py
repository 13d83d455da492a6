"""The pages for readers: they name existing files, every method and every setting, and no number twice."""

import re

import pytest

from gsn_ops.optimise.auto import AUTO
from gsn_ops.optimise.methods import METHODS, preset
from gsn_ops.optimise.overrides import keys_of

from ..support.import_graph import CLONE

PAGES = sorted([*CLONE.glob("*.md"), *CLONE.glob("docs/*.md"), *CLONE.glob("web/docs/*.md")])
FOLDERS = ("nodes", "gsn_ops", "tools", "tests", "docs", "web", "locales", "models", "example_workflows")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*|(?:\w+/)*\w+\.(?:md|py))`")
TO_BE_WRITTEN = {"my_loss", "x"}
"""Files that the reader of a page is asked to write."""
HISTORY = "CHANGELOG.md"

of_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CLONE).as_posix())


def named_paths(text: str) -> list[str]:
    """Files and folders of the clone that a page names in code marks."""
    return [
        path.rstrip("/")
        for path in PATH.findall(text)
        if path.split("/")[-1].split(".")[0] not in TO_BE_WRITTEN
    ]


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.split(" ")[0]
    return re.split(rf"^#{{1,{len(level)}}} ", text.split(f"{heading}\n", 1)[1], flags=re.MULTILINE)[0]


@of_pages
def test_a_page_names_existing_files(page):
    for path in named_paths(page.read_text("utf-8")):
        near = (CLONE / path, page.parent / path)
        assert any(found.exists() for found in near), f"{page.name} names {path}, which does not exist"


def test_paths_are_found_in_a_text():
    text = "`gsn_ops/maps.py` and `nodes/`, not `x.y(z)`; see `settings.md`, `gsn_ops/objectives/my_loss.py`"
    assert named_paths(text) == ["gsn_ops/maps.py", "nodes", "settings.md"]


@of_pages
def test_a_page_has_one_title(page):
    headings = re.findall(r"^(#+) (.*)$", page.read_text("utf-8"), re.MULTILINE)
    titles = [text for marks, text in headings if marks == "#" and not text.startswith("prepares")]
    assert len(titles) == 1, titles
    below = [text for marks, text in headings if marks == "##"]
    assert len(below) == len(set(below)), "a heading stands twice"


def test_the_readme_lists_every_method_of_the_drop_down_with_its_paper():
    rows = re.findall(
        r"^\| (.*?) \| (.*?) \| (.*?) \|$",
        section((CLONE / "README.md").read_text("utf-8"), "## Methods"),
        re.MULTILINE,
    )
    papers = {method: paper for method, _aim, paper in rows if method in METHODS}
    assert sorted(papers) == sorted(METHODS)
    assert all(papers.values())


def test_the_readme_lists_every_override_key():
    rows = re.findall(
        r"^\| (`.*?`) \|",
        section((CLONE / "README.md").read_text("utf-8"), "### Override keys"),
        re.MULTILINE,
    )
    listed = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    known = [AUTO, *METHODS]
    assert listed == {key for method in known for recipe in preset(method) for key in keys_of(recipe)}


def test_every_page_of_docs_is_in_the_readme():
    readme = (CLONE / "README.md").read_text("utf-8")
    for page in (CLONE / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme, page.name


def test_no_measured_number_stands_on_two_pages():
    """A share with its interval, such as "62.7 % (57.1 to 67.9)", is measured once and told on one page.

    Tables that a study printed are left out: there, equal numbers are equal counts of other images.
    """
    places: dict[str, set[str]] = {}
    for page in PAGES:
        written = re.sub(
            r"<!-- (study [^>]*?) -->.*?<!-- \1: end -->", "", page.read_text("utf-8"), flags=re.S
        )
        for number in re.findall(r"\d[\d.]* %\**\s+\([\d.]+ to [\d.]+\)", written):
            places.setdefault(re.sub(r"[*\s]+", " ", number), set()).add(page.name)
    assert {number: pages for number, pages in places.items() if len(pages) > 1} == {}
    assert len(places) > 20


GIVEN_UP = (
    "choices.md", "worth.md", "gsn.optimise.", "gsn.objectives.", "gsn.host.", "now wrong", "looks at",
    "the host", "a person", "people see", "place of a picture",
)  # fmt: skip
"""Pages and phrases of the time before the names were those of the field; names: `test_repository.py`."""


@pytest.mark.parametrize("phrase", GIVEN_UP)
def test_no_page_has_a_phrase_that_was_given_up(phrase):
    pattern = re.compile(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])")
    found = [page.name for page in PAGES if page.name != HISTORY and pattern.search(page.read_text("utf-8"))]
    assert found == []
