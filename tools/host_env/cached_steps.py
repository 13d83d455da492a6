"""Steps of the preparation: done once, redone when what they were made from has changed or if interrupted.

A step owns one product (a folder or file) and a stamp beside it that says what the product was made from.
The stamp is taken away before anything is touched and written last. So a killed run leaves a product without
a stamp, and the next run throws that product away and makes it again: there is nothing half done to repair.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One thing to make: what it is called, what it makes, from what (a change makes it again), and how.

    `proof` is a file inside the product without which it is of no use (an environment whose Python is gone).
    """

    title: str
    product: Path
    proof: Path
    made_from: str
    build: Callable[[], None]

    @property
    def stamp(self) -> Path:
        """The file beside the product that says what the product was made from."""
        return self.product.with_name(f".{self.product.name}.stamp")

    def is_done(self) -> bool:
        """Whether the product is whole and made from what it should be made from."""
        return (
            self.proof.exists() and self.stamp.is_file() and self.stamp.read_text("utf-8") == self.made_from
        )


def carry_out(steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Do the steps that are not done yet, in order. `say` gets a line per step begun and finished."""
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


@contextlib.contextmanager
def only_one(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, so that two commands started together do not prepare the same thing.

    Programs started meanwhile without `close_fds` hold it as well. The system releases it when all of them
    have ended, however they end: what a killed run has started is waited for.
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
