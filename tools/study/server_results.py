"""What a study through a server has made: its store, early stopping, tables, and the chosen step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from gsn_ops.chosen_moments import ChosenMoment

from .cells import Cell, Grid
from .choose_step import best_step, scores
from .curve import Series
from .json_lines import JsonLines, not_a_record
from .paired_statistics import compare, mcnemar, percent
from .published_numbers import TABLE_2, TABLE_2_HEADS, TABLE_3, TABLE_3_HEADS, table
from .tables import markdown

VERSION = 1
PUBLISHED_SET = "2 entities"
HOPELESS_P, HOPELESS_PAIRS = 0.01, 20
"""A candidate ends early when it is worse than the best one with a smaller p, on at least so many pairs."""
Way = tuple[str, int | None]


class CellStore:
    """Results by cell, in a file of JSON lines: first the study's version and plan, then one cell a line.

    plan: what all cells have in common, as a digest. Raises ValueError for a file of another study or
    version.
    """

    def __init__(self, path: Path, plan: str):
        self.lines = JsonLines(path)
        self.results: dict[str, dict] = {}
        self.cells: dict[str, Cell] = {}
        head, *rest = self.lines.read or [None]
        if head is None:
            self.lines.append([{"gsn_study": VERSION, "plan": plan}])
        elif head.get("gsn_study") != VERSION:
            found = head.get("gsn_study", "none")
            raise ValueError(
                f"{path} is a store of version {found}, this is version {VERSION}: name another file "
                "(--records)."
            )
        elif head.get("plan") != plan:
            raise ValueError(
                f"{path} has the cells of another workflow: name another file (--records), or take the "
                "workflow it was begun with."
            )
        for number, line in enumerate(rest, 2):
            try:
                cell, result = Cell(**line["cell"]), line["result"]
                result["right"]
            except (TypeError, KeyError) as error:
                raise not_a_record(path, number, f"{type(error).__name__}: {error}") from None
            self.cells[cell.key], self.results[cell.key] = cell, result

    def add(self, cell: Cell, result: dict) -> None:
        """Keeps the result of a cell."""
        self.lines.append([{"cell": asdict(cell), "result": result}])
        self.cells[cell.key], self.results[cell.key] = cell, result

    def within(self, grid: Grid) -> CellStore:
        """The same store with the cells of one grid alone: a file may also have those of other prompts, seeds
        or overrides.
        """
        keys = {cell.key for cells in grid.rounds() for cell in cells}
        part = copy.copy(self)
        part.results = {key: result for key, result in self.results.items() if key in keys}
        part.cells = {key: cell for key, cell in self.cells.items() if key in keys}
        return part

    def right(self, cell: Cell) -> bool | None:
        """Whether the cell's image is right; None = not made."""
        found = self.results.get(cell.key)
        return None if found is None else found["right"]


def pairs(store: CellStore, cells: Iterable[Cell], one: Way, other: Way) -> list[tuple[bool, bool]]:
    """(right in one way, right in the other) of every prompt and seed that both have made."""
    by_image: dict[tuple, dict[Way, bool]] = {}
    for cell in cells:
        verdict = store.right(cell)
        if verdict is not None and cell.way in (one, other):
            by_image.setdefault((cell.set, cell.prompt, cell.seed), {})[cell.way] = verdict
    return [(found[one], found[other]) for found in by_image.values() if len(found) == 2]


def hopeless(store: CellStore, grid: Grid, made: Sequence[Cell], stopped: set[Way]) -> set[Way]:
    """The ways that are worse than the best step of their method by a paired test, and need no more images.

    made: the cells of all finished rounds. A function of these alone: the same after a kill, and with any
    number of workers.
    """
    found = set(stopped)
    for method in grid.methods:
        ways = [way for way in grid.ways if way[0] == method and way not in stopped]
        rights = {way: [store.right(c) for c in made if c.way == way] for way in ways}
        best = max(ways, key=lambda way: sum(filter(None, rights[way])), default=None)
        for way in ways:
            both = pairs(store, made, best, way) if way != best else []
            if len(both) < HOPELESS_PAIRS:
                continue
            fixed, broken = sum(b and not a for a, b in both), sum(a and not b for a, b in both)
            if broken > fixed and mcnemar(fixed, broken) < HOPELESS_P:
                found.add(way)
    return found


def name_of(way: Way) -> str:
    """A row's name."""
    method, step = way
    if not method:
        return "plain"
    return f"{method}, step {step}" if step is not None else method


def images(store: CellStore, way: Way, name: str) -> list[dict]:
    """The results of a way in a set of prompts."""
    return [
        result
        for key, result in store.results.items()
        if store.cells[key].way == way and store.cells[key].set == name
    ]


def sets_of(grid: Grid) -> list[str]:
    """The sets of prompts, in order."""
    return list(dict.fromkeys(prompt.set for prompt in grid.prompts))


