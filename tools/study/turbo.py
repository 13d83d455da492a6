"""Plain images of the turbo demo model beside its teacher's, the SD3-like one's: the same prompts and noise.

    python3 tools/dev.py run -m tools.study.turbo --pairs 100 --write docs/demo_models.md
    python3 tools/dev.py run -m tools.study.turbo --pairs 300 --split test --write docs/demo_models.md

Right is an image with all requested shapes.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from tools.tiny.prompts import prompts

from .data import HOW
from .embedded import Demo, Verdict, judge
from .paired_statistics import percent
from .tables import markdown, write_between

BATCH = 20
OBJECTS = (1, 2, 3)
TEACHER, STUDENT = "SD3 layout (MM-DiT)", "its turbo model"
RUNS = {  # name -> model, steps, CFG; passes of an image: steps, and twice as many with CFG
    f"{TEACHER}, 20 steps, CFG 4": ("sd3", 20, 4.0),
    f"{TEACHER}, 8 steps, CFG 4": ("sd3", 8, 4.0),
    f"{TEACHER}, 8 steps, CFG 1": ("sd3", 8, 1.0),
    f"{STUDENT}, 8 steps, CFG 1": ("sd3-turbo", 8, 1.0),
    f"{STUDENT}, 4 steps, CFG 1": ("sd3-turbo", 4, 1.0),
}
HEADS = ("run", "passes", *(f"{n} {'object' if n == 1 else 'objects'}" for n in OBJECTS), "3, colours too")


def measure(demo: Demo, model: str, steps: int, cfg: float, objects: int, args: argparse.Namespace):
    """The verdicts on plain images of prompts with this number of objects."""
    how, verdicts = replace(HOW[model], steps=steps, cfg=cfg), list[Verdict]()
    asked = prompts(objects, args.pairs, args.split)
    for start in range(0, args.pairs, BATCH):
        batch = asked[start : start + BATCH]
        verdicts += judge(demo.sample(demo.model, batch, how), batch)
    return verdicts


def row(name: str, demo: Demo, args: argparse.Namespace) -> tuple[str, ...]:
    """A line of the table."""
    model, steps, cfg = RUNS[name]
    made = [measure(demo, model, steps, cfg, objects, args) for objects in OBJECTS]
    shares = [percent(sum(v.objects for v in verdicts), args.pairs) for verdicts in made]
    colours = percent(sum(v.colours for v in made[-1]), args.pairs)
    return name, str(steps * (1 if cfg == 1 else 2)), *shares, colours


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=100, help="prompts of each number of objects")
    parser.add_argument("--split", default="validation", choices=("test", "validation"))
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="runs with this in their name")
    parser.add_argument("--file", type=Path, help="another file of the turbo model's kind")
    parser.add_argument("--write", type=Path, help="a markdown file to put the table into")
    args = parser.parse_args()
    demos: dict[str, Demo] = {}
    rows = []
    for name, (model, _, _) in RUNS.items():
        if args.only and not any(text in name for text in args.only):
            continue
        file = args.file if model == "sd3-turbo" else None
        demos[model] = demos.get(model) or Demo(file, model)
        rows.append(row(name, demos[model], args))
        print(" | ".join(rows[-1]), flush=True)
    text = "\n".join([f"n = {args.pairs} {args.split} prompts of each size, 95 % intervals:", ""])
    text += "\n" + "\n".join(markdown(HEADS, rows))
    if args.write:
        write_between(args.write, text, f"study turbo {args.split}")


if __name__ == "__main__":
    main()
