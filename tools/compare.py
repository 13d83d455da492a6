"""Every published method on the embedded model: the same prompts and the same noise, one table.

    python3 tools/dev.py compare --pairs 200 --objects 2 3 --processes 3 --write docs/results.md

Numbers are the papers', with one exception that the table states: gradient steps (guidance) are scaled by --scale, because
20 is far too large for this model. Layout methods get one box per subject, side by side in the order of the prompt.
"""

import argparse
import hashlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from tools.eval import versions
from tools.paired_run import Demo, Sampling, Verdict, judge, pack_module
from tools.paired_statistics import compare, percent
from tools.tiny.prompts import Prompt, prompts

BEGIN, END = "<!-- compare: written by tools/dev.py compare -->\n", "<!-- compare: end -->\n"
PLAIN = "plain"
LATENT_REFINE = "Latent Refine (Grimal et al. 2025)"
NOT_HERE = {"FOCUS (2025)": "this model is no flow model"}
NEGLECT, PLAIN_NEGLECT = (
    "Neglect (USTC study 2024)",
    "plain, for Neglect",
)  # judged otherwise, in a table of their own
SLOW = "SAGA"  # ten passes per update: only when named
EARLIER, NOUNS = (
    "Latent Refine at 10 % of the schedule (this model's step)",
    "Latent Refine at 10 %, nouns only (the demo's settings)",
)
VARIANTS = {  # rows beside the published methods
    EARLIER: (LATENT_REFINE, {"at_percent": 0.1}),
    NOUNS: (LATENT_REFINE, {"at_percent": 0.1, "pieces": "noun"}),
}
PAIRS = (  # title, first, second: tested against each other beside each one's test against plain
    ("Ours+ against Ours", LATENT_REFINE, "Latent Refine + SynGen, Ours+ (Grimal et al. 2025)"),
    ("Nouns against whole phrases, at 10 %", EARLIER, NOUNS),
)


@dataclass(frozen=True)
class Task:
    """One method on the prompts of one size."""

    method: str
    objects: int
    pairs: int
    split: str
    how: Sampling
    scale: float
    batch: int


@dataclass(frozen=True)
class Done:
    """Its verdicts, seconds per picture, and passes of the model per batch."""

    task: Task
    verdicts: list[Verdict]
    seconds: float
    forwards: float
    backwards: float


def recipes_of(method: str, scale: float) -> tuple:
    """The method's recipes with this model's scale of gradient steps."""
    presets, settings, schedule = (
        pack_module(f"gsn_ops.{name}") for name in ("optimise.presets", "optimise.settings", "schedule")
    )
    name, changes = VARIANTS.get(method, (method, {}))
    recipes = presets.preset(name)
    if "at_percent" in changes:
        recipes = settings.moved(recipes, schedule.Moment(percent=changes["at_percent"]))
    if "pieces" in changes:
        recipes = tuple(
            replace(
                r, objective=replace(r.objective, maps=replace(r.objective.maps, pieces=changes["pieces"]))
            )
            for r in recipes
        )
    return tuple(replace(r.scaled(scale) if hasattr(r, "step_size") else r, report="curve") for r in recipes)


def with_unwanted(recipes: tuple, prompt: Prompt) -> tuple:
    """The recipes with the subjects of a prompt of this form, the last one unwanted."""
    subjects, find = (pack_module(f"gsn_ops.{name}") for name in ("subjects", "captions"))
    *wanted, last = (phrase.label for phrase in find.find_subjects(prompt.text)[0])
    return tuple(
        replace(r, subjects=subjects.parse_subjects(", ".join([*wanted, f"-{last}"]))) for r in recipes
    )


def judge_neglect(latents: Tensor, prompts: Sequence[Prompt]) -> list[Verdict]:
    """Right is a picture that has all the things of its prompt but the last, and not that one."""
    rest = judge(latents, [replace(p, wanted=p.wanted[:-1]) for p in prompts])
    last = judge(latents, [replace(p, wanted=p.wanted[-1:]) for p in prompts])
    return [
        Verdict(a.objects and not b.objects, a.colours and not b.colours)
        for a, b in zip(rest, last, strict=True)
    ]


class Placed(Demo):
    """A Demo whose prompts say where their subjects shall be."""

    def encode(self, texts: Sequence[str]) -> list:
        conditioning = super().encode(texts)
        tools, region, find = (
            pack_module(f"gsn_ops.{name}") for name in ("host.prompt_tokens", "regions", "captions")
        )
        subjects = find.find_subjects(texts[0])[0] if texts[0] else []
        for i, phrase in enumerate(subjects):
            left, right = i / len(subjects), (i + 1) / len(subjects)
            box = region.Region(boxes=((left, 0.2, right, 0.8),), point=((left + right) / 2, 0.5))
            conditioning = tools.with_region(conditioning, (phrase,), box)
        return conditioning


_demo: Placed | None = None  # one per process


def kept(task: Task, folder: Path | None) -> Done:
    """A task's result, from the folder if it was done before: a run that was cut off goes on where it stopped."""
    if folder is None:
        return carry_out(task)
    file = folder / (hashlib.sha1(repr(task).encode()).hexdigest()[:12] + ".json")
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(carry_out(task))), encoding="utf-8")
    stored = json.loads(file.read_text(encoding="utf-8"))
    return Done(**stored | {"task": task, "verdicts": [Verdict(**v) for v in stored["verdicts"]]})


