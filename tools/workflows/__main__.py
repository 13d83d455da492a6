"""Example workflows, from the form of the queue to the form that a browser saves, by a real browser.

    python3 tools/dev.py workflows --url http://127.0.0.1:8188 [--run] [NAME ...]

Opens example_workflows/api/NAME.json in the front end of a running server, arranges the nodes (arrange.py),
adds the note (notes.toml) and the model files (models.toml), and writes example_workflows/NAME.json and the
API form as the browser gives it back. Write the API form by hand, then run this, then cards.py for the square
picture in the list of templates. Needs a Chromium on the path.
"""

import argparse
import io
import json
import urllib.request
from dataclasses import asdict
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tools.host_env.browser import HOW, find_chromium
from tools.host_env.paths import CLONE

from . import first, notes
from .arrange import Node, arrange

FOLDER = CLONE / "example_workflows"
PAGE = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Canvas.BackgroundImage": "",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}
READY = (
    "() => !!(window.app && app.extensionManager && window.LiteGraph "
    "&& LiteGraph.registered_node_types['GSNReport'] && app.canvas)"
)
SIZES = {  # at least so large, in pixels
    "GSNReport": [400, 450],
    "GSNAttentionMaps": [400, 430],
    "SaveImage": [400, 305],
    "PreviewAny": [400, 100],
    "CLIPTextEncode": [300, 120],
    "GSNTextEncode": [300, 220],
    "GSNNursing": [300, 400],
    "GSNWordWeight": [300, 400],
    "GSNFlippedNegative": [360, 300],
    "GSNAlternatePrompts": [330, 340],
    "GSNPromptToPrompt": [330, 420],
    "GSNGuidanceModel": [330, 380],
    "GSNSeedPicker": [560, 860],
    "GSNJudge": [420, 640],
    "GSNRefineModel": [330, 340],
}


def plain(api: dict) -> dict:
    """An API prompt without the titles, the inputs of every node in one order."""
    return {
        key: {"class_type": node["class_type"], "inputs": dict(sorted(node["inputs"].items()))}
        for key, node in api.items()
    }


def post(url: str, body: dict) -> None:
    """Sends JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()


def write(path: Path, data: dict) -> None:
    """Writes JSON as it is committed."""
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def call(page, function: str, **arguments):
    """A function of page.js in the open page."""
    return page.evaluate(f"a => ({PAGE}).{function}(a)", arguments)


def measure(browser, url: str, names: list[str]) -> dict[str, dict]:
    """How high every node of these workflows is in Nodes 2.0: name -> node id -> height."""
    post(f"{url}/api/settings", {**SETTINGS, "Comfy.VueNodes.Enabled": True})
    page = opened(browser, url)
    found = {}
    for name in names:
        call(page, "load", api=api_form(name), name=name, sizes=SIZES, own={}, heights={})
        found[name] = call(page, "heights")
    page.close()
    post(f"{url}/api/settings", SETTINGS)
    return found


def opened(browser, url: str):
    """A fresh page of the front end."""
    page = browser.new_page(viewport={"width": 2200, "height": 1300})
    page.goto(url)
    page.wait_for_function(READY, timeout=300_000)
    # A missing checkpoint is an error here, and not worth showing.
    page.add_style_tag(content="[data-testid=error-overlay] {display: none !important}")
    return page


def api_form(name: str) -> dict:
    """The workflow as it is queued."""
    return json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))


def convert(
    page, name: str, texts: dict, heights: dict, versions: dict, run: bool, picture: Path | None
) -> None:
    """One workflow: both forms, and a picture of the graph in a folder if one is given.

    Raises SystemExit if the browser understood another graph.
    """
    source, api = FOLDER / "api" / f"{name}.json", api_form(name)
    is_first = name == first.NAME
    own = {node: place[2:] for node, place in first.PLACES.items()} if is_first else {}
    loaded = call(page, "load", api=api, name=name, sizes=SIZES, own=own, heights=heights)
    nodes = [Node(node["id"], node["type"], tuple(node["size"])) for node in loaded["nodes"]]
    arranged = (
        first.arrangement()
        if is_first
        else arrange(nodes, loaded["links"], texts["note"], texts.get("columns"))
    )
    collapsed = list(first.COLLAPSED) if is_first else []
    answer = call(page, "place", text=texts["note"], collapsed=collapsed, **asdict(arranged), **versions)
    back = plain(answer["output"])
    # Inputs newer than the API form may come back, with their defaults.
    wanted = {
        key: {**node, "inputs": {**back.get(key, node)["inputs"], **node["inputs"]}}
        for key, node in plain(api).items()
    }
    if back != wanted:
        raise SystemExit(
            f"{name}: the browser gives back another prompt:\n{json.dumps(answer['output'], indent=1)}"
        )
    if run:
        call(page, "run")
    if picture is not None:
        image = Image.open(io.BytesIO(page.screenshot(clip=call(page, "show")))).convert("RGB")
        image.save(picture / f"{name}.jpg", quality=80)
    write(FOLDER / f"{name}.json", notes.with_models(answer["graph"]))
    write(source, answer["output"])
    print(name, len(answer["graph"]["nodes"]), "nodes")


def versions_of(url: str) -> dict[str, str]:
    """The versions of this pack and of the running ComfyUI."""
    with urllib.request.urlopen(f"{url}/system_stats", timeout=30) as answer:
        host_version = json.load(answer)["system"]["comfyui_version"]
    project = (CLONE / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    version = next(line.split('"')[1] for line in project if line.startswith("version"))
    return {"version": version, "hostVersion": host_version}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--url", default="http://127.0.0.1:8188")
    parser.add_argument(
        "--run", action="store_true", help="run each first, so that its pictures are on its nodes"
    )
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the graphs")
    args = parser.parse_args()
    post(f"{args.url}/api/settings", SETTINGS)
    versions, texts = versions_of(args.url), notes.read()
    with sync_playwright() as driver:
        chromium = find_chromium()
        if chromium is None:
            raise SystemExit(f"There is no Chromium. {HOW}")
        browser = driver.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        names = args.names or sorted(texts)
        heights = measure(browser, args.url, names)
        page = None
        for name in names:
            if page is None or args.run:  # fresh: no images of the last one
                page = opened(browser, args.url)
            convert(page, name, texts[name], heights[name], versions, args.run, args.pictures)
        browser.close()


if __name__ == "__main__":
    main()
