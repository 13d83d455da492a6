"""Spatial words on the embedded UNet: are two shapes where the prompt says they are to each other?

    python3 tools/dev.py run -m tools.study.relations --pairs 200
    python3 tools/dev.py run -m tools.study.relations --pairs 60 --split validation --at-percent 0.02 0.1

The model has never seen these words, so its plain images are right by chance. An image counts as right when
both shapes are there in their colours, and the middles of their boxes are in the wanted order, an eighth of
the image apart at least.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from gsn_ops.judge.demo_detector import Found, detect
from tools.host_env.inprocess import pack_module
from tools.tiny.prompts import Prompt, prompts

from .data import HOW, Sampling, Way
from .embedded import Demo, images_of, recipes_of
from .paired_statistics import compare, percent

RELATIONS = ("left of", "right of", "above", "below")
AXIS = {"left of": 0, "right of": 0, "above": 1, "below": 1}
METHOD, FAST = "Latent Refine + relations", "Latent Refine (fast)"
APART = 4  # pixels of 32
BATCH = 20
Verdict = tuple[bool, bool]
"""Both shapes are there in their colours; and they stand as the prompt says."""


def related_prompts(count: int, split: str) -> Iterator[tuple[str, list[Prompt]]]:
    """(relation, prompts of one form), a quarter of `count` for each relation, in batches."""
    pairs = prompts(2, count, split)
    for n, relation in enumerate(RELATIONS):
        of_relation = pairs[n :: len(RELATIONS)]
        for start in range(0, len(of_relation), BATCH):
            batch = of_relation[start : start + BATCH]
            yield relation, [replace(p, text=p.text.replace(" and ", f" {relation} ")) for p in batch]


def judge(found: Sequence[Found], wanted: Sequence[tuple[str, str]], relation: str) -> Verdict:
    """The verdict on one image; of several such shapes the best one counts."""
    boxes = []
    for colour, shape in wanted:
        those = [f for f in found if (f.colour, f.shape) == (colour, shape)]
        if not those:
            return False, False
        boxes.append(max(those, key=lambda f: f.score).box)
    axis = AXIS[relation]
    first, second = ((box[axis] + box[axis + 2]) / 2 for box in boxes)
    distance = second - first if relation in ("left of", "above") else first - second
    return True, distance >= APART


def recipes(method: str, weight: float | None, at_percent: float) -> tuple:
    """The method's recipes at this step, with this weight of the relation."""
    made = recipes_of(Way(method, method, at_percent=at_percent))
    if weight is None:
        return made
    sums = pack_module("gsn_ops.objectives.weighted_sum").WeightedSum
    return tuple(
        replace(r, objective=sums(((1.0, r.objective.parts[0][1]), (weight, r.objective.parts[1][1]))))
        for r in made
    )


def ways(args: argparse.Namespace) -> dict[str, tuple]:
    """Name -> recipes: plain (of the test prompts), Latent Refine (fast), every combination of weight and
    step.
    """
    found: dict[str, tuple] = {"plain": ()} if args.split == "test" else {}
    for at in args.at_percent if args.compare else ():
        found[f"{FAST} at {100 * at:g} %"] = recipes(FAST, None, at)
    for weight, at in product(args.weight, args.at_percent):
        found[f"{METHOD} at {100 * at:g} %, weight {weight:g}"] = recipes(METHOD, weight, at)
    return found


def measure(demo: Demo, made: tuple, count: int, split: str, how: Sampling = HOW["sd"]) -> list[Verdict]:
    """The verdicts of one way, in the order of the prompts."""
    verdicts = []
    for relation, batch in related_prompts(count, split):
        if made:
            latents = demo.refine(made, batch, how).latents
        else:
            latents = demo.sample(demo.model, batch, how)
        for image, prompt in zip(images_of(latents), batch, strict=True):
            verdicts.append(judge(detect(np.asarray(image)), prompt.wanted, relation))
    return verdicts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=200, help="prompts, a quarter for each relation")
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--weight", type=float, nargs="+", help="of the relation (default: the method's)")
    parser.add_argument("--at-percent", type=float, nargs="+", default=[0.02])
    parser.add_argument("--compare", action="store_true", help="with Latent Refine (fast) too")
    args = parser.parse_args()
    demo = Demo()
    args.weight = args.weight or [recipes_of(Way(METHOD, METHOD))[0].objective.parts[1][0]]
    first: list[Verdict] = []  # the plain images, or those of the first way
    print("| way | both there | and in place | points | fixed | broken | McNemar p |\n" + "|---" * 7 + "|")
    for name, made in ways(args).items():
        verdicts = measure(demo, made, args.pairs, args.split)
        first = first or verdicts
        n = len(verdicts)
        there, in_place = (sum(v[k] for v in verdicts) for k in (0, 1))
        found = compare((a[1], b[1]) for a, b in zip(first, verdicts, strict=True))
        cells = (name, percent(there, n), percent(in_place, n), f"{found.points:+.1f}", str(found.fixed))
        print("| " + " | ".join((*cells, str(found.broken), f"{found.p:.2g}")) + " |", flush=True)


if __name__ == "__main__":
    main()
