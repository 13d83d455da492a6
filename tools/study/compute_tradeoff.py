"""Is it better than new seeds at equal compute? Right images per unit of compute, against sampling again.

    python3 tools/dev.py study tradeoff --write docs/equal_compute.md
    python3 tools/dev.py study tradeoff --model sd3 --objects 2 3 --pairs 200 --write docs/equal_compute.md

The unit is a forward pass of the model: a sampling step costs two (prompt and negative prompt), an update
step a forward and a backward pass of the prompt alone, which cost as much as two (weights are frozen; that
passes end after the last attention layer needed is not counted in their favour), an evaluation that ends the
updates one. Passes are those of each image, as when it is made alone. New seeds are judged as kindly as can
be: by the detector, that is by a user who sees every image, knows at once whether it is right, and whose time
costs nothing.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from .compare import OURS_PLUS
from .data import PLAIN, SD3_READS, TURBO_READS, Record, Study, Way
from .paired_statistics import compare, percent
from .store import Store
from .tables import about, heading, markdown, seconds_per_image

PAIRS, OBJECTS = 300, (1, 2, 3)
READS = {"sd": "", "sd3": SD3_READS, "sd3-turbo": TURBO_READS}  # overrides of every method
PUBLISHED_AT = {"sd": 0.1, "sd3": 0.3, "sd3-turbo": 0.3}  # shares of the schedule
FAST_AT = {"sd": 0.1, "sd3": 0.2, "sd3-turbo": 0.2}  # the turbo model has its teacher's, not chosen for it
NEW_SEEDS = 3
PRESENT = 0.8
PUBLISHED, FAST = "Latent Refine, 50 updates", "Latent Refine (fast)"
STOPPING = "50 updates, ended once all subjects are present"
PLUS = "Latent Refine + SynGen, Ours+"
FAST_AGAIN = "Latent Refine (fast), new seed 1"
HEADS = (
    "way",
    "right (95 %)",
    "fixed",
    "broken",
    "passes per image",
    "besides sampling",
    "passes per right image",
    "s",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this study has."""
    parser.add_argument(
        "--scale", type=float, default=0.2, help="of the gradient steps of Ours+ (as in compare)"
    )
    parser.add_argument(
        "--timed", type=int, default=5, help="prompts of each size made once more, alone, for seconds"
    )


def ways(args: argparse.Namespace) -> tuple[Way, ...]:
    """Plain images of several seeds; methods with settings measured for this model; Ours+ as published."""
    reads, at, fast_at = READS[args.model], PUBLISHED_AT[args.model], FAST_AT[args.model]
    published = "Latent Refine (Grimal et al. 2025)"
    stopping = ", ".join(filter(None, [reads, f"stop_at_presence={PRESENT}"]))
    return (
        Way(),
        *(Way(new_seed_name(n), new_seed=n) for n in range(1, NEW_SEEDS + 1)),
        Way(PUBLISHED, published, at, overrides=reads),
        Way(STOPPING, published, at, overrides=stopping),
        Way(FAST, FAST, fast_at, overrides=reads),
        Way(PLUS, OURS_PLUS, overrides=reads, guidance_scale=args.scale),
        Way(FAST_AGAIN, FAST, fast_at, overrides=reads, new_seed=1),
    )


def new_seed_name(n: int) -> str:
    """The way that samples the n-th new seed."""
    return f"new seed {n}"


@dataclass(frozen=True)
class Row:
    """A way of spending compute: which prompts end with a right image, and what each of them cost.

    updates: does it update latents alone, so that its passes besides sampling can be told? seconds: per
    image, NaN = not measured.
    """

    name: str
    right: list[bool]
    passes: list[float]
    seconds: float = math.nan
    updates: bool = False


Images = dict[str, list[Record]]


def rows_of(images: Images, alone: Images, steps: int) -> list[Row]:
    """All rows of one number of objects. alone: the images that were made once more, for the seconds."""
    seconds = {name: seconds_per_image(records) for name, records in alone.items()}
    methods = [PUBLISHED, STOPPING, FAST, PLUS]
    own = [
        Row(name, rights(images[name]), [cost(r, steps) for r in images[name]], seconds[name], updates=True)
        for name in methods
    ]
    return [*new_seed_rows(images, seconds[PLAIN], steps), *own, *combined_rows(images, seconds, steps)]


def rights(records: Sequence[Record]) -> list[bool]:
    """All wanted shapes are there, per image."""
    return [r.objects for r in records]


def cost(record: Record, steps: int) -> int:
    """Passes of one image."""
    return 2 * steps + record.forwards + record.backwards


