"""The shipped workflows: the browser's form and the queue's form of each are the same graph, and the server
knows all of it.
"""

import io
import itertools
import json
import re
from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
HELP, README = FOLDER.parent / "web" / "docs", FOLDER.parent / "README.md"
NAMES = sorted(path.stem for path in (FOLDER / "api").glob("*.json"))
PROMISED = {
    "01 Start here - a lost star comes back",
    "02 Plain beside refined - report and maps",
    "20 Stable Diffusion 1.5",
    "21 Stable Diffusion 1.5 - SamplerCustomAdvanced",
    "03 Seed Picker - the best of four starts",
    "04 Subject Judge - a new seed where one is missing",
    "07 SynGen - each colour on its shape",
    "09 Attend-and-Excite from its parts",
    "08 Refine, then bind colours",
    "11 Boxes - each thing in its place",
    "12 Boxes - drawn in ComfyUI",
    "13 Boxes - written by an LLM",
    "30 Boxes - each thing alone first",
    "10 Two methods on one model",
    "22 SDXL",
    "23 Stable Diffusion 3.5 medium",
    "24 Flux.1 dev",
    "25 Qwen-Image",
    "26 Z-Image Turbo",
    "19 Step curve - the workflow of a study",
    "29 Subject Judge - RT-DETR and SAM 3",
}
# Inputs that name a person's file, and the folder it is in; the test machine has none of them.
FILES = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "vae_name": "vae",
    "gligen_name": "gligen",
    "lora_name": "loras",
    **dict.fromkeys(("clip_name", "clip_name1", "clip_name2", "clip_name3"), "text_encoders"),
}
FOLDERS = ("folder",)  # inputs that name a person's folder
LARGEST_PICTURE = 60_000  # bytes; every user of the pack downloads all of them
SHIPPED = pytest.mark.parametrize("name", NAMES)
ANYTHING = ("*", "COMFY_MATCHTYPE_V3")  # types of If/Else
TITLE = 30  # a node's title stands above its position
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "BOUNDING_BOXES")
LIST = "__value__"
"""The queue's form wraps a widget's list in a dictionary with this key; a bare list is a link."""


@pytest.fixture(scope="module")
def described(server) -> dict:
    """What the server says about every node type."""
    from tools.host_env.client import Client

    return Client(server.url).object_info()


def read(name: str) -> tuple[dict, dict]:
    """(browser form, queue form)."""
    return tuple(json.loads((FOLDER / folder / f"{name}.json").read_text("utf-8")) for folder in (".", "api"))


def files_of(prompt: dict) -> list[str]:
    """The person's files in a prompt, with their folders."""
    return [
        f"{FILES[key]}/{value}"
        for node in prompt.values()
        for key, value in node["inputs"].items()
        if key in FILES
    ]


def nodes_of(graph: dict) -> list[dict]:
    """The nodes that run: a note is known to the browser alone."""
    return [node for node in graph["nodes"] if node["type"] != "MarkdownNote"]


DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
"""A choice that brings inputs of its own, `choice.input`; the templates leave it at its first option."""
GROWING = "COMFY_AUTOGROW_V3"
"""As many inputs of one type as are connected, `name.prefix0` and so on."""


def inputs_of(info: dict) -> dict:
    """Input name -> (type, options), in the order of the widgets; a list of choices has the type COMBO."""
    every: dict = {}
    for name, (kind, *rest) in {
        **info["input"].get("required", {}),
        **info["input"].get("optional", {}),
    }.items():
        options = rest[0] if rest else {}
        if kind == GROWING:
            template = options["template"]
            (one,) = inputs_of(template).values()
            every |= {f"{name}.{template['prefix']}{n}": one for n in range(template["max"])}
        elif kind == DYNAMIC:
            every[name] = ("COMBO", {"options": [one["key"] for one in options["options"]]})
            first = {"input": options["options"][0]["inputs"]}
            every |= {f"{name}.{inner}": spec for inner, spec in inputs_of(first).items()}
        else:
            every[name] = (
                ("COMBO", {"options": kind, **options}) if isinstance(kind, list) else (kind, options)
            )
    return every


