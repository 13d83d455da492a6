"""Is nursing worth its time? Right pictures per unit of compute, against pressing the button again with other seeds.

    python3 tools/dev.py worth --write docs/worth.md
    python3 tools/dev.py worth --model sd3 --objects 2 3 --pairs 200 --write docs/worth.md

The unit is a forward pass of the model: a sampling step costs two (prompt and negative prompt), a shift a forward and a backward
pass of the prompt alone, which cost as much as two (weights are frozen; that passes end after the last attention layer needed is
not counted in their favour), a look that ends the shifts one. Passes are those of each picture, as when it is made alone.
Rerolling is judged as kindly as can be: by the detector, that is by a person who sees every picture, knows at once whether it
is right, and whose looking costs nothing.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tools.compare import recipes_of, write
from tools.eval import HOW, SD3_READS, versions
from tools.paired_run import Demo, Sampling, judge, pack_module
from tools.paired_statistics import compare, percent
from tools.tiny.prompts import Prompt, prompts

MARKS = {
    "sd": ("<!-- worth: written by tools/dev.py worth -->\n", "<!-- worth: end -->\n"),
    "sd3": ("<!-- worth sd3: written by tools/dev.py worth -->\n", "<!-- worth sd3: end -->\n"),
}
READS = {"sd": "", "sd3": SD3_READS}  # overrides of every method
PUBLISHED_AT, FAST_AT = {"sd": 0.1, "sd3": 0.3}, {"sd": 0.1, "sd3": 0.2}  # shares of the schedule
REROLLS = 3
OTHER_SEEDS = 1_000_000  # between the seeds of a prompt's rerolls
PUBLISHED, FAST = "Latent Refine, 50 shifts", "Latent Refine (fast)"
STOPPING, PLUS = "50 shifts, looking first and stopping", "Latent Refine + SynGen, Ours+"
FAST_AGAIN = "reroll 1, fast"
PRESENT = 0.8


@dataclass(frozen=True)
class Made:
    """One picture: is it right? forwards and backwards beside its sampling steps; the weakest subject's attention at the first look."""

    right: bool
    forwards: int = 0
    backwards: int = 0
    weakest: float = math.nan


def ways(model: str, scale: float) -> dict[str, tuple]:
    """What is compared with plain pictures, as recipes: the settings measured for this model, and Ours+ as published."""
    presets, settings, schedule = (
        pack_module(f"gsn_ops.{name}") for name in ("optimise.presets", "optimise.settings", "schedule")
    )
    published, fast = (
        settings.override(
            settings.moved(presets.preset(name), schedule.Moment(percent=at[model])), READS[model]
        )
        for name, at in ((presets.LATENT_REFINE, PUBLISHED_AT), (presets.FAST, FAST_AT))
    )
    published = settings.override(published, "pieces=noun")
    plus = settings.override(
        recipes_of("Latent Refine + SynGen, Ours+ (Grimal et al. 2025)", scale), READS[model]
    )
    found = {
        PUBLISHED: published,
        STOPPING: settings.override(published, f"stop_at_presence={PRESENT}"),
        FAST: fast,
        PLUS: plus,
    }
    return {
        name: tuple(replace(recipe, report="curve") for recipe in recipes) for name, recipes in found.items()
    }


def make(demo: Demo, recipes: tuple, some: Sequence[Prompt], how: Sampling) -> list[Made]:
    """Pictures of one batch. A picture's passes end where it stops, whatever the others of its batch do."""
    if not recipes:
        return [Made(verdict.objects) for verdict in judge(demo.sample(demo.model, some, how), some)]
    model, book = demo.attach(demo.model, *recipes)
    latents = demo.sample(model, some, how)
    actions = book.find(latents).recipes
    looks = [
        sum(not math.isnan(row[i]) for action in actions for row in action.losses) for i in range(len(some))
    ]
    shifts = [sum(action.updates[i] for action in actions) for i in range(len(some))]
    return [
        Made(verdict.objects, forwards, backwards, min(actions[0].maxima_before[i]))
        for i, (verdict, forwards, backwards) in enumerate(
            zip(judge(latents, some), looks, shifts, strict=True)
        )
    ]


def jobs(model: str, scale: float) -> dict[str, tuple[int, tuple]]:
    """Name -> (which seed of a prompt, recipes)."""
    again, methods = {f"reroll {n}": (n, ()) for n in range(1, REROLLS + 1)}, ways(model, scale)
    return {
        "plain": (0, ()),
        **again,
        **{name: (0, recipes) for name, recipes in methods.items()},
        FAST_AGAIN: (1, methods[FAST]),
    }


