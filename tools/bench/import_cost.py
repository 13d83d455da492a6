"""What loading the pack adds to a running host: modules and time."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from tools.host_env.inprocess import load_pack


@dataclass(frozen=True)
class Import:
    """seconds: of the first load in this process. modules: top-level names that came with it, the pack's own left out."""

    seconds: float
    modules: tuple[str, ...]


def of_the_pack() -> Import:
    """Load the pack into the booted host, as it stands when it loads packs (its server is there by then)."""
    import comfy_config.config_parser  # noqa: F401  by which the host's loader reads any pack's pyproject.toml
    import server  # noqa: F401

    before, begun = set(sys.modules), time.perf_counter()
    pack = load_pack()
    seconds = time.perf_counter() - begun
    new = {name.split(".")[0] for name in set(sys.modules) - before if not name.startswith(pack.__name__)}
    return Import(
        seconds, tuple(sorted(new - sys.stdlib_module_names - {name.split(".")[0] for name in before}))
    )
