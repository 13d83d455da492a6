"""At which step does a method help most on an embedded model? Its own step by validation, kept for the node.

    python3 tools/dev.py study --model demo --quick                     the same as study steps, in minutes
    python3 tools/dev.py study steps --steps 25 --colours both --pairs 100 --write docs/steps.md
    python3 tools/dev.py study steps --model sd3 --steps 25 --overrides "encoders=clip, blocks=3"

Every prompt is sampled plain and with the method at every candidate step. The step is chosen by the paper's
score: shares of right images, scaled to 0 ... 1 within each set of prompts, summed (Grimal et al. 2025, 4.1).
It is written into user/gsn/moments.json of the ComfyUI, by a key of the model's weights; Semantic Nursing
takes it from there while at_percent is -1. Candidates are the paper's 0, 2, ..., 24 of 50 in this number of
steps.
"""

import argparse
from datetime import date
from pathlib import Path

from gsn_ops.chosen_moments import ChosenMoment
from gsn_ops.optimise.overrides import read_settings

from .choose_step import best_step, check_candidates, keep, paper_candidates, scores
from .compare import LATENT_REFINE
from .curve import Series, save_curve
from .data import HOW, PLAIN, Record, Study, Way
from .paired_statistics import compare
from .store import Store
from .tables import about, compared, markdown, share

PAIRS, OBJECTS = 100, (2, 3)
QUICK_CANDIDATES = (0, 1, 2, 3, 4, 6)
QUICK = {"objects": [3], "pairs": 100, "processes": 2}
QUICK_STEPS = 10
COLOURS = {"with": (True,), "without": (False,), "both": (False, True)}
HEADS = ("step", "of the schedule")
NETWORKS = {"sd": "UNet", "sd3": "MM-DiT", "sd3-turbo": "MM-DiT, turbo"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this study has."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help="three objects, 10 steps, 6 candidates, two processes: some minutes",
    )
    parser.add_argument("--method", default=LATENT_REFINE, help="a method that acts at one step")
    parser.add_argument("--overrides", default="", help='the method\'s numbers, such as "shifts=20"')
    parser.add_argument("--candidates", type=int, nargs="+", metavar="STEP", help="counted from 0")
    parser.add_argument("--colours", choices=COLOURS, default="with", help="in the prompts")
    parser.add_argument("--picture", type=Path, help="the curve (default: beside the records)")
    parser.add_argument(
        "--moments", type=Path, help="the file for the choice (default: of the ComfyUI of tools/dev.py serve)"
    )


def settle(args: argparse.Namespace) -> None:
    """Puts in what --quick means, and validation prompts: a step is not chosen on test prompts."""
    args.split = "validation"
    if args.quick:
        for name, value in QUICK.items():
            setattr(args, name, value)
        args.steps = args.steps or QUICK_STEPS
        args.candidates = args.candidates or list(QUICK_CANDIDATES)


def ways(args: argparse.Namespace) -> tuple[Way, ...]:
    """Plain, and the method at every candidate step."""
    steps = args.steps or HOW[args.model].steps
    candidates = check_candidates(list(args.candidates or paper_candidates(steps)), steps)
    moved = (Way(f"step {k}", args.method, at_step=k, overrides=args.overrides) for k in candidates)
    return Way(), *moved


Sets = dict[str, dict[str, list[Record]]]
"""Set of prompts -> way -> its images."""


def sets_of(study: Study, store: Store) -> Sets:
    """The images of every set of which there are any."""
    found = {}
    for objects, coloured in study.sets:
        images = store.images(study, objects, coloured)
        if images[PLAIN]:
            found[set_name(objects, coloured)] = images
    return found


def set_name(objects: int, coloured: bool) -> str:
    """As in tables and in the picture's legend."""
    return f"{objects} coloured objects" if coloured else f"{objects} objects"


def judged(name: str) -> str:
    """What makes an image of a set right: the colours too where the prompts have some."""
    return "colours" if "coloured" in name else "objects"


def right(records: list[Record], name: str) -> int:
    """How many images of a set are right."""
    return sum(getattr(record, judged(name)) for record in records)


def rates(study: Study, sets: Sets) -> dict[str, dict[int, float]]:
    """Shares of right images, as the score takes them."""
    return {
        name: {way.at_step: right(images[way.name], name) / len(images[PLAIN]) for way in study.ways[1:]}
        for name, images in sets.items()
    }


