"""Show what the pack does: the real server, the shipped workflow, plain beside refined, judged by a detector.

    python3 tools/dev.py demo

Prompts and seeds are those of the test split, which nothing was chosen with.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from tools import demo_workflow
from tools.demo_sheet import Pair, pair_sheet
from tools.host_env.client import Client
from tools.host_env.paths import CLONE
from tools.host_env.server import running_server
from tools.paired_statistics import compare, percent
from tools.tiny.detector import detect, success
from tools.tiny.prompts import Prompt, prompts

OUTPUT = CLONE / "demo_output"
README_PICTURE = CLONE / "docs" / "plain_beside_refined.png"
THREE, TWO = 9, 3  # prompts with three and with two objects
BATCH = 8  # seeds per prompt


@dataclass(frozen=True)
class Judged:
    """Both pictures of one prompt and seed; `number` counts within the batch of the prompt."""

    prompt: Prompt
    number: int
    pair: Pair

    @property
    def outcome(self) -> tuple[bool, bool]:
        return self.pair.plain_right, self.pair.refined_right


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
        plain, refined = demo_workflow.halves(png)
        right = [success(detect(picture), list(prompt.wanted))[0] for picture in (plain, refined)]
        judged.append(Judged(prompt, number, Pair(prompt.text, plain, refined, *right)))
    return judged


def run_all(client: Client, workflow: dict, wanted: list[Prompt], batch: int, steps: int) -> list[Judged]:
    """All prompts, with a line of progress after each."""
    judged, begun = [], time.monotonic()
    for number, prompt in enumerate(wanted, 1):
        some = run_prompt(client, workflow, prompt, batch, steps)
        judged += some
        left = (time.monotonic() - begun) / number * (len(wanted) - number)
        print(
            f"  {number:2d} of {len(wanted)}, {prompt.text}: of {len(some)} right {sum(j.outcome[0] for j in some)} plain, "
            f"{sum(j.outcome[1] for j in some)} refined; about {left:.0f} s left",
            flush=True,
        )
    return judged


def summary(judged: list[Judged]) -> str:
    """Success with intervals, and what changed."""
    found = compare(j.outcome for j in judged)
    return (
        f"All objects of the prompt are in the picture ({found.n} pairs, 95 % intervals):\n"
        f"  plain    {percent(found.plain, found.n)}\n"
        f"  refined  {percent(found.refined, found.n)}   {found.points:+.1f} points, McNemar p = {found.p:.2g}\n"
        f"  mended {found.mended}, broken {found.broken} (right before, wrong after)"
    )


def save_sheet(judged: list[Judged], file: Path, pairs: int = 12, columns: int = 6) -> None:
    """The first seed of every prompt, then the second, ...: nothing picked by its result."""
    picked = sorted(judged, key=lambda j: j.number)[:pairs]
    file.parent.mkdir(parents=True, exist_ok=True)
    pair_sheet(
        [j.pair for j in picked], columns, title="Plain above refined: same model, prompt and seed"
    ).save(file)


def save_readme_picture(judged: list[Judged], file: Path, pairs: int = 4) -> None:
    """The first mended pair of each of the first prompts: an example of what is mended, not a measure of how often."""
    mended = {j.prompt.text: j.pair for j in reversed(judged) if j.outcome == (False, True)}
    order = [text for text in dict.fromkeys(j.prompt.text for j in judged) if text in mended][:pairs]
    sheet = pair_sheet([mended[text] for text in order], len(order), side=192)
    sheet.point([min(255, 4 * round(v / 4)) for v in range(256)] * 3).save(
        file, optimize=True
    )  # 64 shades: half the size


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/dev.py demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20, help="sampling steps of the many pairs (default 20)")
    parser.add_argument(
        "--readme-picture", action="store_true", help=f"also write {README_PICTURE.relative_to(CLONE)}"
    )
    args = parser.parse_args()
    begun = time.monotonic()
    print("Starting ComfyUI with this pack ...", flush=True)
    with running_server() as server:
        client = Client(server.url)
        workflow = demo_workflow.shipped()
        entry = client.run(workflow)
        print(
            f"The shipped workflow ran: {len(client.images(entry))} pictures. Now {len(chosen())} prompts with {BATCH} seeds each, "
            f"{args.steps} steps:",
            flush=True,
        )
        judged = run_all(client, workflow, chosen(), BATCH, args.steps)
    print("\n" + summary(judged))
    sheet = OUTPUT / "contact_sheet.png"
    save_sheet(judged, sheet)
    print(f"Pictures: {sheet}")
    if args.readme_picture:
        save_readme_picture(judged, README_PICTURE)
        print(f"Picture of the README: {README_PICTURE}")
    print(f"It took {time.monotonic() - begun:.0f} s.")


if __name__ == "__main__":
    main()
