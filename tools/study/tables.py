"""Markdown tables from records, and where they go."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from .data import Record, Study
from .paired_statistics import Comparison, compare, percent

COMPARED = ("way", "objects right (95 %)", "points", "McNemar p", "fixed", "broken")
"""Heads of the columns of a way that is compared with plain."""


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, and an empty one."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def compared(baseline: Sequence[Record], refined: Sequence[Record], what: str = "objects") -> Comparison:
    """The images of two ways by "objects" or "colours"."""
    return compare((getattr(a, what), getattr(b, what)) for a, b in zip(baseline, refined, strict=True))


def per_batch(records: Sequence[Record], name: str) -> float:
    """Mean of a number that the images of a batch share, over batches."""
    return sum(getattr(r, name) / r.batch for r in records) / sum(1 / r.batch for r in records)


def seconds_per_image(records: Sequence[Record]) -> float:
    """NaN without an image."""
    return fmean(r.seconds / r.batch for r in records) if records else math.nan


def heading(text: str, images: dict[str, list[Record]], study: Study) -> str:
    """A title with n, and with what is missing of a study that has not been finished."""
    made = min(map(len, images.values()))
    return f"### {text}, n = {made}" + (
        f" (unfinished: {made} of {study.pairs})" if made < study.pairs else ""
    )


def about(study: Study, *more: str) -> list[str]:
    """The command and what the numbers depend on."""
    how = study.sampling
    facts = ", ".join(f"{name} {text}" for name, text in study.facts.items())
    parts = [
        f"{study.split} prompts, {how.sampler} + {how.scheduler}, {how.steps} steps, cfg {how.cfg:g}",
        *more,
        facts,
    ]
    return [f"`{study.command}` ({'; '.join(parts)}):", ""]


def share(records: Sequence[Record], what: str = "objects") -> str:
    """How many images are right, with the interval."""
    return percent(sum(getattr(r, what) for r in records), len(records))


def write_between(path: Path, text: str, name: str) -> None:
    """Puts the text between the marks of this name in a file, at its end if it has none."""
    begin, end = f"<!-- {name} -->\n", f"<!-- {name}: end -->\n"
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        before, _, rest = old.partition(begin)
        after = rest.partition(end)[2]
        path.write_text(before + begin + text + end + after, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        print(f"The tables could not be written into {path} ({type(error).__name__}); they stand above.")