def choice(store: CellStore, grid: Grid, method: str, stopped: set[Way]) -> int | None:
    """k* of a method among the candidates that were not stopped; None without two of them."""
    found = rates(store, grid, method, stopped)
    steps = next(iter(found.values()), {})
    return best_step(found) if steps else None


def rates(store: CellStore, grid: Grid, method: str, stopped: set[Way]) -> dict[str, dict[int, float]]:
    """Set -> step -> share of right images, of the candidates that have images in every set."""
    going = [k for k in grid.candidates if (method, k) not in stopped]
    made = {s: {k: images(store, (method, k), s) for k in going} for s in sets_of(grid)}
    whole = [k for k in going if all(of_set[k] for of_set in made.values())]
    return {s: {k: share(of_set[k]) for k in whole} for s, of_set in made.items()}


def share(results: Sequence[dict]) -> float:
    """Share of right images."""
    return sum(result["right"] for result in results) / len(results)


def tables(store: CellStore, grid: Grid, stopped: set[Way]) -> list[str]:
    """Right images per way and set with intervals, the choice, paired tests, and the published tables."""
    sets = sets_of(grid)
    lines, own, rows = [], {}, []
    best = {method: choice(store, grid, method, stopped) for method in grid.methods}
    for way in grid.ways:
        made = {s: images(store, way, s) for s in sets}
        cells = [cell_text(made[s]) for s in sets]
        score = ""
        if way[1] is not None and way not in stopped and best[way[0]] is not None:
            score = f"{scores(rates(store, grid, way[0], stopped)).get(way[1], 0):.2f}"
        rows.append((name_of(way), *cells, "ended early" if way in stopped else score))
        if not way[0] or way[1] == best.get(way[0]):
            own[name_of(way)] = {s: f"{100 * share(made[s]):.1f}" for s in sets if made[s]}
    lines += markdown(("way", *(f"{s} (95 %), n" for s in sets), "score(k)"), rows)
    every = [cell for cells in grid.rounds() for cell in cells]
    for method, step in best.items():
        found = compare(pairs(store, every, ("", None), (method, step)))
        if found.n:
            counts = f"{found.fixed} fixed, {found.broken} broken of {found.n}"
            gained = f"{found.points:+.1f} points over plain, McNemar p = {found.p:.2g} ({counts})"
            lines.append(f"* {name_of((method, step))}: {gained}")
    lines += ["", "Published (Grimal et al. 2025), TIAM in %:", "", *table(TABLE_2_HEADS, TABLE_2, own)]
    return lines + similarities(store, sets, [way for way in grid.ways if name_of(way) in own])


def similarities(store: CellStore, sets: Sequence[str], ways: Sequence[Way]) -> list[str]:
    """A table of each set whose images have scores, that of two entities beside the published rows."""
    lines: list[str] = []
    for name in dict.fromkeys([PUBLISHED_SET, *sets]):
        own = {}
        for way in ways:
            made = [r["similarities"] for r in images(store, way, name) if "similarities" in r]
            columns = [head for head in TABLE_3_HEADS[1:] if made and head in made[0]]
            own |= {name_of(way): {c: f"{fmean(m[c] for m in made):.4f}" for c in columns}} if made else {}
        published = TABLE_3 if name == PUBLISHED_SET else {}
        if own or published:
            lines += [f"Similarities, {name}:", "", *table(TABLE_3_HEADS, published, own)]
    return lines


def cell_text(results: Sequence[dict]) -> str:
    """ "64.5 % (57.7 to 70.8), 200"; "" without an image."""
    if not results:
        return ""
    return f"{percent(sum(r['right'] for r in results), len(results))}, {len(results)}"


def series(store: CellStore, grid: Grid, method: str, stopped: set[Way]) -> list[Series]:
    """The curve of a method: its candidates that were made to the end."""
    found = []
    for name in sets_of(grid):
        plain = images(store, ("", None), name)
        made = {k: images(store, (method, k), name) for k in grid.candidates if (method, k) not in stopped}
        right = {k: sum(r["right"] for r in results) for k, results in made.items() if results}
        if plain and right:
            found.append(Series(name, right, sum(r["right"] for r in plain), len(plain)))
    return found


def chosen(
    store: CellStore, grid: Grid, method: str, step: int, steps: int, date: str, command: str
) -> tuple[str, ChosenMoment] | None:
    """(key of the weights, the choice), None if the runs did not say where they acted."""
    made = [result for s in sets_of(grid) for result in images(store, (method, step), s)]
    placed = next((r for r in made if r.get("percent") is not None and r.get("weights")), None)
    if placed is None:
        return None
    moment = ChosenMoment(placed["percent"], placed["sigma"], step, steps, len(made), date, command)
    return placed["weights"], moment
