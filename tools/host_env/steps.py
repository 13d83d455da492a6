"""Steps of the preparation: each done once, redone when what it was made from has changed, mended when
killed.

A step owns one product (a folder or file) and a stamp beside it that says what the product was made from.
The stamp is taken away before anything is touched and written last. So a killed run leaves a product without
a stamp, and the next run throws that product away and makes it again: there is nothing half done to repair.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .paths import HostError

OFFLINE_SIGNS = (
    "Temporary failure in name resolution", "Failed to establish a new connection", "Name or service not known",
    "Network is unreachable", "Max retries exceeded", "Connection refused", "ConnectTimeoutError", "ProxyError",
    "nodename nor servname",
)  # fmt: skip
PIP_STAGES = ("Collecting", "Downloading", "Building", "Installing collected")
SECONDS_BETWEEN_SIGNS_OF_LIFE = 15


@dataclass(frozen=True)
class Step:
    """One thing to make: what it is called, what it makes, from what (any change makes it again), and how.

    `proof` is a file inside the product without which it is of no use (an environment whose Python was
    removed).
    """

    title: str
    product: Path
    proof: Path
    made_from: str
    build: Callable[[], None]

    @property
    def stamp(self) -> Path:
        return self.product.with_name(f".{self.product.name}.stamp")

    def is_done(self) -> bool:
        return (
            self.proof.exists() and self.stamp.is_file() and self.stamp.read_text("utf-8") == self.made_from
        )


def carry_out(steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Do the steps that are not done yet, in order. `say` gets one line per step begun and per step
    finished.
    """
    for number, step in enumerate(steps, 1):
        if step.is_done():
            continue
        say(f"[{number}/{len(steps)}] {step.title} ...")
        begun = time.monotonic()
        step.stamp.unlink(missing_ok=True)
        remove(step.product)
        step.product.parent.mkdir(parents=True, exist_ok=True)
        step.build()
        write_atomically(step.stamp, step.made_from)
        say(f"[{number}/{len(steps)}] {step.title}: done in {time.monotonic() - begun:.0f} s")


def remove(product: Path) -> None:
    """Remove a file, a link (never what it points at) or a folder, if there is one."""
    if product.is_symlink() or product.is_file():
        product.unlink()
    elif product.exists():
        shutil.rmtree(product)


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = file.with_name(file.name + ".new")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, file)


def run_logged(command: Sequence[str | Path], log: Path, say: Callable[[str], None]) -> None:
    """Run a long command; its output goes to `log`, and every 15 s `say` gets the seconds and the last line.

    Raises HostError with the end of the log, and with the cure where the reason is the network.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = shown = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=paths.environment(),
            close_fds=False,  # it holds the lock of `only_one` as long as it writes, even if we are killed
        )
        try:
            while process.poll() is None:
                time.sleep(0.1)
                if time.monotonic() - shown > SECONDS_BETWEEN_SIGNS_OF_LIFE:
                    shown = time.monotonic()
                    say(f"      {shown - begun:4.0f} s  {_stage(log)[:90]}")
        finally:
            if process.poll() is None:  # interrupted: the child must not go on writing
                process.kill()
                process.wait()
    if process.returncode:
        raise HostError(_explain_failure(command, log))


def _stage(log: Path) -> str:
    """What pip said last about its progress (not its warnings); of other programs the last line."""
    lines = log.read_text("utf-8", errors="replace").split("\n")
    return next(
        (line.strip() for line in reversed(lines) if line.strip().startswith(PIP_STAGES)), _last_line(log)
    )


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _explain_failure(command: Sequence[str | Path], log: Path) -> str:
    """What a person needs to know about a failed command, from its output."""
    text = log.read_text("utf-8", errors="replace")
    if any(sign in text for sign in OFFLINE_SIGNS):
        return (
            "The package index cannot be reached.\nConnect this machine to the network (behind a proxy: set "
            "HTTPS_PROXY; with a mirror: set PIP_INDEX_URL) and run the command "
            "again; what is done stays done.\n"
            "Offline, `serve`, `demo` and `eval` work with COMFYUI_PATH set to "
            "a ComfyUI that is already there.\n"
            f"pip's output: {log}"
        )
    if "No space left on device" in text:
        return f"The disk is full. Free some space and run the command again. pip's output: {log}"
    if "No matching distribution found" in text:
        return (
            f"{_last_line(log)}\nThe package index has no such package for Python "
            f"{sys.version_info.major}.{sys.version_info.minor} on this system. "
            f"Run tools/dev.py with Python 3.10 to 3.13. pip's output: {log}"
        )
    end = "\n".join(text.strip().split("\n")[-12:])
    return f"This command failed: {' '.join(str(part) for part in command)}\n{end}\nIts whole output: {log}"


@contextlib.contextmanager
def only_one(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, so that two commands started together do not prepare the same thing.

    The system releases the lock when this process and what it started by `run_logged` have ended, however
    they end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        if os.name == "posix":
            import fcntl

            os.set_inheritable(lock.fileno(), True)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                say("another command is preparing the host; waiting for it ...")
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
