"""Show what the pack does: the real server, the shipped workflow, plain beside refined, judged by a detector.

    python3 tools/dev.py demo

Prompts and seeds are those of the test split, which nothing was chosen with.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from gsn_ops.judge.demo_detector import detect, success
from gsn_ops.report.drawing.canvas import to_image, wrap
from gsn_ops.report.drawing.cards import contact_sheet
from gsn_ops.report.drawing.charts import SMALL
from tools.host_env.client import Client
from tools.host_env.paths import CLONE
from tools.host_env.server import running_server
from tools.study.paired_statistics import compare, percent
from tools.tiny.prompts import Prompt, prompts
from tools.workflows import demo as demo_workflow

OUTPUT = CLONE / "demo_output"
README_PICTURE = CLONE / "docs" / "plain_beside_refined.png"
THREE, TWO = 9, 3  # prompts with three and with two objects
BATCH = 8  # seeds per prompt
GAP = 8  # pixels between the two images of a pair


@dataclass(frozen=True)
class Judged:
    """Both images [h, w, 3] uint8 of one prompt and seed, and whether each has all that is wanted.

    number counts within the batch of the prompt.
    """

    prompt: Prompt
    number: int
    plain: np.ndarray
    refined: np.ndarray
    plain_right: bool
    refined_right: bool

    @property
    def outcome(self) -> tuple[bool, bool]:
        """(plain is right, refined is right)."""
        return self.plain_right, self.refined_right


def chosen(three: int = THREE, two: int = TWO) -> list[Prompt]:
    """The demo's prompts."""
    return prompts(3, three, "test") + prompts(2, two, "test")


def run_prompt(client: Client, workflow: dict, prompt: Prompt, batch: int, steps: int) -> list[Judged]:
    """One prompt in the workflow, through the server's queue: `batch` pairs, fetched and judged."""
    workflow = demo_workflow.substitute(workflow, prompt.text, prompt.seed, batch, steps)
    entry = client.run(workflow)
    saved = client.images(entry, demo_workflow.find(workflow, "SaveImage"))
    judged = []
    for number, png in enumerate(saved):
        pair = demo_workflow.halves(png)
        right = [success(detect(image), list(prompt.wanted))[0] for image in pair]
        judged.append(Judged(prompt, number, *pair, *right))
    return judged


def run_all(client: Client, workflow: dict, wanted: Sequence[Prompt], batch: int, steps: int) -> list[Judged]:
    """All prompts, with a line after each."""
    judged = []
    with tqdm(wanted, unit="prompt") as progress:
        for prompt in progress:
            some = run_prompt(client, workflow, prompt, batch, steps)
            judged += some
            plain, refined = (sum(right) for right in zip(*(j.outcome for j in some), strict=True))
            progress.write(f"  {prompt.text}: of {len(some)} right {plain} plain, {refined} refined")
    return judged


def summary(judged: Sequence[Judged]) -> str:
    """Success with intervals, and what changed."""
    found = compare(j.outcome for j in judged)
    return (
        f"All objects of the prompt are in the image ({found.n} pairs, 95 % intervals):\n"
        f"  plain    {percent(found.plain, found.n)}\n"
        f"  refined  {percent(found.refined, found.n)}   {found.points:+.1f} points, "
        f"McNemar p = {found.p:.2g}\n"
        f"  fixed {found.fixed}, broken {found.broken} (right before, wrong after)"
    )


def pair_sheet(pairs: Sequence[Judged], columns: int, side: int = 160, title: str = "") -> Image.Image:
    """Plain beside refined for every pair, prompt and verdicts below. side: of one image, in pixels."""
    cell, cells, labels = 2 * side + GAP, [], []
    for pair in pairs:
        h, w, _ = pair.plain.shape
        paper = np.full((h, GAP * w // side, 3), 255, np.uint8)
        cells.append(np.concatenate([pair.plain, paper, pair.refined], axis=1) / 255)
        plain, refined = ("all found" if right else "not all found" for right in pair.outcome)
        labels.append(
            "\n".join([*wrap(pair.prompt.text, SMALL, cell), f"plain: {plain}; refined: {refined}"])
        )
    return to_image(contact_sheet(cells, labels, columns, cell, title))


def save_sheet(judged: Sequence[Judged], file: Path, pairs: int = 12, columns: int = 3) -> None:
    """The first seed of every prompt, then the second, ...: nothing picked by its result."""
    picked = sorted(judged, key=lambda j: j.number)[:pairs]
    file.parent.mkdir(parents=True, exist_ok=True)
    pair_sheet(picked, columns, title="Plain beside refined: same model, prompt and seed").save(file)


def save_readme_picture(judged: Sequence[Judged], file: Path, pairs: int = 4) -> None:
    """The first fixed pair of each of the first prompts: an example, not a measure of how often."""
    fixed = {j.prompt.text: j for j in reversed(judged) if j.outcome == (False, True)}
    order = [text for text in dict.fromkeys(j.prompt.text for j in judged) if text in fixed][:pairs]
    sheet = pair_sheet([fixed[text] for text in order], columns=2, side=192)
    shades = [min(255, 4 * round(v / 4)) for v in range(256)]  # 64 of them: half the size
    sheet.point(shades * 3).save(file, optimize=True)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="tools/dev.py demo", description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=20, help="sampling steps of the many pairs (default 20)")
    where = README_PICTURE.relative_to(CLONE)
    parser.add_argument("--readme-picture", action="store_true", help=f"also write {where}")
    args = parser.parse_args()
    begun = time.monotonic()
    print("Starting ComfyUI with this pack ...", flush=True)
    with running_server() as server:
        client = Client(server.url)
        workflow = demo_workflow.shipped()
        entry = client.run(workflow)
        print(
            f"The shipped workflow ran: {len(client.images(entry))} images. "
            f"Now {len(chosen())} prompts with {BATCH} seeds each, {args.steps} steps:",
            flush=True,
        )
        judged = run_all(client, workflow, chosen(), BATCH, args.steps)
    print("\n" + summary(judged))
    sheet = OUTPUT / "contact_sheet.png"
    save_sheet(judged, sheet)
    print(f"Images: {sheet}")
    if args.readme_picture:
        save_readme_picture(judged, README_PICTURE)
        print(f"Image of the README: {README_PICTURE}")
    print(f"It took {time.monotonic() - begun:.0f} s.")


if __name__ == "__main__":
    main()