def carry_out(task: Task) -> Done:
    """Sample and judge all pictures of a task."""
    global _demo
    _demo = _demo or Placed()
    wanted: list[Prompt] = prompts(task.objects, task.pairs, task.split)
    recipes = () if task.method in (PLAIN, PLAIN_NEGLECT) else recipes_of(task.method, task.scale)
    judged = judge_neglect if task.method in (NEGLECT, PLAIN_NEGLECT) else judge
    verdicts, forwards, backwards, begun = [], 0, 0, time.monotonic()
    for start in range(0, len(wanted), task.batch):
        some = wanted[start : start + task.batch]
        if recipes:
            refined = _demo.refine(
                with_unwanted(recipes, some[0]) if task.method == NEGLECT else recipes, some, task.how
            )
            latents, forwards, backwards = (
                refined.latents,
                forwards + refined.forwards,
                backwards + refined.backwards,
            )
        else:
            latents = _demo.sample(_demo.model, some, task.how)
        verdicts += judged(latents, some)
    batches = -(-len(wanted) // task.batch)
    return Done(
        task, verdicts, (time.monotonic() - begun) / len(wanted), forwards / batches, backwards / batches
    )


def tables(done: list[Done], objects: int) -> list[str]:
    """Markdown: methods against plain on the prompts of this size; Neglect, which wants something else, by itself."""
    of_size = {d.task.method: d for d in done if d.task.objects == objects}
    neglect = {method: of_size.pop(method) for method in (PLAIN_NEGLECT, NEGLECT) if method in of_size}
    lines = table(f"{objects} objects", PLAIN, of_size)
    if len(neglect) == 2:
        lines += table(
            f"{objects} objects, the last one unwanted: right is a picture with the others and without it",
            PLAIN_NEGLECT,
            neglect,
        )
    return lines


def table(title: str, unchanged: str, of_size: dict[str, Done]) -> list[str]:
    """One table: methods against the unchanged model."""
    of_size = dict(of_size)
    plain = of_size.pop(unchanged)
    n = len(plain.verdicts)
    lines = [
        f"### {title}, n = {n}",
        "",
        "| method | objects right (95 %) | colours right (95 %) | points | McNemar p | mended | now wrong | passes fwd/bwd | s per picture |",
        "|---|---|---|---|---|---|---|---|---|",
        f"| plain | {percent(sum(v.objects for v in plain.verdicts), n)} | {percent(sum(v.colours for v in plain.verdicts), n)} "
        f"| | | | | | {plain.seconds:.2f} |",
    ]
    for method, d in of_size.items():
        objects_found, colours_found = (
            compare(
                (getattr(a, what), getattr(b, what)) for a, b in zip(plain.verdicts, d.verdicts, strict=True)
            )
            for what in ("objects", "colours")
        )
        lines.append(
            f"| {method} | {percent(objects_found.refined, n)} | {percent(colours_found.refined, n)} | {objects_found.points:+.1f} "
            f"| {objects_found.p:.2g} | {objects_found.mended} | {objects_found.broken} | {d.forwards:.0f}/{d.backwards:.0f} "
            f"| {d.seconds:.2f} |"
        )
    for title, first, second in PAIRS:
        if {first, second} <= of_size.keys():
            found = compare(
                (a.objects, b.objects)
                for a, b in zip(of_size[first].verdicts, of_size[second].verdicts, strict=True)
            )
            lines += [
                "",
                f"{title}: {found.points:+.1f} points, McNemar p = {found.p:.2g} ({found.mended} mended, {found.broken} now wrong).",
            ]
    return [*lines, ""]


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the text between the markers of a file, at its end if it has none."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    before, _, rest = old.partition(begin)
    after = rest.partition(end)[2]
    path.write_text(before + begin + text + end + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/dev.py compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--methods", nargs="+", help="parts of names (default: all but SAGA, which takes ten times as long)"
    )
    parser.add_argument("--scale", type=float, default=0.2, help="of the gradient steps of guidance")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--keep",
        type=Path,
        help="a folder that keeps each method's verdicts, so that a run which was cut off can go on",
    )
    parser.add_argument("--write", type=Path, help="a markdown file to put the tables into")
    args = parser.parse_args()
    demo = Demo()
    methods = [m for m in (*pack_module("gsn_ops.optimise.methods").METHODS, *VARIANTS) if m not in NOT_HERE]
    methods = [
        m
        for m in methods
        if (any(part.lower() in m.lower() for part in args.methods) if args.methods else SLOW not in m)
    ]
    how = Sampling(steps=args.steps)
    rows = [PLAIN, *methods, *([PLAIN_NEGLECT] if NEGLECT in methods else [])]
    tasks = [
        Task(m, objects, args.pairs, args.split, how, args.scale, args.batch)
        for objects in args.objects
        for m in rows
    ]
    args.model, args.file = "sd", None
    facts = ", ".join(f"{key} {value}" for key, value in versions(args).items())
    del demo
    done: list[Done] = []
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        for d in pool.imap(partial(kept, folder=args.keep), tasks):
            done.append(d)
            print(
                f"{len(done)} of {len(tasks)}: {d.task.objects} objects, {d.task.method}: "
                f"{sum(v.objects for v in d.verdicts)} of {len(d.verdicts)} right, {d.seconds:.2f} s per picture",
                flush=True,
            )
    command = f"python3 tools/dev.py compare --pairs {args.pairs} --objects {' '.join(map(str, args.objects))} --steps {args.steps}"
    text = "\n".join(
        [
            f"`{command}` ({args.split} prompts, {how.sampler} + {how.scheduler}, cfg {how.cfg:g}; gradient steps of guidance "
            f"x {args.scale:g}; {facts}):",
            "",
            *(line for objects in args.objects for line in tables(done, objects)),
        ]
    )
    print("\n" + text)
    if args.write:
        write(args.write, text)


if __name__ == "__main__":
    main()