Pictures = dict[str, list[Made]]  # job -> one per prompt


def measure(
    demo: Demo, wanted: dict[int, list[Prompt]], args: argparse.Namespace, how: Sampling
) -> dict[int, Pictures]:
    """Every picture of every job, the sizes taking turns; what the folder --keep holds is not made again."""
    kind = "" if args.model == "sd" else f"{args.model}_"
    files = {
        objects: args.keep and args.keep / f"{kind}{args.split}_{objects}_{args.steps}.json"
        for objects in wanted
    }
    made = {
        objects: {name: [Made(**m) for m in rows] for name, rows in json.loads(file.read_text()).items()}
        if file and file.exists()
        else {}
        for objects, file in files.items()
    }
    for start in range(0, args.pairs, args.batch):
        for objects, all_prompts in wanted.items():
            some = all_prompts[start : start + args.batch]
            for name, (n, recipes) in jobs(args.model, args.scale).items():
                rows = made[objects].setdefault(name, [])
                if len(rows) < start + len(some):
                    del rows[start:]
                    rows += make(
                        demo, recipes, [replace(p, seed=p.seed + n * OTHER_SEEDS) for p in some], how
                    )
            if files[objects]:
                args.keep.mkdir(parents=True, exist_ok=True)
                files[objects].write_text(
                    json.dumps({name: [asdict(m) for m in rows] for name, rows in made[objects].items()})
                )
            print(
                f"  {objects} objects, {start + len(some)} of {args.pairs}: "
                + ", ".join(f"{name} {sum(m.right for m in rows)}" for name, rows in made[objects].items()),
                flush=True,
            )
    return {
        objects: {name: rows[: args.pairs] for name, rows in found.items()} for objects, found in made.items()
    }


def clock(demo: Demo, wanted: list[Prompt], args: argparse.Namespace, how: Sampling) -> dict[str, float]:
    """Seconds per picture of each job, made one at a time, the jobs taking turns. NaN without a prompt."""
    all_jobs = jobs(args.model, args.scale)
    seconds = dict.fromkeys(all_jobs, 0.0 if wanted else math.nan)
    for prompt in wanted:
        for name, (_, recipes) in all_jobs.items():
            begun = time.monotonic()
            make(demo, recipes, [prompt], how)
            seconds[name] += (time.monotonic() - begun) / len(wanted)
    return seconds


Row = tuple[str, list[bool], list[float], float]  # name, right, passes, seconds (NaN = not measured)


def rows_of(made: Pictures, seconds: dict[str, float], steps: int) -> list[Row]:
    """Each way of spending compute: which prompts end with a right picture, and what each of them cost."""
    plain, sampling = made["plain"], 2 * steps
    rolls = [plain, *(made[f"reroll {n}"] for n in range(1, REROLLS + 1))]
    each = seconds.get("plain", math.nan)
    rows: list[Row] = [("plain", [m.right for m in plain], [sampling] * len(plain), each)]
    for n in range(1, REROLLS + 1):
        right = [
            any(tries) for tries in zip(*([m.right for m in roll] for roll in rolls[: n + 1]), strict=True)
        ]
        needed = [next((i + 1 for i in range(n) if rolls[i][k].right), n + 1) for k in range(len(plain))]
        rows.append(
            (f"best of {n + 1} seeds, all made", right, [(n + 1) * sampling] * len(plain), (n + 1) * each)
        )
        rows.append(
            (
                f"seeds until right, at most {n + 1}",
                right,
                [t * sampling for t in needed],
                sum(needed) / len(needed) * each,
            )
        )

    def cost(m: Made) -> float:
        return sampling + m.forwards + m.backwards

    for name in (n for n in made if n in seconds and n != "plain" and not n.startswith("reroll")):
        rows.append((name, [m.right for m in made[name]], [cost(m) for m in made[name]], seconds[name]))
    alone = [m.weakest >= PRESENT for m in made[PUBLISHED]]
    rows.append(
        (
            f"50 shifts, looking first ({sum(alone) / len(alone):.0%} left alone)",
            [(p if left else m).right for p, m, left in zip(plain, made[PUBLISHED], alone, strict=True)],
            [sampling + 1 if left else cost(m) for m, left in zip(made[PUBLISHED], alone, strict=True)],
            math.nan,
        )
    )
    fast, again = made[FAST], made[FAST_AGAIN]
    rows.append(
        (
            f"{FAST}, seeds until right, at most 2",
            [a.right or b.right for a, b in zip(fast, again, strict=True)],
            [cost(a) + (0 if a.right else cost(b)) for a, b in zip(fast, again, strict=True)],
            seconds[FAST] + sum(not m.right for m in fast) / len(fast) * seconds[FAST_AGAIN],
        )
    )
    for name in (PUBLISHED, FAST):
        rows.append(
            (
                f"plain, where wrong again with {name}",
                [p.right or m.right for p, m in zip(plain, made[name], strict=True)],
                [sampling + (0 if p.right else cost(m)) for p, m in zip(plain, made[name], strict=True)],
                math.nan,
            )
        )
    return rows