def new_seed_rows(images: Images, seconds: float, steps: int) -> list[Row]:
    """Plain images, and the best of several, all made or one after the other until one is right."""
    seeds = [rights(images[name]) for name in (PLAIN, *map(new_seed_name, range(1, NEW_SEEDS + 1)))]
    sampling, count = 2 * steps, len(seeds[0])
    rows = [Row(PLAIN, seeds[0], [sampling] * count, seconds)]
    for n in range(2, NEW_SEEDS + 2):
        right = [any(tries) for tries in zip(*seeds[:n], strict=True)]
        needed = [first_right([seed[k] for seed in seeds[: n - 1]]) for k in range(count)]
        rows.append(Row(f"best of {n} seeds, all made", right, [n * sampling] * count, n * seconds))
        passes = [tries * sampling for tries in needed]
        rows.append(Row(f"seeds until right, at most {n}", right, passes, fmean(needed) * seconds))
    return rows


def first_right(tries: Sequence[bool]) -> int:
    """How many images are made until one is right; one more than the tries if none of them is."""
    return tries.index(True) + 1 if True in tries else len(tries) + 1


def combined_rows(images: Images, seconds: dict[str, float], steps: int) -> list[Row]:
    """Methods together with a check of the attention or of the image, from the same images."""
    plain, published, fast, again = (images[name] for name in (PLAIN, PUBLISHED, FAST, FAST_AGAIN))
    skipped = [r.weakest is not None and r.weakest >= PRESENT for r in published]
    rows = [
        Row(
            f"50 updates, checked first ({fmean(skipped):.0%} left alone)",
            [(p if skip else r).objects for p, r, skip in zip(plain, published, skipped, strict=True)],
            [2 * steps + 1 if skip else cost(r, steps) for r, skip in zip(published, skipped, strict=True)],
            updates=True,
        ),
        Row(
            f"{FAST}, seeds until right, at most 2",
            [a.objects or b.objects for a, b in zip(fast, again, strict=True)],
            [cost(a, steps) + (not a.objects) * cost(b, steps) for a, b in zip(fast, again, strict=True)],
            seconds[FAST] + fmean(not a.objects for a in fast) * seconds[FAST_AGAIN],
        ),
    ]
    for name in (PUBLISHED, FAST):
        pairs = list(zip(plain, images[name], strict=True))
        passes = [2 * steps + (not p.objects) * cost(r, steps) for p, r in pairs]
        rows.append(
            Row(f"plain, where wrong again with {name}", [p.objects or r.objects for p, r in pairs], passes)
        )
    return rows


def table(title: str, rows: Sequence[Row], steps: int) -> list[str]:
    """Markdown. Passes per right image: all that was spent by the number of prompts with a right image."""
    n, plain = len(rows[0].right), rows[0].right
    cells = []
    for row in rows:
        found, spent = compare(zip(plain, row.right, strict=True)), sum(row.passes)
        extra = f"{spent / n - 2 * steps:.1f}" if row.updates else ""
        seconds = "" if math.isnan(row.seconds) else f"{row.seconds:.2f}"
        costs = f"{spent / n:.1f}", extra, f"{spent / max(1, sum(row.right)):.0f}", seconds
        cells.append((row.name, percent(sum(row.right), n), str(found.fixed), str(found.broken), *costs))
    right = {row.name: row.right for row in rows}
    found = compare(zip(right[PUBLISHED], right[FAST], strict=True))
    return [
        title,
        "",
        *markdown(HEADS, cells),
        f"The fast method against the 50 updates on the same images: {found.points:+.1f} points, McNemar p = "
        f"{found.p:.2g} ({found.fixed} right only with it, {found.broken} only with the 50).",
        "",
    ]


def joined(parts: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of several numbers of objects as one; seconds weighted by images."""
    rows = []
    for same in zip(*parts, strict=True):
        right, passes = sum((row.right for row in same), []), sum((row.passes for row in same), [])
        seconds = sum(row.seconds * len(row.right) for row in same) / len(right)
        name = same[0].name.partition(" (")[0] if "left alone" in same[0].name else same[0].name
        rows.append(Row(name, right, passes, seconds, same[0].updates))
    return rows


def tables(study: Study, store: Store) -> list[str]:
    """All numbers of objects together, then each of them."""
    parts, lines, steps = [], [], study.sampling.steps
    for objects in study.objects:
        images = store.images(study, objects)
        title = heading(f"{objects} object{'s' if objects > 1 else ''}", images, study)
        if not images[PLAIN]:
            lines += [title, ""]
            continue
        parts.append(rows_of(images, store.images(study.alone(), objects), steps))
        lines += table(title, parts[-1], steps)
    if len(parts) > 1:
        rows = joined(parts)
        lines = [*table(f"### Mixed, n = {len(rows[0].right)}", rows, steps), *lines]
    scale = next(way.guidance_scale for way in study.ways if way.name == PLUS)
    return [*about(study, f"guidance of Ours+ x {scale:g}"), *lines]
