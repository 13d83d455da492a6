"""Methods without gradients on an embedded model, alone and before the fast method, against both.

    python3 tools/dev.py study gradient-free --write docs/gradient_free.md
    python3 tools/dev.py study gradient-free --model sd3 --write docs/gradient_free.md

A table for all prompts together, then one per number of objects. *Passes* are those besides sampling, of each
image as when it is made alone: a method without gradients makes none.
"""

import argparse
from collections.abc import Sequence
from statistics import fmean

from .compute_tradeoff import FAST, FAST_AT, READS
from .data import PLAIN, Record, Study, Way
from .store import Store
from .tables import COMPARED, about, compared, heading, markdown, share

PAIRS, OBJECTS = 150, (2, 3)
BOOST = "Word boost (no gradients)"
JOINT_ONLY = {"Prompt Reinjection (2026)": "", "TACA (2025)": ""}  # method -> overrides: as published
THEN_FAST = f"{BOOST}, then {FAST}"
HEADS = (*COMPARED, "colours right (95 %)", "passes")
PAIRED = ((FAST, THEN_FAST), (FAST, BOOST))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this study has."""
    parser.add_argument("--overrides", default="", help="of the word boost, such as gain=2")
    parser.add_argument("--only", nargs="+", metavar="WAY", help="names: these ways now, the others later")


def ways(args: argparse.Namespace) -> tuple[Way, ...]:
    """Plain, each method alone, the fast method, and the word boost before it."""
    reads, at = READS[args.model], FAST_AT[args.model]
    typed = ", ".join(filter(None, [reads, args.overrides]))
    others = JOINT_ONLY if args.model != "sd" else {}
    found = (
        Way(),
        Way(BOOST, edit=BOOST, edit_overrides=typed),
        Way(FAST, FAST, at, overrides=reads),
        Way(THEN_FAST, FAST, at, overrides=reads, edit=BOOST, edit_overrides=typed),
        *(Way(name, edit=name, edit_overrides=settings) for name, settings in others.items()),
    )
    return tuple(way for way in found if not args.only or way.name in (PLAIN, *args.only))


def table(title: str, images: dict[str, list[Record]]) -> list[str]:
    """Every way against plain, then the pairs of PAIRED against each other."""
    plain = images[PLAIN]
    if not plain:
        return [title, ""]
    rows = []
    for name, made in images.items():
        found = compared(plain, made)
        numbers = f"{found.points:+.1f}", f"{found.p:.2g}", str(found.fixed), str(found.broken)
        passes = f"{fmean(r.forwards + r.backwards for r in made):.1f}"
        differs = numbers if name != PLAIN else ("",) * 4
        rows.append((name, share(made), *differs, share(made, "colours"), passes))
    lines = [title, "", *markdown(HEADS, rows)]
    for first, second in (pair for pair in PAIRED if {*pair} <= images.keys()):
        found = compared(images[first], images[second])
        counts = f"{found.fixed} fixed, {found.broken} broken"
        lines += [f"{second} against {first}: {found.points:+.1f} points, p = {found.p:.2g} ({counts}).", ""]
    return lines


def tables(study: Study, store: Store) -> list[str]:
    """All prompts together, then those of each number of objects."""
    settings = [f"{w.name}: {w.edit_overrides}" for w in study.ways if w.edit_overrides and not w.method]
    lines, parts = about(study, *settings), []
    for objects in study.objects:
        parts.append(store.images(study, objects))
    together = {way.name: joined([part[way.name] for part in parts]) for way in study.ways}
    lines += table(f"### {study.model}, all prompts, n = {len(together[PLAIN])}", together)
    for objects, images in zip(study.objects, parts, strict=True):
        lines += table(heading(f"{study.model}, {objects} objects", images, study), images)
    return lines


def joined(parts: Sequence[Sequence[Record]]) -> list[Record]:
    """The records of several numbers of objects, one after the other."""
    return [record for part in parts for record in part]
