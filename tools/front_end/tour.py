"""A newcomer's first minutes, in a real browser, with a picture of each step.

    python3 tools/dev.py run -m tools.front_end.tour [--to FOLDER] [--methods]

Opens the list of templates, runs the first one in both renderers, searches for a word, builds a graph with
the mouse from ComfyUI's default workflow and runs it, changes the language. With --methods it also runs the
first template with every method, quickly. Ends with status 1 after an error.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tools.host_env.browser import HOW, find_chromium
from tools.host_env.paths import CLONE
from tools.host_env.server import running_server

from .by_mouse import ByMouse
from .page import FOLDER, FrontEnd

VIEW = {"width": 1600, "height": 1000}
WIDTH, LARGEST = 1280, 150_000
"""Pixels, and bytes: the pictures lie in the repository."""
QUICK = {
    "steps": 4,
    "width": 128,
    "height": 128,
    "overrides": "shifts=1, rounds=1, iterations=1, final_iterations=1, max_rounds=1",
}
"""Inputs of the run of each method; with SAGA's published numbers alone it takes minutes."""


class Tour:
    """The steps, in their order. failed: what went wrong."""

    def __init__(self, front: FrontEnd, folder: Path):
        self.front, self.folder = front, folder
        self.first = min(path.stem for path in FOLDER.glob("*.json"))
        self.failed: list[str] = []

    def picture(self, name: str) -> None:
        """What is seen now, as a JPEG that is small enough."""
        self.front.page.wait_for_timeout(1500)
        image = Image.open(io.BytesIO(self.front.page.screenshot())).convert("RGB")
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
        for quality in range(88, 40, -6):
            data = io.BytesIO()
            image.save(data, "JPEG", quality=quality, optimize=True, progressive=True)
            if data.tell() <= LARGEST:
                break
        path = self.folder / f"{name}.jpg"
        path.write_bytes(data.getvalue())
        print(f"{path} ({data.tell() // 1000} KB)", flush=True)

    def templates(self) -> None:
        """The list of templates, at this pack's."""
        self.front.open()
        self.front.show_templates()
        self.picture("tour_templates")
        self.front.page.keyboard.press("Escape")

    def run(self, name: str, language: str = "en", nodes2: bool = False) -> None:
        """The first template, run as it is."""
        self.front.open(language, nodes2)
        self.front.open_template(self.first)
        self.checked(self.front.run())
        self.picture(name)

    def search(self) -> None:
        """The search for a word that is no node's name."""
        self.front.open_template(self.first)
        if "Semantic Nursing" not in self.front.search("missing object", close=False):
            self.failed.append("the search does not find Semantic Nursing")
        self.picture("tour_search")
        self.front.page.keyboard.press("Escape")

    def by_mouse(self) -> None:
        """ComfyUI's default workflow with the demo model and Semantic Nursing, by mouse and keyboard."""
        front, hand = self.front, ByMouse(self.front)
        front.default_workflow()
        for loader in ("UNETLoader", "CLIPLoader", "VAELoader", "ModelSamplingAuraFlow"):
            hand.delete(loader)
        hand.add("demo model", "GSN Demo Model", (-230, 60))
        hand.add("missing object", "Semantic Nursing", (-170, 330))
        hand.choose("GSNDemoModel", "model", "turbo")  # it fits the default sampler: 8 steps, CFG 1
        hand.connect("GSNDemoModel", "MODEL", "GSNNursing", "model")
        hand.connect("GSNDemoModel", "CLIP", "GSNNursing", "clip")
        hand.connect("GSNDemoModel", "VAE", "VAEDecode", "vae")
        hand.connect("GSNNursing", "MODEL", "KSampler", "model")
        hand.connect("GSNNursing", "CLIP", "CLIPTextEncode", "clip", 0)
        hand.connect("GSNNursing", "CLIP", "CLIPTextEncode", "clip", 1)
        hand.write("CLIPTextEncode", "a red circle, a blue square and a green star")
        hand.number("EmptySD3LatentImage", "width", 256)
        hand.number("EmptySD3LatentImage", "height", 256)
        self.checked(front.run_by_button(), "the graph that was built by mouse")
        hand.click_beside(1300, 100)  # or only what is selected would be in view
        front.command("Comfy.Canvas.FitView")
        self.picture("tour_by_mouse")

    def methods(self) -> None:
        """Every method in the first template, small and short: no error but that a region is missing.

        What a method cannot use of QUICK is a remark on the node.
        """
        self.front.open_template(self.first)
        nodes = self.front.prompt()
        (nursing,) = (i for i, node in nodes.items() if node["class_type"] == "GSNNursing")
        for i, node in nodes.items():
            self.front.call("set", i, {k: v for k, v in QUICK.items() if k in node["inputs"]})
        for method in self.front.call("options", nursing, "method"):
            self.front.call("set", nursing, {"method": method})
            found = self.front.run()
            message = message_of(found)
            print(f"{method}: {message or found['lines'].get(nursing, found['end'])}", flush=True)
            if "Subject Region" not in message:
                self.checked(found, method)
        self.picture("tour_methods")

    def checked(self, found: dict, what: str = "the first template") -> None:
        """Remember a run that did not succeed."""
        if found["end"] != "execution_success":
            self.failed.append(
                f"{what}: {found['end']} {(found.get('error') or {}).get('exception_message', '')}"
            )


def message_of(found: dict) -> str:
    """The error of a run, "" without one."""
    return (found.get("error") or {}).get("exception_message", "")


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--to", type=Path, default=CLONE / "demo_output" / "tour", help="folder of the pictures"
    )
    parser.add_argument("--methods", action="store_true", help="also run every method")
    args = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit(f"There is no Chromium. {HOW}")
    args.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as user, sync_playwright() as driver:
        with running_server(cpu=True, arguments=["--user-directory", user]) as server:
            browser = driver.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
            tour = Tour(FrontEnd(browser.new_page(viewport=VIEW), server.url), args.to)
            tour.templates()
            tour.run("tour_first_run")
            tour.search()
            tour.by_mouse()
            if args.methods:
                tour.methods()
            tour.run("tour_nodes_2", nodes2=True)
            tour.run("tour_french", "fr")
            browser.close()
    print("\n".join(tour.failed) or "No step failed.")
    return 1 if tour.failed else 0


if __name__ == "__main__":
    sys.exit(main())
