"""Workers of a study that need no server: verdicts by a rule, and deaths at chosen cells."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from tools.study.cells import Grid, Task, digest
from tools.study.pools import Died, Failed
from tools.study.prompt_sets import AskedPrompt

METHOD = "Latent Refine (Grimal et al. 2025)"
GRID = Grid(
    tuple(AskedPrompt(name, f"{name} {n}") for name in ("a cat and", "two dogs and") for n in range(12)),
    seeds=(3, 4),
    methods=(METHOD,),
    candidates=(0, 2, 4),
    round_size=6,
)


def verdict(task: Task) -> dict:
    """Right more often at step 2, hardly ever at step 4."""
    cell = task.cell
    number = int(digest([cell.prompt, cell.seed]), 16) % 100
    right = number < {"": {None: 40}}.get(cell.method, {0: 80, 2: 90, 4: 3})[cell.step]
    where = {"step": cell.step, "sigma": 8.0, "percent": (cell.step or 0) / 20, "weights": "abc"}
    return {"right": right, "score": float(right), **(where if cell.method else {})}


@dataclass
class Worker:
    """dies_at: number of the cell, in the order of all workers, at which one of them is killed, once."""

    folder: str = ""
    dies_at: int = -1

    def __call__(self, task: Task) -> dict:
        if self.dies_at >= 0:
            seen = len(list(Path(self.folder).glob("cell*")))
            (Path(self.folder) / f"cell{os.getpid()}-{task.cell.key}").touch()
            died = Path(self.folder) / "died"
            if seen >= self.dies_at and not died.exists():
                died.touch()
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        return verdict(task)


class Inline:
    """A pool of one worker inside this process. fails: what happens at a cell by its number. make: a cell."""

    def __init__(self, fails: dict[int, Died | Failed] | None = None, make=verdict):
        self.fails, self.number, self.tasks, self.started = fails or {}, 0, {}, 0
        self.make = make

    def start(self, worker: int) -> None:
        self.started += 1

    def submit(self, worker: int, task: Task) -> None:
        self.tasks[worker] = task

    def wait(self):
        worker, task = self.tasks.popitem()
        self.number += 1
        return worker, self.fails.get(self.number) or self.make(task)

    def close(self) -> None:
        pass