def widgets_of(info: dict) -> list[str]:
    """The slots of `widgets_values`; None is the one behind a seed that says what happens to it after a
    run.
    """
    slots: list[str | None] = []
    for name, (kind, options) in inputs_of(info).items():
        if kind in WIDGETS and not options.get("forceInput"):
            twice = options.get("control_after_generate") or name in ("seed", "noise_seed")  # by its name
            slots += [name, None] if twice else [name]
    return slots


def converted(graph: dict, described: dict) -> dict:
    """The browser's form as the queue takes it, without titles."""
    links = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for node in nodes_of(graph):
        slots = widgets_of(described[node["type"]])
        values = dict(zip(slots, node.get("widgets_values") or [], strict=False))
        values.pop(None, None)
        values = {key: {LIST: value} if isinstance(value, list) else value for key, value in values.items()}
        linked = {
            slot["name"]: links[slot["link"]]
            for slot in node.get("inputs", [])
            if slot.get("link") is not None
        }
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": {**values, **linked}}
    return prompt


def test_every_workflow_has_both_forms_and_a_picture():
    assert (
        {p.stem for p in FOLDER.glob("*.json")}
        == {p.stem for p in FOLDER.glob("*.jpg")}
        == set(NAMES)
        >= PROMISED
    )
    assert all(p.stat().st_size < LARGEST_PICTURE for p in FOLDER.glob("*.jpg"))


@SHIPPED
def test_both_forms_are_the_same_graph(name, described):
    graph, prompt = read(name)
    assert converted(graph, described) == {
        i: {k: n[k] for k in ("class_type", "inputs")} for i, n in prompt.items()
    }


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
        required = info["input"].get("required", {})
        needed = {key for key, (kind, *_) in required.items() if kind != GROWING}
        assert needed <= set(given) <= set(known)
        for key, value in given.items():
            kind, options = known[key]
            if isinstance(value, list):
                source = described[prompt[value[0]]["class_type"]]
                found, kinds = source["output"][value[1]], kind.split(",")
                assert found in kinds or {found, kind} & set(ANYTHING), (node["class_type"], key)
            elif kind == "BOUNDING_BOXES":
                assert all({"x", "y", "width", "height"} <= set(box) for box in value[LIST]), key
            elif kind == "COMBO":
                assert value in options["options"] or key in (*FILES, *FOLDERS), (key, value)
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
def test_a_note_names_the_files_it_needs_or_where_the_numbers_are(name):
    graph, prompt = read(name)
    (note,) = (node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote")
    files = files_of(prompt)
    assert [file for file in files if f"[{Path(file).name}](" not in note] == []
    assert ("docs/results.md" in note) != bool(files)


def test_a_help_page_names_templates_that_show_its_node_and_together_they_name_all():
    pages = {
        path.relative_to(HELP).parts[0].removesuffix(".md"): path.read_text("utf-8")
        for path in HELP.rglob("*.md")
    }
    named = {node: re.findall(r"\*\*(\d\d [^*]+)\*\*", page) for node, page in pages.items()}
    for node, templates in named.items():
        for template in templates:
            assert node in {n["class_type"] for n in read(template)[1].values()}, (node, template)
    assert set().union(*named.values()) == set(NAMES)


def test_the_readme_lists_every_template():
    templates = README.read_text("utf-8").split("\n## Templates\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| (\d\d [^|]+) \|", templates, re.MULTILINE)) == set(NAMES)


def frame(node: dict) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a node, its title included; a collapsed one is its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    if node.get("flags", {}).get("collapsed"):
        width, height = 8 * len(node.get("title") or node["type"]) + 60, 0
    return x, y - TITLE, x + width, y + height


