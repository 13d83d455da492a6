"""Measure what refinement does: plain and refined pictures of an embedded model, from the same prompts and noise.

    python3 tools/dev.py eval --objects 3 --pairs 300
    python3 tools/dev.py eval --objects 3 --pairs 100 --split validation --at-step 0 2 4 6 8 12
    python3 tools/dev.py eval --model sd3 --objects 3 --pairs 300

What is not given is as in the demo workflow (sd) or in `SD3_NODE` (sd3). Several values of --at-percent, --at-step, --pieces or
--levels are compared on the same plain pictures.
"""

import argparse
import hashlib
import itertools
import json
import platform
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path

from tools.demo_workflow import shipped_settings
from tools.paired_run import LOADERS, Demo, Sampling, Verdict, judge, pack_module
from tools.paired_statistics import Comparison, compare, percent
from tools.tiny.prompts import Prompt, prompts

HOW = {"sd": Sampling(steps=20), "sd3": Sampling(20, "euler", "simple", 4.0)}
SD3_READS = "encoders=clip, blocks=3"  # chosen on validation prompts: docs/choices.md
SD3_NODE = {"method": "Latent Refine (fast)", "at_percent": 0.2, "overrides": SD3_READS}


@dataclass
class Tally:
    """What one recipe did to the pictures so far."""

    name: str
    recipes: tuple
    verdicts: list[Verdict] = field(default_factory=list)
    first_loss: list[float] = field(default_factory=list)
    last_loss: list[float] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)
    seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0

    def against(self, plain: list[Verdict], what: str) -> Comparison:
        """Compared by objects or colours."""
        return compare(
            (getattr(a, what), getattr(b, what)) for a, b in zip(plain, self.verdicts, strict=True)
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/dev.py eval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=3, choices=(1, 2, 3), help="objects in a prompt")
    parser.add_argument("--pairs", type=int, default=300, help="pictures of each kind")
    parser.add_argument(
        "--split", default="test", choices=("test", "validation"), help="validation: to choose numbers"
    )
    parser.add_argument(
        "--model",
        choices=tuple(HOW),
        default="sd",
        help="the embedded model: SD's layout (UNet) or SD3's (MM-DiT)",
    )
    parser.add_argument("--file", type=Path, help="another file of that model's kind")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--sampler")
    parser.add_argument("--scheduler")
    parser.add_argument("--cfg", type=float)
    parser.add_argument("--method", help="a method's name as on the node (default: the demo workflow's)")
    parser.add_argument("--at-percent", type=float, nargs="+", help="default: what the demo workflow has")
    parser.add_argument("--at-step", type=int, nargs="+", help="instead of --at-percent, counted from 0")
    parser.add_argument(
        "--pieces", nargs="+", choices=("noun", "phrase"), help="words looked at (default: the method's)"
    )
    parser.add_argument("--levels", nargs="+", default=["auto"], help="attention levels: auto, 2, 4 or 2,4")
    parser.add_argument("--shifts", type=int, help="default: the method's")
    parser.add_argument("--learning-rate", type=float, help="default: the method's")
    parser.add_argument(
        "--strength", type=float, default=1.0, help="as on the node: 1 = the method's own numbers"
    )
    parser.add_argument(
        "--overrides", default="", help='more of the method\'s numbers, such as "scale_factor=4, blocks=1-3"'
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=20,
        help="pictures made together (the noise that ddpm adds depends on it)",
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    args = parser.parse_args()
    for name, value in asdict(HOW[args.model]).items():
        setattr(args, name, getattr(args, name) if getattr(args, name) is not None else value)
    return args


def node_settings(model: str) -> dict:
    """What the Semantic Nursing node is set to for a model."""
    return shipped_settings() if model == "sd" else SD3_NODE


def tallies(args: argparse.Namespace) -> list[Tally]:
    """One per combination of what was given several times."""
    presets, settings = pack_module("gsn_ops.optimise.methods"), pack_module("gsn_ops.optimise.overrides")
    moment = pack_module("gsn_ops.schedule").Moment
    node = node_settings(args.model)
    numbers = ", ".join(
        f"{name}={getattr(args, name)}"
        for name in ("shifts", "learning_rate")
        if getattr(args, name) is not None
    )
    base = settings.override(
        presets.preset(args.method or node["method"]), node["overrides"] if args.method is None else ""
    )
    base = settings.override(settings.override(base, numbers), args.overrides)
    base = tuple(replace(recipe.scaled(args.strength), report="curve", strict=True) for recipe in base)
    moments = [(f"step {step}", moment(step=step)) for step in args.at_step or ()]
    if not moments and (args.at_percent or any(hasattr(recipe, "moment") for recipe in base)):
        moments = [
            (f"{100 * share:g} %", moment(percent=share)) for share in args.at_percent or [node["at_percent"]]
        ]
    moments = moments or [("its own moments", moment())]
    result = []
    for (when, at), pieces, levels in itertools.product(moments, args.pieces or [None], args.levels):
        recipes = settings.moved(base, at)
        if pieces:
            recipes = tuple(
                replace(r, objective=replace(r.objective, maps=replace(r.objective.maps, pieces=pieces)))
                if hasattr(r.objective, "maps")
                else r
                for r in recipes
            )
        recipes = tuple(settings.check(settings.with_levels(recipe, levels)) for recipe in recipes)
        name = ", ".join(
            [f"at {when}", *([pieces] if pieces else []), *([f"levels {levels}"] if levels != "auto" else [])]
        )
        result.append(Tally(name, recipes))
    return result


def measure(
    demo: Demo, wanted: list[Prompt], how: Sampling, runs: list[Tally], batch: int
) -> tuple[list[Verdict], float]:
    """Fill the tallies; returns the plain verdicts and their seconds."""
    plain, seconds, begun = [], 0.0, time.monotonic()
    for start in range(0, len(wanted), batch):
        some = wanted[start : start + batch]
        clock = time.monotonic()
        latents = demo.sample(demo.model, some, how)
        seconds += time.monotonic() - clock
        plain += judge(latents, some)
        for run in runs:
            clock = time.monotonic()
            refined = demo.refine(run.recipes, some, how)
            run.seconds += time.monotonic() - clock
            run.verdicts += judge(refined.latents, some)
            run.first_loss += refined.first_loss
            run.last_loss += refined.last_loss
            run.steps.add(refined.step)
            run.forwards += refined.forwards
            run.backwards += refined.backwards
        done, left = len(plain), len(wanted) - len(plain)
        objects = [sum(v.objects for v in verdicts) for verdicts in (plain, *(run.verdicts for run in runs))]
        print(
            f"  {done:4d} of {len(wanted)}: right {objects[0]} plain, {', '.join(map(str, objects[1:]))} refined; "
            f"about {(time.monotonic() - begun) / done * left:.0f} s left",
            flush=True,
        )
    return plain, seconds


def versions(args: argparse.Namespace) -> dict[str, str]:
    """What the numbers depend on."""
    import comfyui_version
    import torch

    file = args.file or pack_module(LOADERS[args.model][0]).PATH
    return {
        "pack": pack_module("gsn_ops").__version__,
        "ComfyUI": comfyui_version.__version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "model": hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12],
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "date": date.today().isoformat(),
    }


