"""Does the best of several starts, by Seed Picker's early look, give more right images than the first?

    python3 tools/dev.py run -m tools.study.picked --pairs 200 --write docs/seeds.md
    python3 tools/dev.py run -m tools.study.picked --model sd3-turbo --steps 4 --write docs/seeds.md

Eight seeds of each prompt are looked at inside the model call that Seed Picker takes by itself. The first,
and the best of the first two, four and eight by each ranking, are sampled in one batch and judged. Results
are appended prompt by prompt, so that a run that was ended goes on where it was.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev

from gsn_ops.start_scores import best_look, passes_per_image, right_when_picked
from tools.host_env.inprocess import pack_module
from tools.host_env.paths import CLONE, HOST_DIR
from tools.tiny.prompts import Prompt, prompts

from .data import HOW, NEW_SEED_DISTANCE, Sampling
from .options import at_least_one
from .paired_statistics import compare, percent
from .tables import markdown, write_between

SEEDS, OBJECTS = 8, (2, 3)
COUNTS = (1, 2, 4, 8)
NAMES = {"presence": "max", "focus": "focus"}  # rank_by -> its name in the records
RECORDS = HOST_DIR / "study" / "picked_{}.jsonl"
HEADS = ("starts", "model passes", "by presence (95 %)", "points", "McNemar p", "by focus (95 %)")


SHARES, AUCS = (0.1, 0.35, 0.65), (0.75, 0.84, 0.9)


def passes(starts: int, how: Sampling, look_at: int) -> int:
    """Passes of one image: the model calls up to the look per start and the rest of the best one; a call is
    two passes, at CFG 1 one."""
    return int(passes_per_image(starts, 1, look_at, how.steps, per_step=1 if how.cfg == 1 else 2))


def expected() -> str:
    """A table of what to expect of the best of several starts, by how well a look ranks them."""
    heads = ("ranking (AUC)", "of all images right", *(f"best of {n}" for n in COUNTS))
    rows = [
        (f"{auc:g}", f"{share:.0%}", *(f"{right_when_picked(n, share, auc):.0%}" for n in COUNTS))
        for auc in AUCS
        for share in SHARES
    ]
    return "\n".join(markdown(heads, rows)) + "\n"


def read(path: Path) -> list[dict]:
    """The records of a file; a last line that was cut off is left out."""
    whole = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines(keepends=True) if line.endswith("\n")]


def missing(pairs: int, split: str, records: list[dict]) -> Iterator[tuple[int, Prompt]]:
    """(number of objects, prompt) that have no record; the numbers take turns."""
    done = {(r["objects"], r["text"], r["seed"]) for r in records}
    lists = {n: prompts(n, pairs, split) for n in OBJECTS}
    for i in range(pairs):
        for n in OBJECTS:
            prompt = lists[n][i]
            if (n, prompt.text, prompt.seed) not in done:
                yield n, prompt


def make(demo, how: Sampling, look_at: int, prompt: Prompt) -> dict:
    """The looks at all seeds of a prompt, what is picked of them, and which of those are right."""
    from .embedded import judge

    picker = pack_module("gsn_ops.host.sampling.seed_picker")
    seeds = [prompt.seed + k * NEW_SEED_DISTANCE for k in range(SEEDS)]
    settings = picker.PickSettings(tuple(seeds), look_at=look_at, finish=False)
    conditionings = demo.encode([prompt.text]), demo.encode([""])
    numbers = (how.steps, how.cfg, how.sampler, how.scheduler)
    _, found = picker.pick_seeds(demo.model, settings, (), numbers, conditionings, empty_latent())
    looks = [[start.score.maxima, start.score.focus] for start in found.starts]
    picks = {
        f"{name}{n}": max(range(n), key=lambda k, what=what: min(looks[k][what]))
        for what, name in enumerate(NAMES.values())
        for n in COUNTS
    }
    picked = sorted(set(picks.values()))
    finished = [replace(prompt, seed=seeds[k]) for k in picked]
    verdicts = judge(demo.sample(demo.model, finished, how), finished)
    right = {str(k): [v.objects, v.colours] for k, v in zip(picked, verdicts, strict=True)}
    return {"looks": looks, "picks": picks, "right": right}


def empty_latent() -> dict:
    """A LATENT of the demo models."""
    import torch

    return {"samples": torch.zeros(1, 4, 32, 32)}


def run(model: str, how: Sampling, look_at: int, pairs: int, split: str, path: Path) -> None:
    """Makes the records that the file does not have."""
    from .embedded import Demo

    records = read(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps(r) + "\n" for r in records), "utf-8"
    )  # without a line that was cut off
    demo = None
    for n, prompt in missing(pairs, split, records):
        demo = demo or Demo(None, model)
        starts = make(demo, how, look_at, prompt)
        record = {"objects": n, "text": prompt.text, "seed": prompt.seed, "starts": starts}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def is_right(record: dict, rank_by: str, n: int) -> bool:
    """Whether the best of the first n starts has all wanted shapes."""
    starts = record["starts"]
    return starts["right"][str(starts["picks"][f"{NAMES[rank_by]}{n}"])][0]


def tables(how: Sampling, look_at: int, records: list[dict]) -> list[str]:
    """A table for each number of objects, and how much the seeds differ."""
    lines = []
    for objects in OBJECTS:
        own = [r for r in records if r["objects"] == objects]
        if not own:
            continue
        first, rows = [is_right(r, "presence", 1) for r in own], []
        for n in COUNTS:
            best = {by: [is_right(r, by, n) for r in own] for by in NAMES}
            found = compare(zip(first, best["presence"], strict=True))
            gained = (f"{found.points:+.1f}", f"{found.p:.2g}") if n > 1 else ("", "")
            by_presence, by_focus = (percent(sum(best[by]), len(own)) for by in NAMES)
            rows.append((str(n), str(passes(n, how, look_at)), by_presence, *gained, by_focus))
        spread = fmean(pstdev(min(look[0]) for look in r["starts"]["looks"]) for r in own)
        lines += [f"### {objects} objects, n = {len(own)}", "", *markdown(HEADS, rows)]
        lines += [f"Spread over the seeds of a prompt, mean: {spread:.2f}.", ""]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/dev.py run -m tools.study.picked", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", choices=tuple(HOW), default="sd")
    parser.add_argument("--steps", type=at_least_one, help="sampling steps (default: 20; of sd3-turbo 8)")
    parser.add_argument("--look-at", type=at_least_one, help="a model call (default: Seed Picker's)")
    parser.add_argument("--pairs", type=int, default=200, help="prompts of each number of objects")
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    where = RECORDS.relative_to(CLONE)
    parser.add_argument("--records", type=Path, help=f"the file of records (default: {where})")
    parser.add_argument("--write", type=Path, help="a markdown file to put the tables into")
    parser.add_argument("--expected", action="store_true", help="the table of what to expect")
    args = parser.parse_args()
    if args.expected:
        print(expected())
        if args.write:
            write_between(args.write, expected(), "study picked expected")
        return
    how = HOW[args.model]
    how = replace(how, steps=args.steps or how.steps)
    look_at = args.look_at or best_look(how.steps, args.model != "sd")
    name = args.model if how == HOW[args.model] else f"{args.model} {how.steps} steps"
    path = args.records or Path(str(RECORDS).format(name.replace(" ", "_")))
    run(args.model, how, look_at, args.pairs, args.split, path)
    text = "\n".join(tables(how, look_at, read(path)))
    print(text)
    if args.write:
        write_between(args.write, text, f"study picked {name}")


if __name__ == "__main__":
    main()
