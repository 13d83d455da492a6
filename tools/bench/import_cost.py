"""What loading the pack adds to a running ComfyUI: modules and time.

By module: `python3 tools/dev.py run -X importtime -m tools.bench --smoke --count-only`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from tools.host_env.inprocess import load_pack


@dataclass(frozen=True)
class ImportCost:
    """seconds: of the first load in this process. modules: top-level names added, without the pack's."""

    seconds: float
    modules: tuple[str, ...]


def import_cost() -> ImportCost:
    """Load the pack into the booted ComfyUI, whose server is imported by the time it loads packs."""
    import comfy_config.config_parser  # noqa: F401  by which ComfyUI's loader reads any pack's pyproject.toml
    import server  # noqa: F401

    before, begun = set(sys.modules), time.perf_counter()
    pack = load_pack()
    seconds = time.perf_counter() - begun
    new = {name.split(".")[0] for name in set(sys.modules) - before if not name.startswith(pack.__name__)}
    return ImportCost(
        seconds, tuple(sorted(new - sys.stdlib_module_names - {name.split(".")[0] for name in before}))
    )
