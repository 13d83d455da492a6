"""The shipped workflows: the browser's form and the queue's form of each are the same graph, and the server knows all of it."""
import io
import json
from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
NAMES = sorted(path.stem for path in (FOLDER / "api").glob("*.json"))
PROMISED = {"demo_plain_beside_refined", "sd15_semantic_nursing", "sd15_sampler_custom_advanced", "syngen", "attend_and_excite",
            "latent_refine_plus_syngen", "layout_boxes", "two_methods_stacked"}
LARGEST_PICTURE = 60_000  # bytes; every user of the pack downloads all of them
SHIPPED = pytest.mark.parametrize("name", NAMES)
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@pytest.fixture(scope="module")
def described(server) -> dict:
    """What the server says about every node type."""
    from tools.host_env.client import Client

    return Client(server.url).object_info()


def read(name: str) -> tuple[dict, dict]:
    """(browser form, queue form)."""
    return tuple(json.loads((FOLDER / folder / f"{name}.json").read_text("utf-8")) for folder in (".", "api"))


def nodes_of(graph: dict) -> list[dict]:
    """The nodes that run: a note is known to the browser alone."""
    return [node for node in graph["nodes"] if node["type"] != "Note"]


def inputs_of(info: dict) -> dict:
    """Input name -> (type, options), in the order of the widgets; a list of choices has the type COMBO."""
    every = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return {
        name: ("COMBO", {"options": spec[0], **(spec[1] if len(spec) > 1 else {})}) if isinstance(spec[0], list)
        else (spec[0], spec[1] if len(spec) > 1 else {})
        for name, spec in every.items()
    }


def widgets_of(info: dict) -> list[str]:
    """The slots of `widgets_values`; None is the one behind a seed that says what happens to it after a run."""
    slots: list[str | None] = []
    for name, (kind, options) in inputs_of(info).items():
        if kind in WIDGETS and not options.get("forceInput"):
            slots += [name, None] if options.get("control_after_generate") else [name]
    return slots


def converted(graph: dict, described: dict) -> dict:
    """The browser's form as the queue takes it, without titles."""
    links = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for node in nodes_of(graph):
        slots = widgets_of(described[node["type"]])
        values = dict(zip(slots, node.get("widgets_values") or [], strict=False))
        values.pop(None, None)
        linked = {slot["name"]: links[slot["link"]] for slot in node.get("inputs", []) if slot.get("link") is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": {**values, **linked}}
    return prompt


def test_every_workflow_has_both_forms_and_a_picture():
    assert {p.stem for p in FOLDER.glob("*.json")} == {p.stem for p in FOLDER.glob("*.jpg")} == set(NAMES) >= PROMISED
    assert all(p.stat().st_size < LARGEST_PICTURE for p in FOLDER.glob("*.jpg"))


@SHIPPED
def test_both_forms_are_the_same_graph(name, described):
    graph, prompt = read(name)
    assert converted(graph, described) == {i: {k: n[k] for k in ("class_type", "inputs")} for i, n in prompt.items()}


@SHIPPED
def test_titles_are_the_same_in_both_forms(name, described):
    graph, prompt = read(name)
    for node in nodes_of(graph):
        shown = node.get("title") or described[node["type"]]["display_name"] or node["type"]
        assert prompt[str(node["id"])]["_meta"]["title"] == shown


@SHIPPED
def test_every_widget_slot_is_filled(name, described):
    for node in nodes_of(read(name)[0]):
        slots, values = widgets_of(described[node["type"]]), node.get("widgets_values") or []
        assert len(values) == len(slots), node["type"]
        assert [v for s, v in zip(slots, values, strict=True) if s is None] == ["fixed"] * slots.count(None)


@SHIPPED
def test_the_server_knows_every_node_input_value_and_link(name, described):
    prompt = read(name)[1]
    for node in prompt.values():
        info, given = described[node["class_type"]], node["inputs"]
        known = inputs_of(info)
        assert set(info["input"].get("required", {})) <= set(given) <= set(known)
        for key, value in given.items():
            kind, options = known[key]
            if isinstance(value, list):
                source = described[prompt[value[0]]["class_type"]]
                assert source["output"][value[1]] == kind or kind == "*", (node["class_type"], key)
            elif kind == "COMBO":
                assert value in options["options"] or key == "ckpt_name", (key, value)
            elif kind in ("INT", "FLOAT"):
                assert options.get("min", value) <= value <= options.get("max", value), (key, value)
            else:
                assert isinstance(value, bool if kind == "BOOLEAN" else str), (key, value)


@SHIPPED
def test_only_core_nodes_beside_ours_and_each_says_where_it_comes_from(name, described):
    for node in nodes_of(read(name)[0]):
        module = described[node["type"]]["python_module"]
        pack = "semantic-nursing" if module.startswith("custom_nodes.semantic-nursing") else "comfy-core"
        assert pack == "semantic-nursing" or module == "nodes" or module.startswith("comfy_extras."), module
        assert node["properties"]["cnr_id"] == pack and node["properties"]["ver"]
        assert node["type"].startswith("GSN") == (pack == "semantic-nursing")


@SHIPPED
def test_a_workflow_of_the_demo_model_has_a_note_that_says_something(name):
    graph, prompt = read(name)
    notes = [node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "Note"]
    demo = any(node["class_type"] == "GSNDemoModel" for node in prompt.values())
    assert len(notes) == demo and all("docs/results.md" in text for text in notes)


@pytest.mark.parametrize(("name", "methods"), [
    ("demo_plain_beside_refined", ["Latent Refine (Grimal"]),
    ("syngen", ["SynGen (Rassin"]),
    ("attend_and_excite", ["Attention Guidance"]),
    ("latent_refine_plus_syngen", ["Latent Refine + SynGen, Ours+", "Latent Refine + SynGen, Ours+"]),
    ("layout_boxes", ["BoxDiff (Xie"]),
    ("two_methods_stacked", ["Latent Refine (Grimal", "Attention Guidance"]),
])
def test_it_runs_as_shipped_with_fewer_steps_and_every_method_acts(name, methods, client):
    prompt = read(name)[1]
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 8
        if node["class_type"] == "GSNRefineModel":
            node["inputs"]["shifts"] = 2
    entry = client.run(prompt)
    (report,) = (entry["outputs"][i]["text"][0] for i, node in prompt.items() if node["class_type"] == "GSNReport")
    acted = [line for line in report.splitlines() if "backward passes" in line]
    assert [line.startswith(method) for line, method in zip(acted, methods, strict=True)] == [True] * len(methods)
    assert "subject blue s" in report or "subject green heart" in report
    (saved,) = (client.images(entry, i) for i, node in prompt.items() if node["class_type"] == "SaveImage")
    plain, nursed = (half.convert("RGB").tobytes() for half in halves(saved[0]))
    assert plain != nursed


def halves(png: bytes):
    """The two pictures side by side in a saved one."""
    picture = Image.open(io.BytesIO(png))
    return picture.crop((0, 0, 256, 256)), picture.crop((picture.width - 256, 0, picture.width, 256))