def table(title: str, rows: list[Row], steps: int) -> list[str]:
    """Markdown. Passes per right picture: all that was spent by the number of prompts with a right picture."""
    n, plain = len(rows[0][1]), rows[0][1]
    lines = [
        f"### {title}, n = {n}",
        "",
        "| way | right (95 %) | mended | now wrong | passes a picture | beside sampling | passes per right picture | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, right, passes, seconds in rows:
        found, spent = compare(zip(plain, right, strict=True)), sum(passes)
        beside = (
            "" if "seed" in name or "where" in name or name == "plain" else f"{spent / n - 2 * steps:.1f}"
        )
        lines.append(
            f"| {name} | {percent(sum(right), n)} | {found.mended} | {found.broken} | {spent / n:.1f} | {beside} "
            f"| {spent / max(1, sum(right)):.0f} | {'' if math.isnan(seconds) else f'{seconds:.2f}'} |"
        )
    right = {name: r for name, r, *_ in rows}
    found = compare(zip(right[PUBLISHED], right[FAST], strict=True))
    return [
        *lines,
        "",
        f"The fast method against the 50 shifts on the same pictures: {found.points:+.1f} points, McNemar p = {found.p:.2g} "
        f"({found.mended} right only with it, {found.broken} only with the 50).",
        "",
    ]


def joined(parts: Sequence[list[Row]]) -> list[Row]:
    """The tables of several sizes as one; seconds weighted by pictures."""
    rows = []
    for same in zip(*parts, strict=True):
        total = sum(len(r[1]) for r in same)
        rows.append(
            (
                same[0][0].split(" (")[0] if "left alone" in same[0][0] else same[0][0],
                sum((r[1] for r in same), []),
                sum((r[2] for r in same), []),
                sum(r[3] * len(r[1]) for r in same) / total,
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/dev.py worth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        choices=tuple(HOW),
        default="sd",
        help="the embedded model: SD's layout (UNet) or SD3's (MM-DiT)",
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--pairs", type=int, default=300, help="prompts of each size: a mixed set of easy and hard ones"
    )
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--scale", type=float, default=0.2, help="of the gradient steps of Ours+ (as in dev.py compare)"
    )
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument(
        "--timed",
        type=int,
        default=5,
        help="prompts of each size that are made once more, alone, for the seconds",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        help="a folder that keeps what was made, so that a run which was cut off can go on",
    )
    parser.add_argument("--write", type=Path, help="a markdown file to put the tables into")
    args = parser.parse_args()
    args.file = None
    demo, how, parts, lines = Demo(layout=args.model), replace(HOW[args.model], steps=args.steps), [], []
    wanted = {objects: prompts(objects, args.pairs, args.split) for objects in args.objects}
    made = measure(demo, wanted, args, how)
    for objects in args.objects:
        seconds = clock(demo, wanted[objects][: args.timed], args, how)
        parts.append(rows_of(made[objects], seconds, args.steps))
        lines += table(f"{objects} object{'s' if objects > 1 else ''}", parts[-1], args.steps)
    if len(parts) > 1:
        lines = [*table("Mixed", joined(parts), args.steps), *lines]
    facts = ", ".join(f"{key} {value}" for key, value in versions(args).items())
    model = "" if args.model == "sd" else f"--model {args.model} "
    command = f"python3 tools/dev.py worth {model}--pairs {args.pairs} --objects {' '.join(map(str, args.objects))} --steps {args.steps}"
    text = "\n".join(
        [
            f"`{command}` ({args.split} prompts, {how.sampler} + {how.scheduler}, cfg {how.cfg:g}; guidance of Ours+ x "
            f"{args.scale:g}; {facts}):",
            "",
            *lines,
        ]
    )
    print("\n" + text)
    if args.write:
        write(args.write, text, *MARKS[args.model])


if __name__ == "__main__":
    main()
