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

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright

CLONE = Path(__file__).resolve().parents[1]
FOLDER = CLONE / "example_workflows"
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Canvas.BackgroundImage": "",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}
READY = "() => !!(window.app && app.extensionManager && window.LiteGraph && LiteGraph.registered_node_types['GSNReport'] && app.canvas)"

# Notes of the browser's form (the queue's form has none), under the first column.
FILES = "Files, in ComfyUI/models (if yours have other names, choose them in the loaders):\n"
REPORT = (
    "\n\nLook at Nursing Report: the subjects of the prompt, the noise level it acted at, and each subject's highest attention "
    "before and after"
)
MAPS = "; and at Attention Maps: where each one is"
OFF = ". strength 0 is the plain run, bit for bit: compare with the same seed."
LOOK = REPORT + MAPS + OFF
COST = "\n\n50 shifts, each one pass forward and one back, are most of the time: overrides shifts=20 makes it shorter."
FLOW = "\n\nThe paper does not give its step on models of this kind. at_percent -1 acts at 0.18 of the schedule, where sigma is 0.93; try 0.1 to 0.3."
CHOSEN = "\n\nThe seed was chosen to show the effect. How often it helps, over many prompts and seeds: docs/results.md."
NOTES = {
    "attend_and_excite": "Attend-and-Excite from its parts: an objective (every subject present), a gradient step at every step of the first half, "
    "and thresholds at three moments.\n\nscale_factor is 20 on SD1; this tiny model wants a fifth of it."
    + CHOSEN,
    "flux_dev_semantic_nursing": FILES
    + "diffusion_models/flux1-dev.safetensors\ntext_encoders/clip_l.safetensors\n"
    "text_encoders/t5xxl_fp16.safetensors\nvae/ae.safetensors"
    + LOOK
    + FLOW
    + "\n\nThe subjects are typed here, so that the lawn is not one "
    "of them; empty, all four are found. Guidance is in the model (cfg 1): there is no negative prompt."
    + COST,
    "qwen_image_semantic_nursing": FILES + "diffusion_models/qwen_image_fp8_e4m3fn.safetensors\n"
    "text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors\nvae/qwen_image_vae.safetensors"
    + LOOK
    + FLOW
    + COST,
    "sd15_sampler_custom_advanced": FILES
    + "checkpoints/v1-5-pruned-emaonly-fp16.safetensors"
    + REPORT
    + MAPS
    + ". shifts 0 is the plain run, bit for bit: compare with the same seed.\n\nThe subjects are typed beside the prompt.",
    "sd15_semantic_nursing": FILES + "checkpoints/v1-5-pruned-emaonly-fp16.safetensors" + REPORT + OFF + COST,
    "sd35_medium_semantic_nursing": FILES
    + "checkpoints/sd3.5_medium.safetensors\ntext_encoders/clip_l.safetensors\n"
    "text_encoders/clip_g.safetensors\ntext_encoders/t5xxl_fp16.safetensors"
    + LOOK
    + FLOW
    + "\n\nThe maps are the mean of CLIP's "
    "and T5's words." + COST,
    "sdxl_semantic_nursing": FILES
    + "checkpoints/sd_xl_base_1.0.safetensors (or a fine-tune of it)"
    + LOOK
    + COST,
    "z_image_turbo_semantic_nursing": FILES
    + "diffusion_models/z_image_turbo_bf16.safetensors\ntext_encoders/qwen_3_4b.safetensors\n"
    "vae/ae.safetensors" + LOOK + FLOW + "\n\nOnly 8 steps: the one nearest to the moment is taken." + COST,
    "demo_plain_beside_refined": "The same model, prompt and noise: left plain, right with Latent Refine. The plain picture lacks the star.\n\n"
    "pieces=noun and at_percent 0.1 are for this tiny model." + CHOSEN,
    "latent_refine_plus_syngen": "Ours+ of the Latent Refine paper: one refinement at an early step, then SynGen.\n\nOn SD1, leave overrides "
    "empty: scale_factor=4 is for this tiny model." + CHOSEN,
    "layout_boxes": "One Subject Region per subject, in a chain: x, y, width and height are shares of the picture, or connect a mask "
    "or boxes.\n\nOn SD1, strength 1: 0.2 is for this tiny model." + CHOSEN,
    "syngen": "SynGen binds each colour to its own shape and keeps it off the others.\n\nOn SD1, strength 1: 0.2 is for this tiny model. "
    "0 is a plain run, bit for bit." + CHOSEN,
    "two_methods_stacked": "Patches stack: the refinement acts once, then the guidance from that step to the middle. Where both act, the "
    "refinement goes first, whichever node comes first.\n\nThe report of either node tells of the whole run."
    + CHOSEN,
}
SIZES = {
    "GSNReport": [560, 620],
    "GSNAttentionMaps": [560, 420],
    "SaveImage": [560, 380],
    "PreviewAny": [560, 300],
    "CLIPTextEncode": [360, 130],
    "GSNTextEncode": [360, 220],
    "GSNNursing": [330, 400],
    "GSNGuidanceModel": [330, 380],
    "GSNRefineModel": [330, 340],
}

