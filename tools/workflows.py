"""Example workflows, from the form that the queue takes to the form that the browser saves, by a real browser.

    python tools/workflows.py --url http://127.0.0.1:8188 [NAME ...]

Opens example_workflows/api/NAME.json in the front end of a running server, arranges the nodes in columns, writes
example_workflows/NAME.json, a picture of the graph NAME.jpg, and the API form as the browser gives it back. Author the
API form by hand, then run this. Needs `pip install playwright pillow` and a Chromium on the path; nothing else does.
"""

import argparse
import io
import json
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CLONE = Path(__file__).resolve().parents[1]
FOLDER = CLONE / "example_workflows"
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Locale": "en", "Comfy.VueNodes.Enabled": False,
            "Comfy.Workflow.ShowMissingModelsWarning": False, "Comfy.Canvas.BackgroundImage": "",
            "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}
READY = "() => !!(window.app && app.extensionManager && window.LiteGraph && LiteGraph.registered_node_types['GSNReport'] && app.canvas)"

# Columns by distance from the sources, rows in the order of the ids; sources move right, next to who uses them.
ARRANGE = """async ({api, name, ver, hostVer}) => {
  await app.loadApiJson(api, name + '.json');
  await new Promise(r => setTimeout(r, 500));
  const nodes = app.graph.nodes, column = {};
  const depth = n => column[n.id] ??= Math.max(0, ...(n.inputs ?? []).filter(i => i.link != null)
      .map(i => 1 + depth(app.graph.getNodeById(app.graph.links.get(i.link).origin_id))));
  nodes.forEach(depth);
  const users = n => (n.outputs ?? []).flatMap(o => o.links ?? []).map(l => app.graph.links.get(l).target_id);
  for (const n of nodes) if (!(n.inputs ?? []).some(i => i.link != null) && users(n).length)
    column[n.id] = Math.max(0, Math.min(...users(n).map(u => column[u])) - 1);
  let x = 0;
  for (let c = 0; c <= Math.max(...Object.values(column)); c++) {
    let y = 0, width = 0;
    for (const n of nodes.filter(n => column[n.id] === c).sort((a, b) => a.id - b.id)) {
      const minimum = n.computeSize();
      n.setSize([Math.max(n.size[0], minimum[0], 270), n.outputs?.length && !n.type.match(/GSNReport|GSNAttention|Preview/)
          ? Math.max(n.size[1], minimum[1]) : Math.max(minimum[1] + 260, 300)]);
      n.pos = [x, y];
      y += n.size[1] + 60; width = Math.max(width, n.size[0]);
      const ours = n.type.startsWith('GSN');
      n.properties = {...n.properties, cnr_id: ours ? 'semantic-nursing' : 'comfy-core', ver: ours ? ver : hostVer,
                      'Node name for S&R': n.type};
      for (const w of n.widgets ?? []) if (w.name === 'control_after_generate') w.value = 'fixed';
    }
    x += width + 80;
  }
  const [left, top, right, bottom] = nodes.reduce((b, n) => [Math.min(b[0], n.pos[0]), Math.min(b[1], n.pos[1] - 30),
      Math.max(b[2], n.pos[0] + n.size[0]), Math.max(b[3], n.pos[1] + n.size[1])], [1e9, 1e9, -1e9, -1e9]);
  app.graph.extra = {...app.graph.extra, ds: {scale: 0.8, offset: [60, 80]}};
  const graph = JSON.parse(JSON.stringify(app.graph.serialize()));
  const output = (await app.graphToPrompt()).output;
  const room = [innerWidth - 140, innerHeight - 120];
  app.canvas.ds.scale = Math.min(room[0] / (right - left), room[1] / (bottom - top), 1);
  app.canvas.ds.offset = [90 / app.canvas.ds.scale - left, 70 / app.canvas.ds.scale - top];
  app.canvas.setDirty(true, true);
  await new Promise(r => setTimeout(r, 800));
  const s = app.canvas.ds.scale;
  return {graph, output, box: [80, 60, (right - left) * s + 20, (bottom - top) * s + 20]};
}"""


def plain(api: dict) -> dict:
    """An API prompt without the titles and with equal numbers spelled equally."""
    return {i: {"class_type": n["class_type"], "inputs": {k: v for k, v in sorted(n["inputs"].items())}} for i, n in api.items()}


def post(url: str, body: dict) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()


def write(path: Path, data: dict) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def convert(page, name: str, versions: dict) -> None:
    """One workflow: both forms and the thumbnail. Raises SystemExit if the browser understood another graph."""
    source = FOLDER / "api" / f"{name}.json"
    api = json.loads(source.read_text(encoding="utf-8"))
    answer = page.evaluate(ARRANGE, {"api": api, "name": name, **versions})
    if plain(answer["output"]) != plain(api):
        raise SystemExit(f"{name}: the browser gives back another prompt:\n{json.dumps(answer['output'], indent=1)}")
    x, y, width, height = answer["box"]
    picture = Image.open(io.BytesIO(page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})))
    picture.thumbnail((768, 768), Image.Resampling.LANCZOS)
    picture.convert("RGB").save(FOLDER / f"{name}.jpg", quality=88, optimize=True)
    write(FOLDER / f"{name}.json", answer["graph"])
    write(source, answer["output"])
    print(name, len(answer["graph"]["nodes"]), "nodes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--url", default="http://127.0.0.1:8188")
    args = parser.parse_args()
    post(f"{args.url}/api/settings", SETTINGS)
    with urllib.request.urlopen(f"{args.url}/system_stats", timeout=30) as answer:
        host_version = json.load(answer)["system"]["comfyui_version"]
    pack_version = next(line.split('"')[1] for line in (CLONE / "pyproject.toml").read_text().splitlines()
                        if line.startswith("version"))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.goto(args.url)
        page.wait_for_function(READY, timeout=120_000)
        for name in args.names or sorted(p.stem for p in (FOLDER / "api").glob("*.json")):
            convert(page, name, {"ver": pack_version, "hostVer": host_version})
        browser.close()


if __name__ == "__main__":
    main()