@SHIPPED
def test_it_reads_from_left_to_right_in_named_frames_and_nothing_overlaps(name):
    graph, frames = read(name)[0], {node["id"]: frame(node) for node in read(name)[0]["nodes"]}
    for one, other in itertools.combinations(frames.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    assert all(frames[source][0] <= frames[target][0] for _, source, _, target, _, _ in graph["links"])
    groups = [
        (x, y, x + width, y + height)
        for x, y, width, height in (group["bounding"] for group in graph["groups"])
    ]
    assert all(group["title"] for group in graph["groups"])
    for x, y, right, bottom in frames.values():
        assert sum(g[0] < x and g[1] < y and right < g[2] and bottom < g[3] for g in groups) == 1


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("01 Start here - a lost star comes back", ["Auto"]),
        ("02 Plain beside refined - report and maps", ["Latent Refine (Grimal"]),
        ("07 SynGen - each colour on its shape", ["SynGen (Rassin"]),
        ("09 Attend-and-Excite from its parts", ["Attention Guidance"]),
        ("08 Refine, then bind colours", ["Latent Refine + SynGen, Ours+", "Latent Refine + SynGen, Ours+"]),
        ("11 Boxes - each thing in its place", ["BoxDiff (Xie"]),
        ("12 Boxes - drawn in ComfyUI", ["BoxDiff (Xie"]),
        ("13 Boxes - written by an LLM", ["BoxDiff (Xie"]),
        ("10 Two methods on one model", ["Latent Refine (Grimal", "Attention Guidance"]),
    ],
)
def test_it_runs_as_shipped_with_fewer_steps_and_every_method_acts(name, methods, client):
    prompt = read(name)[1]
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 8
        if node["class_type"] == "GSNRefineModel":
            node["inputs"]["shifts"] = 2
        if node["class_type"] == "EmptyLatentImage" and methods[0] not in ("Auto", "BoxDiff (Xie"):
            node["inputs"] |= {
                "width": 128,
                "height": 128,
            }  # Auto looks at the image, boxes are in its pixels
    entry = client.run(prompt)
    (report,) = (
        entry["outputs"][i]["text"][0] for i, node in prompt.items() if node["class_type"] == "GSNReport"
    )
    acted = [line for line in report.splitlines() if "backward passes" in line]
    assert [line.startswith(method) for line, method in zip(acted, methods, strict=True)] == [True] * len(
        methods
    )
    assert "subject blue s" in report or "subject green heart" in report
    (saved,) = (client.images(entry, i) for i, node in prompt.items() if node["class_type"] == "SaveImage")
    plain, nursed = (half.convert("RGB").tobytes() for half in halves(saved[0]))
    assert plain != nursed


def test_the_word_weight_template_acts_as_shipped_with_fewer_steps(client):
    prompt = read("05 Word Weight - more of one word")[1]
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 8
    entry = client.run(prompt)
    (saved,) = (i for i, node in prompt.items() if node["class_type"] == "SaveImage")
    (report,) = (i for i, node in prompt.items() if node["class_type"] == "GSNReport")
    assert "Word Weight: green star 1.6, steps 0 to 7 of 8" in entry["outputs"][report]["text"][0]
    plain, weighted = (half.convert("RGB").tobytes() for half in halves(client.images(entry, saved)[0]))
    assert plain != weighted


def test_the_seed_picker_template_keeps_the_best_of_four(client):
    prompt = read("03 Seed Picker - the best of four starts")[1]
    for node in prompt.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 8
    (picker,) = (i for i, node in prompt.items() if node["class_type"] == "GSNSeedPicker")
    text = client.run(prompt)["outputs"][picker]["text"][0]
    assert (
        text.startswith("kept ") and "of 4, presence at model call 2" in text and "; 14 model calls" in text
    )