def row(name: str, found: Comparison) -> str:
    return (
        f"  {name:8} {percent(found.plain, found.n):>23}  {percent(found.refined, found.n):>23}  {found.points:+6.1f}"
        f"  {found.p:9.2g}  {found.mended:6d}  {found.broken:6d}"
    )


def main() -> None:
    args = arguments()
    demo = Demo(args.file, args.model)
    how = Sampling(args.steps, args.sampler, args.scheduler, args.cfg)
    runs = tallies(args)
    about = (
        f"{args.objects} objects, {args.pairs} pairs of the {args.split} prompts, {how.sampler} + {how.scheduler}, "
        f"{how.steps} steps, cfg {how.cfg:g}"
    )
    print(f"{runs[0].recipes[0].method}: {about}", flush=True)
    plain, seconds = measure(demo, prompts(args.objects, args.pairs, args.split), how, runs, args.batch)
    facts = versions(args)
    print("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    results = []
    for run in runs:
        found = {what: run.against(plain, what) for what in ("objects", "colours")}
        first, last = (sum(losses) / len(losses) for losses in (run.first_loss, run.last_loss))
        batches = -(-args.pairs // args.batch)
        print(
            f"\n{run.name} (step {', '.join(map(str, sorted(run.steps)))}), {run.forwards / batches:g} forward and "
            f"{run.backwards / batches:g} backward passes"
            f"\n  {'right':8} {'plain (95 %)':>23}  {'refined (95 %)':>23}  points  McNemar p  mended  broken"
        )
        print("\n".join(row(what, comparison) for what, comparison in found.items()))
        print(
            f"  loss {first:.3f} -> {last:.3f}; seconds per picture: plain {seconds / args.pairs:.2f}, "
            f"refined {run.seconds / args.pairs:.2f}",
            flush=True,
        )
        results.append(
            {
                "name": run.name,
                "steps": sorted(run.steps),
                "loss": [first, last],
                "seconds": run.seconds / args.pairs,
                **{what: comparison.to_dict() for what, comparison in found.items()},
            }
        )
    if args.json:
        args.json.write_text(
            json.dumps(
                {"run": about, **facts, "plain_seconds": seconds / args.pairs, "results": results}, indent=1
            )
        )


if __name__ == "__main__":
    main()
