"""Example workflows, from the form that the queue takes to the form that the browser saves, by a real browser.

    python tools/workflows.py --url http://127.0.0.1:8188 [--run] [NAME ...]

Opens example_workflows/api/NAME.json in the front end of a running server, arranges the nodes in columns, writes
example_workflows/NAME.json, a picture of the graph NAME.jpg, and the API form as the browser gives it back. Author the
API form by hand, then run this. Needs `pip install playwright pillow` and a Chromium on the path; nothing else does.
"""

import argparse
import io
import json
import shutil
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

# Notes of the browser's form (the queue's form has none), under the first column.
CHOSEN = "\n\nThe seed was chosen to show the effect. How often it helps, over many prompts and seeds: docs/results.md."
NOTES = {
    "attend_and_excite": "Attend-and-Excite from its parts: an objective (every subject present), a gradient step at every step of the first half, "
    "and thresholds at three moments.\n\nscale_factor is 20 on SD1; this tiny model wants a fifth of it." + CHOSEN,
    "demo_plain_beside_refined": "The same model, prompt and noise: left plain, right with Latent Refine. The plain picture lacks the star.\n\n"
    "pieces=noun and at_percent 0.1 are for this tiny model." + CHOSEN,
    "latent_refine_plus_syngen": "Ours+ of the Latent Refine paper: one refinement at an early step, then SynGen.\n\nOn SD1, leave overrides "
    "empty: scale_factor=4 is for this tiny model." + CHOSEN,
    "layout_boxes": "One Subject Region per subject, in a chain: x, y, width and height are shares of the picture, or connect a mask "
    "or boxes.\n\nOn SD1, strength 1: 0.2 is for this tiny model." + CHOSEN,
    "syngen": "SynGen binds each colour to its own shape and keeps it off the others.\n\nOn SD1, strength 1: 0.2 is for this tiny model. "
    "0 is a plain run, bit for bit." + CHOSEN,
    "two_methods_stacked": "Patches stack: the refinement acts once, then the guidance from that step to the middle. Where both act, the "
    "refinement goes first, whichever node comes first.\n\nThe report of either node tells of the whole run." + CHOSEN,
}
SIZES = {"GSNReport": [560, 620], "GSNAttentionMaps": [560, 420], "SaveImage": [560, 380], "PreviewAny": [560, 300],
         "CLIPTextEncode": [360, 130], "GSNTextEncode": [360, 220], "GSNNursing": [330, 320],
         "GSNGuidanceModel": [330, 380], "GSNRefineModel": [330, 340]}

