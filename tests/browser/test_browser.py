"""The pack as a person meets it: in a real browser, in both renderers and four languages.

The tests share one page and go from the canvas renderer to Nodes 2.0: every load of the page costs seconds.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
LOCALES = FOLDER.parent / "locales"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
FIRST, MAPS = NAMES[:2]
OF_THE_HOST = re.compile(  # console errors that are there without this pack
    "Failed to load resource.*/(user|userdata|comfy.templates|api/userdata|view)|Content Security Policy|"
    "ComfyApp graph accessed before|huggingface.co|violates the document|docs/GSN[A-Za-z]+/en.md"
)
FEW = {"steps": 6}


def covering(names):
    """So many of the templates, from the first on, that every node of this pack is in one of them."""
    chosen, seen = [], set()
    for name in names:
        kinds = {kind for kind, _ in api_form(name).values() if kind.startswith("GSN")}
        if kinds - seen:
            chosen.append(name)
            seen |= kinds
    return chosen


SLACK = 2.0
"""Pixels by which nodes may overlap: the front end rounds."""


def api_form(name):
    """Node id -> (type, inputs) of a shipped workflow."""
    nodes = json.loads((FOLDER / "api" / f"{name}.json").read_text("utf-8"))
    return graph_of(nodes)


def graph_of(prompt):
    return {i: (node["class_type"], node["inputs"]) for i, node in prompt.items()}


SOME = covering(NAMES)


def overlaps(nodes):
    """Pairs of titles of nodes that cover each other, and by how much."""
    found = []
    for a, b in itertools.combinations(nodes, 2):
        wide = min(a["right"], b["right"]) - max(a["left"], b["left"])
        high = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"])
        if min(wide, high) > SLACK:
            found.append((a["title"], b["title"], round(wide), round(high)))
    return found


def outside(nodes, view):
    """Titles of nodes that are not wholly in view."""
    return [
        node["title"]
        for node in nodes
        if node["left"] < view["left"] - 1
        or node["right"] > view["right"] + 1
        or node["top"] < view["top"] - 1
        or node["bottom"] > view["bottom"] + 1
    ]


def quick(front, name=MAPS, **nursing):
    """Open a template and make it quick: few steps, few update steps."""
    front.open_template(name)
    for i, (kind, inputs) in graph_of(front.prompt()).items():
        if "steps" in inputs:
            front.call("set", i, FEW)
        if kind == "GSNNursing":
            front.call("set", i, {"overrides": "shifts=3", **nursing})


def node_of(front, kind):
    return next(node for node in front.call("nodes") if node["type"] == kind)


def title_of(language, kind):
    """The name of a node in a language, as ComfyUI shows it."""
    return json.loads((LOCALES / language / "nodeDefs.json").read_text("utf-8"))[kind]["display_name"]


# --- the canvas renderer, English --------------------------------------------------------------------


def test_m6_a_template_drops_as_what_is_queued_in_a_first_view_that_can_be_read(front):
    wrong = {}
    for name in SOME:
        front.open_template(name)
        nodes, view = front.call("nodes"), front.call("view")
        least = 0.8 if name == FIRST else 0.595
        faults = overlaps(nodes) + outside(nodes, view)
        faults += [f"scale {view['scale']:.2f}"] if view["scale"] < least else []
        faults += ["another prompt than api/"] if graph_of(front.prompt()) != api_form(name) else []
        if faults:
            wrong[name] = faults
    assert not wrong


def test_m2_the_line_is_on_the_node_and_pictures_are_on_the_results(front):
    quick(front)
    found = front.run()
    nursing = node_of(front, "GSNNursing")["id"]
    assert found["end"] == "execution_success" and list(found["lines"]) == [nursing]
    assert found["lines"] == front.lines()
    first, *_ = [text for _, text in found["every"]]
    assert "green star" in first and "step" in first  # said before the run
    shown = {n["type"]: n["pictures"] for n in front.call("nodes") if n["pictures"]}
    assert shown == {"SaveImage": 1, "GSNReport": 1, "GSNAttentionMaps": 1}
    assert not overlaps(front.call("nodes"))


def test_a_second_run_is_cached_and_the_line_stays(front):
    before = front.lines()
    found = front.run()
    assert found["end"] == "execution_success" and len(found["cached"]) >= 14
    assert before and front.lines() == before


def test_m1_the_line_comes_back_with_its_tab(front):
    before = front.lines()
    front.to_another_tab_and_back()
    front.wait_for_lines(before)
    assert before


def test_a_picture_of_a_run_is_its_workflow(front, client):
    wanted = graph_of(front.prompt())
    saved = client.images(client.last(), node_of(front, "SaveImage")["id"])
    front.open_template(FIRST)
    front.drop("run.png", saved[0])
    assert graph_of(front.prompt()) == wanted


def test_m4_a_skip_is_a_line_that_begins_with_the_cure(front):
    quick(front, at_percent=1.0)
    found = front.run()
    assert found["end"] == "execution_success"
    (line,) = found["lines"].values()
    assert line.startswith("Skipped: ") and front.lines() == found["lines"]


def test_wrong_settings_have_cause_and_cure_in_the_error_panel(front):
    quick(front, overrides="shifs=3")
    found = front.run()
    assert found["end"] == "execution_error"
    assert "shifs" in found["error"]["exception_message"]
    assert "shifts" in front.error_panel()


def test_cancel_during_the_updates_and_queue_again(front):
    quick(front, overrides="shifts=2000")
    assert front.cancelled_after_first_line()["end"] == "execution_interrupted"
    quick(front)
    assert front.run()["end"] == "execution_success"


def test_m2_inside_a_subgraph_the_line_is_on_the_node_inside(front):
    quick(front)
    front.call("toSubgraph", ["GSNNursing"])
    found = front.run()
    assert found["end"] == "execution_success"
    (place,) = found["lines"]
    assert ":" in place and not front.lines()  # on none of the nodes outside
    front.open_subgraph()
    front.wait_for_lines({place.split(":")[1]: found["lines"][place]})  # also after the run


@pytest.mark.parametrize(
    "words", ["missing object", "gsn", "heat map", "syngen", "boxdiff", "\u7f3a\u5931", "objet manquant"]
)
def test_m5_the_search_finds_the_node(front, words):
    kind = {"heat map": "GSNAttentionMaps"}.get(words, "GSNNursing")
    assert title_of("en", kind) in front.search(words)


def test_m5_templates_are_listed_with_their_pictures(front):
    cards = front.template_cards(4)  # as many as are loaded before one scrolls
    assert len(cards) == 4 and {title for title, _ in cards} <= set(NAMES)
    assert all(loaded for _, loaded in cards)


def test_m9_help_of_every_node_opens_in_the_panel(front):
    seen, wrong = set(), {}
    for name in SOME:
        kinds = {kind for kind, _ in api_form(name).values() if kind.startswith("GSN")} - seen
        front.open_template(name)
        for kind in sorted(kinds):
            text = front.help_of(kind)
            if not text.startswith(title_of("en", kind)) or "Inputs" not in text:
                wrong[kind] = text[:100]
        seen |= kinds
    assert len(seen) > 20 and not wrong


# --- Nodes 2.0, and other languages --------------------------------------------------------------------


def test_m4_in_nodes_2_no_node_covers_another_before_or_after_a_run(front):
    front.open("zh", nodes2=True)
    wrong = {}
    for name in SOME:
        front.open_template(name)
        found = overlaps(front.settled_nodes())
        if found:
            wrong[name] = found
    quick(front)
    front.run()
    after = overlaps(front.settled_nodes())
    assert not wrong and not after


def test_m1_in_nodes_2_the_line_comes_back_after_a_reload_and_with_its_tab(front):
    before = front.lines()
    front.open("zh", nodes2=True)
    quick(front)
    assert not front.lines()
    found = front.run()
    assert len(found["cached"]) >= 14 and found["lines"] == before == front.lines()
    front.to_another_tab_and_back()
    front.wait_for_lines(before)


def test_m12_lines_on_nodes_and_titles_are_chinese(front):
    quick(front, MAPS, overrides="shifts=2")
    found = front.run()
    (line,) = found["lines"].values()
    assert re.search("[\u4e00-\u9fff]", line)
    titles = {node["title"] for node in front.call("nodes")}
    assert {title_of("zh", kind) for kind in ("GSNNursing", "GSNReport", "GSNAttentionMaps")} <= titles


@pytest.mark.parametrize("language", ["ja", "fr"])
def test_m12_titles_help_and_lines_in_other_languages(front, language):
    front.open(language)
    quick(front, MAPS, overrides=f"shifts={3 + len(language)}", at_percent=0.3 if language == "ja" else 0.35)
    titles = {node["title"] for node in front.call("nodes")}
    assert {title_of(language, kind) for kind in ("GSNNursing", "GSNReport", "GSNAttentionMaps")} <= titles
    english = (FOLDER.parent / "web" / "docs" / "GSNNursing.md").read_text("utf-8")
    headings = re.findall(r"^## (.+)$", english, re.M)
    text = front.help_of("GSNNursing")
    assert len(text) > 500 and headings[0] not in text


def test_no_error_on_the_console_is_ours(front):
    assert [line for line in front.console if not OF_THE_HOST.search(line)] == []
