"""Auto on an embedded model, against its parts, the published updates and more seeds at equal passes.

    python3 tools/dev.py study auto --write docs/auto.md
    python3 tools/dev.py study auto --model sd3 --write docs/auto.md
    python3 tools/dev.py study auto --model sd3-turbo --write docs/auto.md
    python3 tools/dev.py study auto --model sd3-turbo --steps 4 --write docs/auto.md

A table for each number of objects. *Images added* counts a method's passes in plain images: an update step is
two passes, an evaluation that ends the updates one, a sampling step one, or two with a negative prompt.
*Images per right one* is all that was spent, the image itself too, for each right image. With few steps (8 or
fewer) every method has its own moment there.
"""

import argparse
import math
from collections.abc import Sequence
from statistics import fmean

from .compute_tradeoff import FAST, FAST_AT, PUBLISHED_AT, READS, new_seed_name
from .data import HOW, PLAIN, Record, Study, Way
from .gradient_free import BOOST, THEN_FAST
from .paired_statistics import Comparison, compare, percent
from .store import Store
from .tables import COMPARED, about, compared, heading, markdown, share

PAIRS, OBJECTS = 300, (1, 2, 3)
AUTO, FIFTY = "Auto", "Latent Refine, 50 updates"
FEW = 8
LOOK_ALONE = "Auto without Word boost"
NEW_SEEDS = 1
ENOUGH = {"sd3-turbo": "present_at=0.97, stop_at_presence=0.97"}
"""Overrides of Auto alone, as the pack has them for its demo models."""
HEADS = (*COMPARED, "images added", "images per right one")
PAIRED = ((FAST, AUTO), (BOOST, AUTO), (THEN_FAST, AUTO))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this study has."""
    parser.add_argument("--only", nargs="+", metavar="WAY", help="names: these ways now, the others later")
    parser.add_argument("--at-step", type=int, nargs="+", help="Auto and the fast method at these steps too")
    parser.add_argument(
        "--after-step", type=int, nargs="+", help="and halfway from these steps to the next (between=middle)"
    )


def ways(args: argparse.Namespace) -> tuple[Way, ...]:
    """Plain, Auto and its parts, the published updates, another seed."""
    few = (args.steps or HOW[args.model].steps) <= FEW
    reads, at = READS[args.model], None if few else FAST_AT[args.model]
    fifty_at = None if few else PUBLISHED_AT[args.model]
    own = ", ".join(filter(None, [reads, ENOUGH.get(args.model)]))
    alone = ", ".join(filter(None, [own, "gain=0"]))
    found = (
        Way(),
        *(Way(new_seed_name(n), new_seed=n) for n in range(1, NEW_SEEDS + 1)),
        Way(AUTO, AUTO, at, overrides=own),
        *([Way(LOOK_ALONE, AUTO, at, overrides=alone)] if args.model == "sd" else []),  # elsewhere it is Auto
        Way(BOOST, edit=BOOST, edit_overrides=reads),
        Way(FAST, FAST, at, overrides=reads),
        Way(THEN_FAST, FAST, at, overrides=reads, edit=BOOST, edit_overrides=reads),
        Way(FIFTY, "Latent Refine (Grimal et al. 2025)", fifty_at, overrides=reads),
        *(
            Way(f"{name} at step {k}", method, at_step=k, overrides=typed)
            for k in getattr(args, "at_step", None) or ()
            for name, method, typed in ((LOOK_ALONE, AUTO, alone), (FAST, FAST, reads))
        ),
        *(
            Way(f"{LOOK_ALONE} after step {k}", AUTO, at_step=k, overrides=f"{alone}, between=middle")
            for k in getattr(args, "after_step", None) or ()
        ),
    )
    return tuple(way for way in found if not args.only or way.name in (PLAIN, *args.only))


def plain_passes(study: Study) -> int:
    """Of one image: one per step, two with a negative prompt."""
    how = study.sampling
    return how.steps * (1 if math.isclose(how.cfg, 1.0) else 2)


def table(title: str, images: dict[str, list[Record]], plain_image: int) -> list[str]:
    """Every way against plain; a second seed for all, or where the first is wrong; the pairs of PAIRED."""
    plain = images[PLAIN]
    if not plain:
        return [title, ""]
    rows = []
    for name, made in images.items():
        found = compared(plain, made)
        differs = _differs(found) if name != PLAIN else ("",) * 4
        added = fmean(r.forwards + r.backwards for r in made) / plain_image
        rows.append((name, share(made), *differs, *_price(added, fmean(r.objects for r in made))))
    if new_seed_name(1) in images:
        both = [
            (a.objects, a.objects or b.objects) for a, b in zip(plain, images[new_seed_name(1)], strict=True)
        ]
        right = sum(best for _, best in both)
        shown = percent(right, len(both)), *_differs(compare(both))
        wrong = fmean(not first for first, _ in both)
        rows.append(("best of 2 seeds, all made", *shown, *_price(1.0, right / len(both))))
        rows.append(("a second seed where the first is wrong", *shown, *_price(wrong, right / len(both))))
    lines = [title, "", *markdown(HEADS, rows)]
    for first, second in (pair for pair in PAIRED if {*pair} <= images.keys()):
        found = compared(images[first], images[second])
        counts = f"{found.fixed} fixed, {found.broken} broken"
        lines.append(f"* {second} against {first}: {found.points:+.1f} points, p = {found.p:.2g} ({counts}).")
    return [*lines, ""]


def _differs(found: Comparison) -> tuple[str, ...]:
    """Points, p, fixed and broken of a comparison."""
    return f"{found.points:+.1f}", f"{found.p:.2g}", str(found.fixed), str(found.broken)


def _price(added: float, right: float) -> tuple[str, str]:
    """Images added to each image, and all images spent for each right one."""
    return f"{added:.2f}", f"{(1 + added) / right:.2f}" if right else ""


def tables(study: Study, store: Store) -> list[str]:
    """A table for each number of objects."""
    lines = about(study)
    for objects in study.objects:
        images: dict[str, Sequence[Record]] = store.images(study, objects)
        title = f"{study.model}, {objects} object{'s' if objects > 1 else ''}"
        lines += table(heading(title, images, study), images, plain_passes(study))
    return lines
