"""The committed example workflows stand where tools.workflows puts them, and say what its notes say."""

import json
import re

import pytest

from tools.host_env.paths import CLONE
from tools.workflows import first, notes
from tools.workflows.arrange import VIEW, Node, arrange

FOLDER = CLONE / "example_workflows"
NAMES = sorted(path.stem for path in (FOLDER / "api").glob("*.json"))
SMALL = (100, 50)


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_workflow_is_as_arranged(name):
    graph = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    (note,) = (node for node in graph["nodes"] if node["type"] == "MarkdownNote")
    others = {node["id"]: node for node in graph["nodes"] if node is not note}
    texts = notes.read()[name]
    text = texts["note"]
    nodes = [Node(node["id"], node["type"], tuple(node["size"])) for node in others.values()]
    links = [(link[1], link[3]) for link in graph["links"]]
    arranged = (
        first.arrangement() if name == first.NAME else arrange(nodes, links, text, texts.get("columns"))
    )
    assert note["widgets_values"] == [text]
    assert {i: tuple(node["pos"]) for i, node in others.items()} == arranged.positions
    placed = arranged.note
    assert (note["pos"], note["size"]) == ([placed.left, placed.top], [placed.width, placed.height])
    frames = [(f.title, [f.left, f.top, f.width, f.height]) for f in arranged.frames]
    assert [(group["title"], group["bounding"]) for group in graph["groups"]] == frames


def test_notes_are_of_the_committed_workflows():
    assert sorted(notes.read()) == NAMES


def column_starts(links: list[tuple[int, int]], **types: str) -> list[float]:
    """The left edges of nodes 1, 2, ... of these types."""
    nodes = [Node(int(name[1:]), node_type, SMALL) for name, node_type in types.items()]
    positions = arrange(nodes, links, "note").positions
    return [positions[node.id][0] for node in nodes]


def test_a_node_stands_next_to_what_waits_for_it_and_loaders_come_first():
    chain = [(1, 2), (2, 3), (3, 4), (5, 3)]
    found = column_starts(chain, n1="LoraLoader", n2="Any", n3="SamplerCustom", n4="Any", n5="CLIPTextEncode")
    first, second, third, fourth, late = found
    assert first < second < third < fourth and late == second
    assert column_starts([(1, 3), (2, 3)], n1="CheckpointLoader", n2="Any", n3="Any")[:2] == [0, 0]


def test_columns_leave_room_for_the_widest_node_and_rows_for_the_tallest():
    nodes = [Node(1, "Any", (500, 70)), Node(2, "Any", (200, 40)), Node(3, "SamplerCustom", SMALL)]
    arranged = arrange(nodes, [(1, 3), (2, 3)], "one\ntwo")
    assert arranged.positions == {1: (0, 0), 2: (0, 106), 3: (540, 0)}
    assert (arranged.note.top, arranged.note.height) == (182, 90)
    assert [frame.title for frame in arranged.frames] == ["Prompt and settings", "Sampling"]


def test_a_chain_of_regions_is_one_column():
    found = column_starts(
        [(1, 2), (2, 3), (3, 4)], n1="GSNTextEncode", n2="GSNRegion", n3="GSNRegion", n4="Any"
    )
    assert found[0] == found[1] == found[2] < found[3]


def test_columns_by_hand_have_their_titles_and_the_note_where_most_room_is():
    nodes = [Node(1, "Any", (100, 900)), Node(2, "Any", SMALL), Node(3, "Any", (100, 900))]
    arranged = arrange(nodes, [(1, 2), (2, 3)], "note", {"First": [1], "Second": [2], "Third": [3]})
    assert [frame.title for frame in arranged.frames] == ["First", "Second", "Third"]
    assert arranged.note.left == arranged.positions[2][0] and arranged.note.top == 86


def test_nothing_to_arrange_is_an_error():
    with pytest.raises(ValueError, match="no nodes"):
        arrange([], [], "")


def view(name: str) -> tuple[float, float]:
    """Width and height of all frames of a committed workflow."""
    graph = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    boxes = [group["bounding"] for group in graph["groups"]]
    width = max(x + w for x, _, w, _ in boxes) - min(x for x, _, _, _ in boxes)
    return width, max(y + h for _, y, _, h in boxes) - min(y for _, y, _, _ in boxes)


@pytest.mark.parametrize("name", NAMES)
def test_m6_the_first_view_is_large_enough_to_read(name):
    """In a window of 1600 x 1000; below 0.6 the front end draws no text."""
    width, height = view(name)
    assert min(VIEW[0] / width, VIEW[1] / height) >= (0.8 if name == first.NAME else 0.6)
    graph = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert "ds" not in graph.get("extra", {})  # a saved view would win over the one that fits


def test_m6_the_first_workflow_fits_1400_by_800_at_the_scale_of_text():
    width, height = view(first.NAME)
    assert 0.8 * width <= 1400 and 0.8 * height <= 800


@pytest.mark.parametrize("name", NAMES)
def test_m3_every_loader_says_where_its_files_are_and_the_note_links_to_them(name):
    graph = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    note = next(node for node in graph["nodes"] if node["type"] == "MarkdownNote")["widgets_values"][0]
    for node in graph["nodes"]:
        files = [v for v in node.get("widgets_values") or [] if str(v).endswith(".safetensors")]
        told = node["properties"].get("models", [])
        assert [model["name"] for model in told] == files, node["type"]
        for model in told:
            assert model["url"].startswith("https://") and model["url"].endswith(model["name"])
            assert f"[{model['name']}]({model['url']}) in {model['directory']}" in note


def test_m5_the_names_of_the_list_are_words_in_the_order_in_which_to_read_them():
    assert NAMES[0] == first.NAME and NAMES == sorted(NAMES)
    assert all(re.fullmatch(r"\d\d [A-Z][\w .,-]+", name) for name in NAMES)
    assert len({name[:2] for name in NAMES}) == len(NAMES)
