"""Workers that make cells: processes of this machine, or actors of Ray on one machine or many.

A worker owns one server. The program that starts them is the only one that keeps results, so a worker that
dies takes nothing with it: its cell goes to the next free one, and the worker is started again.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

MOST_DEATHS = 3
"""Deaths of one worker without a result in between, after which it is not started again."""
Make = Callable[[Any], dict]
"""Makes one cell."""
Factory = Callable[[], Make]
"""Called once in each worker; may start a server. Must be picklable."""


class StudyFailed(Exception):
    """Why a study cannot go on, in one sentence. What was made is kept."""


class WorkerLost(Exception):
    """Raised by a worker whose server is gone: it ends, and its cell goes to another one."""


class Died:
    """In place of a result: the worker is gone."""


class Failed(str):
    """In place of a result: what the server said about a cell that cannot be made."""


class Pool(Protocol):
    """Workers with numbers from 0."""

    def start(self, worker: int) -> None:
        """Starts a worker, or starts it again."""

    def submit(self, worker: int, cell: Any) -> None:
        """Gives an idle worker a cell."""

    def wait(self) -> tuple[int, dict | Died | Failed]:
        """The next worker that has finished or died."""

    def close(self) -> None:
        """Ends all workers."""


def dispatch(cells: Iterable, pool: Pool, workers: int, take: Callable[[Any, dict], None]) -> None:
    """Gives out all cells, and `take`s each result once. The pool's workers 0 ... workers - 1 are running.

    Raises StudyFailed for a cell that cannot be made, and when no worker is left.
    """
    waiting, busy = deque(cells), {}
    idle, deaths = list(range(workers)), dict.fromkeys(range(workers), 0)
    while waiting or busy:
        while waiting and idle:
            worker = idle.pop(0)
            busy[worker] = waiting.popleft()
            pool.submit(worker, busy[worker])
        if not busy:
            raise StudyFailed("No worker is left: look at the servers, then run the same command again.")
        worker, found = pool.wait()
        cell = busy.pop(worker)
        if isinstance(found, Failed):
            raise StudyFailed(f"A cell cannot be made: {found}")
        if isinstance(found, Died):
            waiting.appendleft(cell)
            deaths[worker] += 1
            if deaths[worker] < MOST_DEATHS:
                pool.start(worker)
                idle.append(worker)
            continue
        deaths[worker] = 0
        idle.append(worker)
        take(cell, found)


def serve(pipe, factory: Factory) -> None:
    """The life of a worker process: cells come in, results go out, until the pipe is closed."""
    make = None
    try:
        make = factory()
        while True:
            cell = pipe.recv()
            try:
                pipe.send(make(cell))
            except ValueError as error:
                pipe.send(Failed(error))
    except (EOFError, OSError, WorkerLost, KeyboardInterrupt):
        return
    finally:
        if hasattr(make, "close"):
            make.close()


class LocalPool:
    """Processes of this machine, with the standard library alone."""

    def __init__(self, factories: Sequence[Factory]):
        self.factories = list(factories)
        self.context = multiprocessing.get_context("spawn")
        self.pipes: dict[int, Any] = {}
        self.processes: dict[int, Any] = {}
        self.busy: set[int] = set()
        for worker in range(len(self.factories)):
            self.start(worker)

    def start(self, worker: int) -> None:
        """Starts a worker, or starts it again."""
        self._end(worker)
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=serve, args=(theirs, self.factories[worker]))
        process.start()
        theirs.close()  # so that the end of the process closes the pipe
        self.pipes[worker], self.processes[worker] = ours, process

    def submit(self, worker: int, cell: Any) -> None:
        """Gives an idle worker a cell. One that is dead already is noticed by `wait`."""
        self.busy.add(worker)
        try:
            self.pipes[worker].send(cell)
        except OSError:
            pass

    def wait(self) -> tuple[int, dict | Died | Failed]:
        """The next worker that has finished or died."""
        by_pipe = {self.pipes[worker]: worker for worker in self.busy}
        ready = multiprocessing.connection.wait(list(by_pipe))[0]
        worker = by_pipe[ready]
        self.busy.discard(worker)
        try:
            return worker, ready.recv()
        except (EOFError, OSError):
            return worker, Died()

    def close(self) -> None:
        """Ends all workers."""
        for worker in list(self.processes):
            self._end(worker)

    def _end(self, worker: int) -> None:
        if worker not in self.processes:
            return
        self.pipes[worker].close()
        process = self.processes.pop(worker)
        process.join(timeout=20)  # it ends its server first
        if process.is_alive():
            process.terminate()
            process.join()


class RayPool:
    """Actors of Ray. address: of a cluster, "" = a local one for this study.

    Raises StudyFailed if Ray is not installed.
    """

    def __init__(self, factories: Sequence[Factory], address: str = ""):
        try:
            import ray
        except ImportError:
            raise StudyFailed(
                "Ray is not installed: pip install -r tools/requirements-ray.txt into ComfyUI's Python, or "
                "leave --ray and --address out (processes of this machine need nothing)."
            ) from None
        self.ray = ray
        if not ray.is_initialized():
            ray.init(address=address or None, include_dashboard=False, log_to_driver=False)
        options = {"max_restarts": 0, "num_cpus": 0, "scheduling_strategy": "SPREAD"}  # a GPU server waits
        self.actor = ray.remote(**options)(Actor)
        self.factories = list(factories)
        self.actors: dict[int, Any] = {}
        self.refs: dict[Any, int] = {}
        for worker in range(len(self.factories)):
            self.start(worker)

    def start(self, worker: int) -> None:
        """Starts a worker, or starts it again."""
        self.actors[worker] = self.actor.remote(self.factories[worker])

    def submit(self, worker: int, cell: Any) -> None:
        """Gives an idle worker a cell."""
        self.refs[self.actors[worker].make.remote(cell)] = worker

    def wait(self) -> tuple[int, dict | Died | Failed]:
        """The next worker that has finished or died."""
        (ready,), _ = self.ray.wait(list(self.refs), num_returns=1)
        worker = self.refs.pop(ready)
        try:
            return worker, self.ray.get(ready)
        except self.ray.exceptions.RayActorError:
            return worker, Died()
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, WorkerLost):
                self.ray.kill(self.actors[worker])
                return worker, Died()
            raise StudyFailed(f"A worker failed: {error.cause!r}") from None

    def close(self) -> None:
        """Ends all workers."""
        for actor in self.actors.values():
            self.ray.kill(actor)
        self.ray.shutdown()


class Actor:
    """A worker inside Ray."""

    def __init__(self, factory: Factory):
        self.maker = factory()

    def make(self, cell: Any) -> dict | Failed:
        """One cell."""
        try:
            return self.maker(cell)
        except ValueError as error:
            return Failed(error)