# What stands on the thumbnail of a workflow whose model is not at hand: there is no picture of it to show.
TITLES = {
    "flux_dev_semantic_nursing": "Flux.1 dev with Semantic Nursing",
    "qwen_image_semantic_nursing": "Qwen-Image with Semantic Nursing",
    "sd15_sampler_custom_advanced": "SD 1.5, SamplerCustomAdvanced",
    "sd15_semantic_nursing": "SD 1.5 with Semantic Nursing",
    "sd35_medium_semantic_nursing": "SD 3.5 medium with Semantic Nursing",
    "sdxl_semantic_nursing": "SDXL with Semantic Nursing",
    "z_image_turbo_semantic_nursing": "Z-Image Turbo with Semantic Nursing",
}

# What the frame around a column is called; everything else is in "Prompt and settings".
STAGES = {
    "Model": "Loader|GSNDemoModel|Note",
    "Nursing": "GSNNursing|GSNRefineModel|GSNGuidanceModel|GSNObjective",
    "Prompt and settings": "",
    "Sampling": "^KSampler$|GSNLatentRefine|^SamplerCustom",
    "Result": "VAEDecode|ImageStitch|SaveImage|PreviewAny|GSNReport|GSNAttentionMaps",
}

# Columns by distance from the sources, rows in the order of the ids; what others wait for stands next to them. A prompt
# and its regions stay in a column, and so do pictures, the two of them side by side, and the saved one. Loaders come
# first. A frame around each stage.
ARRANGE = """async ({api, name, note, ver, hostVer, sizes, stages}) => {
  await app.loadApiJson(api, name + '.json');
  await new Promise(r => setTimeout(r, 500));
  const nodes = app.graph.nodes, early = {}, column = {};
  const gap = (from, to) => ['GSNRegion', 'ImageStitch', 'SaveImage'].includes(to.type) ? 0 : 1;
  const from = l => app.graph.getNodeById(app.graph.links.get(l).origin_id);
  const to = l => app.graph.getNodeById(app.graph.links.get(l).target_id);
  const depth = n => early[n.id] ??= Math.max(0, ...(n.inputs ?? []).filter(i => i.link != null)
      .map(i => from(i.link)).map(m => depth(m) + gap(m, n)));
  const last = Math.max(...nodes.map(depth));
  const late = n => {
    const users = (n.outputs ?? []).flatMap(o => o.links ?? []).map(to);
    if (n.type.includes('Loader')) return column[n.id] = 0;
    if (n.type === 'SaveImage') return column[n.id] = depth(n);
    return column[n.id] ??= users.length ? Math.min(...users.map(u => late(u) - gap(n, u))) : last;
  };
  nodes.forEach(late);
  const stage = n => Object.keys(stages).find(s => stages[s] && new RegExp(stages[s]).test(n.type)) ?? 'Prompt and settings';
  const frames = [];
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
      n.pos = [x, y]; n.widgets[0].value = note;
      width = Math.max(width, 330);
      n.setSize([width, 50 + 13 * note.split('\\n').reduce((sum, line) => sum + 1 + Math.floor(line.length / (width / 6)), 0)]);
      n.properties = {...n.properties, cnr_id: 'comfy-core', ver: hostVer};
      y += n.size[1] + 60;
    }
    const inside = new Set(nodes.filter(n => column[n.id] === c).map(stage));
    const title = Object.keys(stages).filter(s => inside.has(s)).map((s, i) => i ? s.toLowerCase() : s).join(', ');
    const before = frames.at(-1);
    if (before?.title === title) Object.assign(before, {right: x + width, bottom: Math.max(before.bottom, y)});
    else frames.push({title, left: x, right: x + width, bottom: y});
    x += width + 80;
  }
  for (const f of frames) {
    const group = new LiteGraph.LGraphGroup(f.title);
    group.pos = [f.left - 20, -90]; group.size = [f.right - f.left + 40, f.bottom + 50];
    app.graph.add(group);
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
  const b = app.graph.groups.reduce((b, n) => [Math.min(b[0], n.pos[0]), Math.min(b[1], n.pos[1]),
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
    return {
        i: {"class_type": n["class_type"], "inputs": {k: v for k, v in sorted(n["inputs"].items())}}
        for i, n in api.items()
    }


def post(url: str, body: dict) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()


def write(path: Path, data: dict) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def titled(picture: Image.Image, title: str) -> Image.Image:
    """The picture with a line of text above it."""
    card = Image.new("RGB", (picture.width, picture.height + 80), (24, 24, 24))
    ImageDraw.Draw(card).text((20, 14), title, (235, 235, 235), ImageFont.load_default(44))
    card.paste(picture, (0, 80))
    return card


def convert(page, name: str, versions: dict, run: bool) -> None:
    """One workflow: both forms and the thumbnail. Raises SystemExit if the browser understood another graph."""
    source = FOLDER / "api" / f"{name}.json"
    api = json.loads(source.read_text(encoding="utf-8"))
    answer = page.evaluate(
        ARRANGE,
        {"api": api, "name": name, "note": NOTES.get(name, ""), "sizes": SIZES, "stages": STAGES, **versions},
    )
    back = plain(answer["output"])
    wanted = {
        i: {**node, "inputs": {**back.get(i, node)["inputs"], **node["inputs"]}}
        for i, node in plain(api).items()
    }
    if back != wanted:  # inputs newer than the API form may come back, with their defaults
        raise SystemExit(
            f"{name}: the browser gives back another prompt:\n{json.dumps(answer['output'], indent=1)}"
        )
    if run:
        page.evaluate(RUN)
    picture = Image.open(io.BytesIO(page.screenshot(clip=page.evaluate(SHOW)))).convert("RGB")
    picture.thumbnail((896, 672), Image.Resampling.LANCZOS)
    (titled(picture, TITLES[name]) if name in TITLES else picture).save(
        FOLDER / f"{name}.jpg", quality=75, optimize=True
    )
    write(FOLDER / f"{name}.json", answer["graph"])
    write(source, answer["output"])
    print(name, len(answer["graph"]["nodes"]), "nodes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--url", default="http://127.0.0.1:8188")
    parser.add_argument(
        "--run", action="store_true", help="run each first, so that its pictures are on the thumbnail"
    )
    args = parser.parse_args()
    post(f"{args.url}/api/settings", SETTINGS)
    with urllib.request.urlopen(f"{args.url}/system_stats", timeout=30) as answer:
        host_version = json.load(answer)["system"]["comfyui_version"]
    pack_version = next(
        line.split('"')[1]
        for line in (CLONE / "pyproject.toml").read_text().splitlines()
        if line.startswith("version")
    )
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chrome"), args=["--no-sandbox"]
        )
        for name in args.names or sorted(p.stem for p in (FOLDER / "api").glob("*.json")):
            page = browser.new_page(
                viewport={"width": 2200, "height": 1300}
            )  # the last one's pictures would be on this one's nodes
            page.goto(args.url)
            page.wait_for_function(READY, timeout=300_000)
            page.add_style_tag(
                content="[data-testid=error-overlay] {display: none !important}"
            )  # a checkpoint is missing
            convert(page, name, {"ver": pack_version, "hostVer": host_version}, args.run)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