def test_the_second_seed_is_sampled_only_where_the_first_image_lacks_something(client):
    prompt = read("04 Subject Judge - a new seed where one is missing")[1]
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 4
    (judge,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "GSNJudge")
    (saved,) = (i for i, node in prompt.items() if node["class_type"] == "SaveImage")
    pictures = {}
    for subjects in ("circle, star, heart, cross", "-circle, -star, -heart, -cross, -square, -triangle"):
        judge["subjects"] = subjects
        judge["confidence"] = 1.0  # nothing counts: all is missing, or nothing is there that should not be
        pictures[subjects] = client.images(client.run(prompt), saved)[0]
    assert len({Image.open(io.BytesIO(png)).tobytes() for png in pictures.values()}) == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("06 Word boost beside Latent Refine", "Word boost (no gradients): more attention for "),
        (
            "17 Negative prompt at CFG 1",
            "VSF, value sign flip (2026): 'a blue square' subtracted, alpha 1.8, steps 0 to 7 of 8",
        ),
        ("18 Alternate Prompts - a stand-in", ""),
    ],
)
def test_a_template_without_gradients_acts_as_shipped_with_fewer_steps(name, told, client):
    prompt = read(name)[1]
    for node in prompt.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 8
    entry = client.run(prompt)
    (saved,) = (i for i, node in prompt.items() if node["class_type"] == "SaveImage")
    reports = [entry["outputs"][i] for i, node in prompt.items() if node["class_type"] == "GSNReport"]
    assert all(told in report["text"][0] for report in reports) and bool(reports) == bool(told)
    left, right = (half.convert("RGB").tobytes() for half in halves(client.images(entry, saved)[0]))
    assert left != right


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (
            "14 Edit - a circle becomes a star",
            "Prompt-to-Prompt: replace (circle -> star), text maps in 7 steps",
        ),
        ("15 Edit - red becomes blue", "Prompt-to-Prompt: replace (red -> blue), text maps in 7 steps"),
        ("16 Edit - one word weighted", "Prompt-to-Prompt: replace (equal words), text maps in 7 steps"),
    ],
)
def test_the_prompt_to_prompt_templates_act_as_shipped_with_fewer_steps(name, status, client):
    prompt = read(name)[1]
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 8
    entry = client.run(prompt)
    (saved,) = (i for i, node in prompt.items() if node["class_type"] == "SaveImage")
    (report,) = (i for i, node in prompt.items() if node["class_type"] == "GSNReport")
    assert status in entry["outputs"][report]["text"][0]
    source, edited = client.images(entry, saved)
    assert source != edited


FEW = {"steps": 3, "copies": 1, "iterations": 1, "overrides": "shifts=1", "at_percent": 0.5, "batch_size": 1}
ON_PICTURES = [name for name in NAMES if name[:2] in ("46", "47", "50", "51")]


@pytest.mark.parametrize("name", ON_PICTURES)
def test_the_templates_on_pictures_run_with_fewer_steps(name, client):
    prompt = shortened(read(name)[1])
    entry = client.run(prompt)
    saved = [i for i, node in prompt.items() if node["class_type"] == "SaveImage"]
    last = client.images(entry, saved[-1])[-1]
    assert len(Image.open(io.BytesIO(last)).convert("RGB").getcolors(2**17) or []) > 1


def shortened(prompt: dict) -> dict:
    """The prompt with fewer steps of everything."""
    for node in prompt.values():
        node["inputs"] |= {key: value for key, value in FEW.items() if key in node["inputs"]}
    return prompt


def test_dreambooth_by_train_lora_with_class_pictures_then_nursing(client):
    """Two steps on one picture and one of its class."""
    prompt = shortened(json.loads((FOLDER.parent / "tests" / "data" / "dreambooth.json").read_text("utf-8")))
    (train,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "TrainLoraNode")
    train["steps"] = 2
    entry = client.run(prompt)
    (report,) = (i for i, node in prompt.items() if node["class_type"] == "GSNReport")
    assert ", 1 update step, " in entry["outputs"][report]["text"][0]


def halves(png: bytes):
    """The two pictures side by side in a saved one."""
    picture = Image.open(io.BytesIO(png))
    side = picture.height
    return picture.crop((0, 0, side, side)), picture.crop((picture.width - side, 0, picture.width, side))


def test_the_rounds_template_acts_as_shipped_with_fewer_steps(client):
    prompt = read("30 Boxes - each thing alone first")[1]
    shown = {}
    for i, node in list(prompt.items()):
        if node["class_type"] == "GSNLMDSampler":
            node["inputs"]["steps"] = 8
            shown[f"text {i}"] = {"class_type": "PreviewAny", "inputs": {"source": [i, 5]}}
    entry = client.run({**prompt, **shown})
    first, second = (entry["outputs"][i]["text"][0] for i in sorted(shown))
    assert first.startswith("2 boxes, 2 runs") and second.startswith("3 boxes, 2 runs; 2 taken from the last")