def tables(study: Study, store: Store) -> list[str]:
    """Right images of every set and the score per candidate; the choice against plain and the runner-up."""
    sets = sets_of(study, store)
    first = study.ways[1]
    typed = [first.overrides] if first.overrides else []
    lines = [f"## {first.method}: {NETWORKS[study.model]}", "", *about(study, *typed)]
    if not sets:
        return [*lines, "No batch is finished yet.", ""]
    found = rates(study, sets)
    score, best = scores(found), best_step(found)
    n = min(len(images[PLAIN]) for images in sets.values())
    rows = [("plain", "", *(share(images[PLAIN], judged(name)) for name, images in sets.items()), "")]
    for way in study.ways[1:]:
        made = next(iter(sets.values()))[way.name]
        cells = [share(images[way.name], judged(name)) for name, images in sets.items()]
        number = f"{score[way.at_step]:.2f}"
        if way.at_step == best:
            number = f"**{number}**"
        rows.append((str(way.at_step), f"{100 * percent_of(made):.1f} %", *cells, number))
    heads = (*HEADS, *(f"{name} (95 %)" for name in sets), "score(k)")
    unfinished = f" (unfinished: {n} of {study.pairs})" if n < study.pairs else ""
    lines += [f"### Chosen: step {best}, n = {n} per set{unfinished}", "", *markdown(heads, rows)]
    return lines + paired_tests(study, sets, score, best)


def paired_tests(study: Study, sets: Sets, score: dict[int, float], best: int) -> list[str]:
    """The chosen step against plain in every set, and against the next best over all sets."""
    lines = []
    for name, images in sets.items():
        found = compared(images[PLAIN], images[f"step {best}"], judged(name))
        counts = f"{found.fixed} fixed, {found.broken} broken"
        lines.append(f"* {name}: {found.points:+.1f} points over plain, McNemar p = {found.p:.2g} ({counts})")
    others = sorted((step for step in score if step != best), key=lambda step: -score[step])
    pairs = [
        (getattr(a, judged(name)), getattr(b, judged(name)))
        for name, images in sets.items()
        for a, b in zip(images[f"step {others[0]}"], images[f"step {best}"], strict=True)
    ]
    found = compare(pairs)
    counts = f"{found.fixed} fixed, {found.broken} broken"
    against = f"* against step {others[0]}, the next best, over all sets: {found.points:+.1f} points"
    return [*lines, f"{against}, p = {found.p:.2g} ({counts})", ""]


def percent_of(records: list[Record]) -> float:
    """Where in the noise schedule a step was."""
    return next((r.percent for r in records if r.percent is not None), 0.0)


def finish(study: Study, store: Store, args: argparse.Namespace) -> None:
    """Draws the curve and keeps the choice for the node."""
    sets = sets_of(study, store)
    found = rates(study, sets)
    best = best_step(found)
    picture = args.picture or args.records.with_name(f"steps_{study.model}.png")
    series = [
        Series(
            name,
            {way.at_step: right(images[way.name], name) for way in study.ways[1:]},
            right(images[PLAIN], name),
            len(images[PLAIN]),
        )
        for name, images in sets.items()
    ]
    save_curve(picture, series, best, f"Right images over the step, {study.ways[1].method}")
    print(f"Curve: {picture}")
    gained = sum(one.right[best] - one.plain for one in series)
    if gained <= 0:
        print("At no step are more images right than plain: no step was written for the node.")
        return
    print(keep(args.moments or own_file(), *chosen(study, sets, best)))


def own_file() -> Path:
    """`moments.json` of the ComfyUI that tools/dev.py starts."""
    from tools.host_env.inprocess import pack_module

    return pack_module("gsn_ops.host.own_moment").moments_file()


def chosen(study: Study, sets: Sets, best: int) -> tuple[str, str, ChosenMoment]:
    """(key of the weights, method, the choice)."""
    from tools.host_env.inprocess import pack_module

    from .run import demo_of

    made = [record for images in sets.values() for record in images[f"step {best}"]]
    moment = ChosenMoment(
        at_percent=round(percent_of(made), 4),
        sigma=next((r.sigma for r in made if r.sigma is not None), 0.0),
        step=best,
        steps=study.sampling.steps,
        images=len(made),
        date=date.today().isoformat(),
        command=study.command,
        reads=read_settings(study.ways[1].overrides),
    )
    model = demo_of(study.model, study.file, False).model
    return pack_module("gsn_ops.host.own_moment").weights_key(model), study.ways[1].method, moment
