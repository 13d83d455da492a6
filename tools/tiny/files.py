"""Files that are either complete or not there: a killed run leaves nothing half written."""

import hashlib
import os
from pathlib import Path


def write_atomically(path: Path, write) -> None:
    """Call write(file) on a temporary neighbour, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
