"""Files of reference values: which one is read, and which of its cases wait for a function."""

from __future__ import annotations

import json
import os
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"
WAITING: dict[str, list[str]] = {}
"""{file's name: its cases that no test covers yet}; one line each in the summary of a run."""


def reference_values(name: str, variable: str) -> dict:
    """The content of tests/data/<name>.json, or of the file that an environment variable names."""
    return json.loads(Path(os.environ.get(variable) or DATA / f"{name}.json").read_text("utf-8"))
