"""Prompt-to-Prompt: is the edit made, and does the rest of the image keep its place?

    python3 tools/dev.py study edit --pairs 100 --write docs/editing.md
    python3 tools/dev.py study edit --model sd3 --pairs 16 --split validation --grid

Of each prompt the first object gets another shape (circle -> star), or another colour (red -> blue). Both
images have the same noise. *Edit right*: the new object is in the edited image, in its colour and shape; *all
right*: the other one too. *Kept*: overlap (IoU) of the unedited object's mask in both images, where the
source image has that object; 0 where the edit lost it. *Outside*: the largest difference of the two latents
outside LocalBlend's mask. The same seed with the target prompt alone is the way without the method.
"""

import argparse
import math
from collections.abc import Sequence
from statistics import fmean, stdev

from scipy.stats import t as student

from .data import Record, Study, Way
from .edited_pairs import KINDS, METHOD
from .store import Store
from .tables import about, compared, heading, markdown, share

PAIRS, OBJECTS = 100, (2,)
ALONE = "target prompt alone"
HEADS = (
    "way",
    "edit right (95 %)",
    "all right (95 %)",
    "McNemar p",
    "kept: mean IoU (95 %)",
    "n",
    "gain (95 %)",
    "outside",
)
SHIPPED = {ALONE: None, METHOD: "", f"{METHOD}, LocalBlend": "blend=1"}
GRID = {
    "sd": {
        ALONE: None,
        "default": "",
        "self 0": "self_share=0",
        "self 0.2": "self_share=0.2",
        "cross 0.4": "cross_share=0.4",
        "cross 0.4, self 0.2": "cross_share=0.4, self_share=0.2",
        "cross 1, self 0.4": "cross_share=1, self_share=0.4",
        "blend": "blend=1",
        "blend, threshold 0.5": "blend=1, threshold=0.5",
    },
    "sd3": {
        ALONE: None,
        "self 0.2": "",
        "self 0.4": "self_share=0.4",
        "self 0.6": "self_share=0.6",
        "blend": "blend=1",
        "blend, threshold 0.5": "blend=1, threshold=0.5",
        "blend, threshold 0.5, block 3": "blend=1, threshold=0.5, blocks=3",
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this study has."""
    parser.add_argument("--grid", action="store_true", help="several settings, to choose from")


def ways(args: argparse.Namespace) -> tuple[Way, ...]:
    """The settings for both kinds of edit."""
    found = []
    for kind in KINDS:
        for name, typed in (GRID.get(args.model, GRID["sd3"]) if args.grid else SHIPPED).items():
            method = "" if typed is None else METHOD
            overrides = ", ".join(filter(None, [f"kind={kind}", typed or ""]))
            found.append(Way(f"{kind}: {name}", method, overrides=overrides))
    return tuple(found)


def tables(study: Study, store: Store) -> list[str]:
    """One table per kind of edit."""
    lines = [f"## {METHOD}", "", *about(study)]
    for objects in study.objects:
        images = store.images(study, objects)
        lines += [heading(f"{objects} objects", images, study), ""]
        for kind in KINDS:
            names = [way.name for way in study.ways if way.name.startswith(kind)]
            if images[names[0]]:
                lines += [f"Another {kind} for the first object:", ""]
                lines += markdown(HEADS, [row(name, images[name], images[names[0]]) for name in names])
    return lines


def row(name: str, made: Sequence[Record], alone: Sequence[Record]) -> tuple[str, ...]:
    """One way's numbers, beside those of the target prompt alone."""
    both = [(a.kept, b.kept) for a, b in zip(alone, made) if a.kept is not None and b.kept is not None]
    outside = [r.outside for r in made if r.outside is not None]
    return (
        name.partition(": ")[2],
        share(made),
        share(made, "colours"),
        "" if made is alone else f"{compared(alone, made, 'objects').p:.2g}",
        interval([kept for _, kept in both]),
        str(len(both)),
        "" if made is alone else interval([kept - before for before, kept in both]),
        f"{max(outside):.2g}" if outside else "",
    )


def interval(values: Sequence[float]) -> str:
    """The mean with Student's 95 % interval."""
    if len(values) < 2:
        return "-"
    mean = fmean(values)
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})"
