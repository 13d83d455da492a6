"""The parts as processes: what each one is worth, how long it takes, and what is left out when time is
short.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.host_env.paths import CLONE, environment

CARD_TFLOPS = 800.0
"""bf16 products of the card that the seconds below were noted on; a slower one is given more, by its own
measured rate.
"""


@dataclass(frozen=True)
class Job:
    """One worker process.

    seconds: what it took on the card that CARD_TFLOPS names. needs_gib: memory of the device. together: jobs
    that follow each other with the same name here run at the same time (nothing is timed in them).
    """

    name: str
    part: str
    arguments: tuple[str, ...]
    seconds: float
    letter: str
    needs_gib: float = 0
    together: str = ""


def all_jobs(smoke: bool) -> list[Job]:
    """In order of worth."""
    if smoke:
        return _smoke_jobs()
    jobs = [Job("facts", "facts", (), 25, "c")]
    jobs += [
        Job(f"correctness_{d}", "correctness", ("--dtype", d), 150, "a", 4, "a")
        for d in ("fp32", "bf16", "fp16")
    ]
    jobs.append(Job("demo", "demo", (), 40, "a", 4))
    jobs.append(_size("sdxl", "fp16", 45, 24))
    jobs += _vram("sdxl", "fp16", ("9", "5"), 60, 12)
    jobs += [_size("flux", "bf16", 60, 40), _size("sd15", "fp16", 35, 12)]
    jobs += _vram("flux", "bf16", ("6",), 60, 14)
    jobs += [
        _size("sd35m", "bf16", 45, 16),
        _size("flux", "bf16", 60, 40, "fp8"),
        _size("z_image", "bf16", 45, 30),
    ]
    jobs.append(Job("formats", "formats", ("--model", "flux", "--dtype", "bf16"), 90, "f", 24))
    jobs.append(Job("attention", "attention", (), 35, "e", 8))
    jobs += [
        Job(f"graph_{m}", "graph", ("--model", m, "--dtype", d), 30, "d", 24)
        for m, d in (("sdxl", "fp16"), ("sd15", "fp16"))
    ]
    jobs.append(Job("compile_sdxl", "compile", ("--model", "sdxl", "--dtype", "fp16"), 180, "d", 24))
    return [*jobs, _size("qwen", "bf16", 95, 60)]


def _size(model: str, dtype: str, seconds: float, gib: float, stored: str | None = None) -> Job:
    more = ("--stored", stored) if stored else ()
    name = f"sizes_{model}_{stored or dtype}"
    return Job(name, "sizes", ("--model", model, "--dtype", dtype, *more), seconds, "c", gib)


def _vram(model: str, dtype: str, free: Sequence[str], seconds: float, gib: float) -> list[Job]:
    more = ("--model", model, "--dtype", dtype, "--free", *free)
    return [
        Job(f"vram_{model}_{mode}", "vram", ("--mode", mode, *more), seconds, "b", gib)
        for mode in ("static", "dynamic", "lowvram")
    ]


def _smoke_jobs() -> list[Job]:
    small = ("--mode", "cpu", "--smoke")
    jobs = [
        ("facts", "facts", (), "c"),
        ("correctness_fp32", "correctness", (), "a"),
        ("demo", "demo", (), "a"),
        ("sizes_sdxl", "sizes", ("--model", "sdxl"), "c"),
        ("vram_sdxl_static", "vram", ("--model", "sdxl"), "b"),
        ("graph_sd15", "graph", ("--model", "sd15"), "d"),
        ("compile_sd15", "compile", ("--model", "sd15"), "d"),
        ("attention", "attention", (), "e"),
        ("formats", "formats", ("--model", "flux"), "f"),
    ]
    return [Job(name, part, (*small, *more), 30, letter) for name, part, more, letter in jobs]


class Runner:
    """Carries out jobs within a time limit; a result or the reason why there is none for every one of
    them.
    """

    def __init__(self, folder: Path, limit: float):
        self.folder, self.end = folder, time.time() + limit
        self.results: dict[str, dict] = {}
        self.left_out: dict[str, str] = {}
        self.scale = 1.0

    def run(self, jobs: Sequence[Job], memory_gib: float | None = None) -> None:
        """One after the other; those that belong together at the same time. A job that would outlast the
        limit is left out.
        """
        at = 0
        while at < len(jobs):
            group = [jobs[at]]
            while (
                jobs[at].together
                and at + len(group) < len(jobs)
                and jobs[at + len(group)].together == jobs[at].together
            ):
                group.append(jobs[at + len(group)])
            at += len(group)
            self._group([job for job in group if self._fits(job, memory_gib)])

    def _fits(self, job: Job, memory_gib: float | None) -> bool:
        left = self.end - time.time()
        if memory_gib is not None and job.needs_gib > memory_gib:
            self.left_out[job.name] = (
                f"needs {job.needs_gib:g} GiB of device memory, the card has {memory_gib:g}"
            )
        elif job.seconds * self.scale > left:
            self.left_out[job.name] = (
                f"takes about {job.seconds * self.scale:.0f} s, {max(left, 0):.0f} s were left"
            )
        else:
            return True
        return False

    def _group(self, group: Sequence[Job]) -> None:
        begun = {job.name: self._begin(job) for job in group}
        for job in group:
            left = max(1.0, min(2.5 * job.seconds * self.scale + 30, self.end - time.time()))
            process = begun[job.name]
            try:
                status = process.wait(left)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                status = "stopped at its time limit"
            self._keep(job, status)

    def run_here(self, jobs: Sequence[Job]) -> None:
        """All in this process, on a CPU: ComfyUI starts once."""
        from . import worker

        for job in jobs:
            if not self._fits(job, None):
                continue
            status: int | str = 0
            try:
                worker.main(self._line(job))
            except Exception as error:
                status = f"{type(error).__name__}"
            self._keep(job, status)

    def _keep(self, job: Job, status: int | str) -> None:
        self.results[job.name] = self._read(job, status)
        print(
            f"[{max(0, self.end - time.time()):4.0f} s left] {job.name}: {_short(self.results[job.name])}",
            flush=True,
        )

    def _line(self, job: Job) -> list[str]:
        limit = max(1.0, self.end - time.time() - 10)
        out, files = self.folder / f"{job.name}.json", self.folder / "files"
        return [
            job.part,
            "--out",
            str(out),
            "--folder",
            str(files),
            *job.arguments,
            "--limit",
            f"{limit:.0f}",
        ]

    def _begin(self, job: Job) -> subprocess.Popen:
        (self.folder / f"{job.name}.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tools.gpu.worker", *self._line(job)]
        with open(self.folder / f"{job.name}.log", "w", encoding="utf-8") as log:
            return subprocess.Popen(
                command, cwd=CLONE, env=environment(), stdout=log, stderr=subprocess.STDOUT
            )

    def _read(self, job: Job, status: int | str) -> dict:
        path = self.folder / f"{job.name}.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"found": {}}
        return {"part": job.letter, "status": status, **found}


def faults_in(result: dict) -> list[str]:
    """Every fault that a worker noted, with its place; a worker that ended in another way than it should
    is one.
    """
    found = [
        f"{name}: {fault}"
        for name, entry in result["found"].items()
        if isinstance(entry, dict)
        for fault in entry.get("faults", [])
    ]
    if "error" in result["found"]:
        found.append(f"{result['found']['error']['type']}: {result['found']['error']['text']}")
    elif result["status"] != 0 or not result["found"].get("ended"):
        found.append(f"the process ended with {result['status']}")
    return found + [
        f"{name}: {e['error']}"
        for name, e in result["found"].items()
        if isinstance(e, dict) and isinstance(e.get("error"), str)
    ]


def _short(result: dict) -> str:
    faults = faults_in(result)
    seconds = f"{result.get('seconds', 0):.0f} s, "
    return seconds + (
        f"{len(faults)} faults: {' | '.join(f.splitlines()[0][:150] for f in faults)[:600]}"
        if faults
        else "no fault"
    )


def device_environment() -> None:
    """What this process and those it begins agree on: deterministic products of matrices."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
