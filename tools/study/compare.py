"""Every published method on an embedded model: the same prompts and noise, a table per number of objects.

    python3 tools/dev.py study compare --pairs 200 --objects 2 3 --processes 3 --write docs/results.md

Numbers are the papers', with one exception that the tables state: the steps of per-step guidance are scaled
by --scale, because 20 is far too large for these models. Layout methods get one box per subject, side by side
in the order of the prompt.
"""

import argparse
from collections.abc import Sequence

from tools.host_env.inprocess import pack_module

from .data import PLAIN, Record, Study, Way
from .store import Store
from .tables import about, compared, heading, markdown, per_batch, seconds_per_image, share

PAIRS, OBJECTS = 200, (2, 3)
LATENT_REFINE = "Latent Refine (Grimal et al. 2025)"
OURS_PLUS = "Latent Refine + SynGen, Ours+ (Grimal et al. 2025)"
NEGLECT, PLAIN_NEGLECT = (
    "Neglect (USTC study 2024)",
    "plain, for Neglect",
)  # judged otherwise: a table of their own
FLOW_ONLY = "FOCUS (2025)"
SLOW = "SAGA"  # ten passes per update: only when named
EARLIER = "Latent Refine at 10 % of the schedule (this model's step)"
PHRASES = "Latent Refine at 10 %, whole phrases (pieces=phrase)"
VARIANTS = {  # rows in addition to the published methods
    EARLIER: Way(EARLIER, LATENT_REFINE, at_percent=0.1, boxes=True),
    PHRASES: Way(PHRASES, LATENT_REFINE, at_percent=0.1, overrides="pieces=phrase", boxes=True),
}
PAIRED = (  # title, first, second: tested against each other in addition to each one's test against plain
    ("Ours+ against Ours", LATENT_REFINE, OURS_PLUS),
    ("Nouns against whole phrases, at 10 %", PHRASES, EARLIER),
)
HEADS = (
    "method",
    "objects right (95 %)",
    "colours right (95 %)",
    "points",
    "McNemar p",
    "fixed",
    "broken",
    "passes fwd/bwd",
    "s per image",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this study has."""
    parser.add_argument(
        "--methods", nargs="+", help=f"parts of names (default: all but {SLOW}, ten times as slow)"
    )
    parser.add_argument("--scale", type=float, default=0.2, help="of the gradient steps of guidance")


def ways(args: argparse.Namespace) -> tuple[Way, ...]:
    """Plain, the methods, and the variants."""
    known = [
        m for m in pack_module("gsn_ops.optimise.methods").METHODS if m != FLOW_ONLY or args.model != "sd"
    ]
    names = [n for n in (*known, *VARIANTS) if is_wanted(n, args.methods)]
    found = [Way(boxes=True)]
    for name in names:
        published = Way(name, name, guidance_scale=args.scale, boxes=True, last_unwanted=name == NEGLECT)
        found.append(VARIANTS.get(name, published))
    if NEGLECT in names:
        found.append(Way(PLAIN_NEGLECT, boxes=True, last_unwanted=True))
    return tuple(found)


def is_wanted(name: str, parts: Sequence[str] | None) -> bool:
    """Is a method to be run, given parts of names?"""
    return any(part.lower() in name.lower() for part in parts) if parts else SLOW not in name


def tables(study: Study, store: Store) -> list[str]:
    """Per number of objects: the methods against plain; Neglect, which wants something else, by itself."""
    scale = next((w.guidance_scale for w in study.ways if w.guidance_scale != 1), 1.0)
    lines = about(study, f"gradient steps of guidance x {scale:g}")
    for objects in study.objects:
        images = store.images(study, objects)
        neglect = {name: images.pop(name) for name in (PLAIN_NEGLECT, NEGLECT) if name in images}
        lines += table(heading(f"{objects} objects", images, study), PLAIN, images)
        if neglect:
            text = (
                f"{objects} objects, the last one unwanted: right is an image with the others and without it"
            )
            lines += table(heading(text, neglect, study), PLAIN_NEGLECT, neglect)
    return lines


def table(title: str, baseline: str, images: dict[str, list[Record]]) -> list[str]:
    """Methods against the unchanged model."""
    plain = images[baseline]
    if not plain:
        return [title, ""]
    rows = [(PLAIN, share(plain), share(plain, "colours"), *[""] * 5, f"{seconds_per_image(plain):.2f}")]
    for name, made in images.items():
        if name == baseline:
            continue
        found = compared(plain, made)
        passes = "/".join(f"{per_batch(made, f'batch_{kind}s'):.0f}" for kind in ("forward", "backward"))
        numbers = f"{found.points:+.1f}", f"{found.p:.2g}", str(found.fixed), str(found.broken), passes
        rows.append((name, share(made), share(made, "colours"), *numbers, f"{seconds_per_image(made):.2f}"))
    lines = [title, "", *markdown(HEADS, rows)]
    for text, first, second in PAIRED:
        if {first, second} <= images.keys():
            found = compared(images[first], images[second])
            counts = f"{found.fixed} fixed, {found.broken} broken"
            lines += [f"{text}: {found.points:+.1f} points, McNemar p = {found.p:.2g} ({counts}).", ""]
    return lines
