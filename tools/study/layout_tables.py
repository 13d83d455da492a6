"""The tables of the study of layouts: one for each task, and what is left of objects from stage to stage."""

from collections.abc import Iterator, Sequence

from .data import HOW
from .paired_statistics import compare, percent
from .tables import markdown

TASKS = {
    "positions": ("side by side", "one above the other", "diagonal"),
    "counts": ("two of one kind", "three of one kind"),
    "three colours": ("three",),
    "negation": ("negation",),
}
"""Kinds of layout that are counted together."""
LMD = "LMD, all stages"
METHODS = {
    "plain": "",
    "BoxDiff": "BoxDiff (Xie et al. 2023)",
    "Layout Guidance": "Layout Guidance (Chen et al. 2024)",
    "R&B": "R&B, Region and Boundary (Xiao et al. 2024)",
    "Bounded Attention, loss": "Bounded Attention, loss (Dahary et al. 2024)",
    "LMD energy alone": "LMD energy (Lian et al. 2024)",
    LMD: "",
}
HEADS = (
    "way",
    "objects there (95 %)",
    "in their boxes (95 %)",
    "all in place (95 %)",
    "more than plain",
    "fewer",
    "p",
    "passes",
)

Batches = dict[tuple[str, int], dict]
"""(kind, number) -> record of one way."""


def tables(records: Sequence[dict]) -> list[str]:
    """Of batches that every way has made: a table for each task, what was not wanted, LMD's stages."""
    by_way = {name: {(r["kind"], r["batch"]): r for r in records if r["way"] == name} for name in METHODS}
    whole = set.intersection(*(set(found) for found in by_way.values()))
    lines = []
    for task, kinds in TASKS.items():
        own = sorted(key for key in whole if key[0] in kinds)
        if own:
            lines += table(task, {name: [found[k] for k in own] for name, found in by_way.items()})
    lines += [
        "### What was not wanted",
        "",
        "Images that have the shape which the prompt is to be without:",
        "",
    ]
    lines += unwanted({name: [found[k] for k in sorted(whole)] for name, found in by_way.items()})
    return [*lines, "### Stages of LMD Sampler", "", *stages([by_way[LMD][k] for k in sorted(whole)]), ""]


def table(task: str, by_way: dict[str, list[dict]]) -> list[str]:
    """Objects, whole images, and images with more and with fewer objects in place than plain."""
    plain = objects_in(by_way["plain"], "in_box")
    wanted = [len(image) for record in by_way["plain"] for image in record["in_box"]]
    rows = []
    for name, batches in by_way.items():
        placed = objects_in(batches, "in_box")
        signs = compare((b < a, a < b) for a, b in zip(plain, placed, strict=True))
        against = (str(signs.fixed), str(signs.broken), f"{signs.p:.2g}") if name != "plain" else ("",) * 3
        full = sum(a == b for a, b in zip(placed, wanted, strict=True))
        passes = 2 * HOW["sd"].steps + sum(r["passes"] for r in batches) / len(batches)
        there = percent(sum(objects_in(batches, "there")), sum(wanted))
        shares = there, percent(sum(placed), sum(wanted)), percent(full, len(wanted))
        rows.append((name, *shares, *against, f"{passes:.0f}"))
    return [f"### {task}, n = {len(wanted)}", "", *markdown(HEADS, rows)]


def objects_in(batches: Sequence[dict], key: str) -> list[int]:
    """Objects per image that are "there", or "in_box"."""
    return [sum(image) for record in batches for image in record[key]]


def unwanted(by_way: dict[str, list[dict]]) -> list[str]:
    """Images in which what was negated is there."""
    rows = []
    for name, batches in by_way.items():
        flags = [flag for record in batches for flag in record.get("unwanted", ())]
        if flags:
            rows.append((name, percent(sum(flags), len(flags))))
    return markdown(("way", "images (95 %)"), rows)


def stages(batches: Sequence[dict]) -> list[str]:
    """Where LMD loses objects: in the image of their own, in its box, in the end."""
    names = {
        "alone": "right in the image of its own",
        "in_centre": "and in the box there",
        "there": "there in the finished image",
        "in_box": "in its box",
    }
    rows = [(name, percent(*_counted(batches, key))) for key, name in names.items()]
    return markdown(("object", "share (95 %)"), rows)


def _counted(batches: Sequence[dict], key: str) -> tuple[int, int]:
    flags: Iterator[bool] = (flag for record in batches for image in record[key] for flag in image)
    values = list(flags)
    return sum(values), len(values)