# Columns by distance from the sources, rows in the order of the ids; what others wait for stands next to them. A prompt
# and its regions stay in a column, and so do pictures and the two of them side by side.
ARRANGE = """async ({api, name, note, ver, hostVer, sizes}) => {
  await app.loadApiJson(api, name + '.json');
  await new Promise(r => setTimeout(r, 500));
  const nodes = app.graph.nodes, early = {}, column = {};
  const gap = (from, to) => ['GSNRegion', 'ImageStitch'].includes(to.type) ? 0 : 1;
  const from = l => app.graph.getNodeById(app.graph.links.get(l).origin_id);
  const to = l => app.graph.getNodeById(app.graph.links.get(l).target_id);
  const depth = n => early[n.id] ??= Math.max(0, ...(n.inputs ?? []).filter(i => i.link != null)
      .map(i => from(i.link)).map(m => depth(m) + gap(m, n)));
  const last = Math.max(...nodes.map(depth));
  const late = n => {
    const users = (n.outputs ?? []).flatMap(o => o.links ?? []).map(to);
    return column[n.id] ??= users.length ? Math.min(...users.map(u => late(u) - gap(n, u))) : last;
  };
  nodes.forEach(late);
  let x = 0;
  for (let c = 0; c <= last; c++) {
    let y = 0, width = 0;
    for (const n of nodes.filter(n => column[n.id] === c).sort((a, b) => a.id - b.id)) {
      const minimum = n.computeSize(), wanted = sizes[n.type] ?? [270, 0];
      n.setSize([Math.max(minimum[0], wanted[0]), Math.max(minimum[1], wanted[1])]);
      n.pos = [x, y];
      y += n.size[1] + 60; width = Math.max(width, n.size[0]);
      const ours = n.type.startsWith('GSN');
      n.properties = {...n.properties, cnr_id: ours ? 'semantic-nursing' : 'comfy-core', ver: ours ? ver : hostVer,
                      'Node name for S&R': n.type};
      for (const w of n.widgets ?? []) if (w.name === 'control_after_generate') w.value = 'fixed';
    }
    if (c === 0 && note) {
      const n = LiteGraph.createNode('Note');
      app.graph.add(n);
      n.pos = [x, y]; n.setSize([Math.max(width, 270), 240]); n.widgets[0].value = note;
      n.properties = {...n.properties, cnr_id: 'comfy-core', ver: hostVer};
    }
    x += width + 80;
  }
  const graph = JSON.parse(JSON.stringify(app.graph.serialize()));
  graph.extra = {...graph.extra, ds: {scale: 0.6, offset: [80, 120]}};
  return {graph, output: (await app.graphToPrompt()).output};
}"""
RUN = """async () => {
  const done = new Promise((resolve, reject) => {
    app.api.addEventListener('execution_success', resolve, {once: true});
    app.api.addEventListener('execution_error', e => reject(new Error(e.detail.exception_message)), {once: true});
  });
  await app.queuePrompt(0);
  await done;
  await new Promise(r => setTimeout(r, 2000));
}"""
SHOW = """async () => {  // the whole graph below the browser's own bars; returns the rectangle it takes
  const b = app.graph.nodes.reduce((b, n) => [Math.min(b[0], n.pos[0]), Math.min(b[1], n.pos[1] - 50),
      Math.max(b[2], n.pos[0] + n.size[0]), Math.max(b[3], n.pos[1] + n.size[1])], [1e9, 1e9, -1e9, -1e9]);
  const room = [innerWidth - 160, innerHeight - 240];
  const s = app.canvas.ds.scale = Math.min(room[0] / (b[2] - b[0]), room[1] / (b[3] - b[1]));
  app.canvas.ds.offset = [100 / s - b[0], 160 / s - b[1]];
  app.graph.nodes.forEach(n => n.has_errors = false);
  app.canvas.setDirty(true, true);
  await new Promise(r => setTimeout(r, 1000));
  return {x: 80, y: 140, width: (b[2] - b[0]) * s + 40, height: (b[3] - b[1]) * s + 40};
}"""


def plain(api: dict) -> dict:
    """An API prompt without the titles and with equal numbers spelled equally."""
    return {i: {"class_type": n["class_type"], "inputs": {k: v for k, v in sorted(n["inputs"].items())}} for i, n in api.items()}


def post(url: str, body: dict) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()


def write(path: Path, data: dict) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def convert(page, name: str, versions: dict, run: bool) -> None:
    """One workflow: both forms and the thumbnail. Raises SystemExit if the browser understood another graph."""
    source = FOLDER / "api" / f"{name}.json"
    api = json.loads(source.read_text(encoding="utf-8"))
    answer = page.evaluate(ARRANGE, {"api": api, "name": name, "note": NOTES.get(name, ""), "sizes": SIZES, **versions})
    if plain(answer["output"]) != plain(api):
        raise SystemExit(f"{name}: the browser gives back another prompt:\n{json.dumps(answer['output'], indent=1)}")
    if run:
        page.evaluate(RUN)
    picture = Image.open(io.BytesIO(page.screenshot(clip=page.evaluate(SHOW))))
    picture.thumbnail((896, 896), Image.Resampling.LANCZOS)
    picture.convert("RGB").save(FOLDER / f"{name}.jpg", quality=75, optimize=True)
    write(FOLDER / f"{name}.json", answer["graph"])
    write(source, answer["output"])
    print(name, len(answer["graph"]["nodes"]), "nodes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--url", default="http://127.0.0.1:8188")
    parser.add_argument("--run", action="store_true", help="run each first, so that its pictures are on the thumbnail")
    args = parser.parse_args()
    post(f"{args.url}/api/settings", SETTINGS)
    with urllib.request.urlopen(f"{args.url}/system_stats", timeout=30) as answer:
        host_version = json.load(answer)["system"]["comfyui_version"]
    pack_version = next(line.split('"')[1] for line in (CLONE / "pyproject.toml").read_text().splitlines()
                        if line.startswith("version"))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("chrome"), args=["--no-sandbox"])
        for name in args.names or sorted(p.stem for p in (FOLDER / "api").glob("*.json")):
            page = browser.new_page(viewport={"width": 2200, "height": 1300})  # the last one's pictures would be on this one's nodes
            page.goto(args.url)
            page.wait_for_function(READY, timeout=300_000)
            page.add_style_tag(content="[data-testid=error-overlay] {display: none !important}")  # a checkpoint is missing
            convert(page, name, {"ver": pack_version, "hostVer": host_version}, args.run)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
