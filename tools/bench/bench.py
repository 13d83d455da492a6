"""Everything measured about one model, and the four ratios that count."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import torch

from tools.host_env.inprocess import pack_module

from .flop_floor import Rate
from .import_cost import ImportCost, import_cost
from .interleaved import WARM, Measured, interleaved
from .models import DTYPES, Size, build, patcher
from .op_counts import OpCounts, count_ops
from .published_baseline import published_update
from .sampler_state import plain_step

RATIOS = {  # name -> (numerator, denominator): ways of one round
    "speedup_vs_published": ("published", "ours"),
    "time_vs_floor": ("ours", "floor"),
    "update_vs_cfg_step": ("ours", "step"),
}


@dataclass(frozen=True)
class Found:
    """counts: by counting. measured: None with count_only. facts: what the numbers depend on."""

    size: Size
    counts: OpCounts
    measured: Measured | None
    imported: ImportCost
    facts: dict[str, str | int]

    def ratio(self, name: str) -> tuple[float, float, float] | None:
        """Median, least and most over the rounds; of one round each."""
        above, below = RATIOS[name]
        seconds = self.measured.seconds if self.measured else {}
        if not seconds.get(above) or not seconds.get(below):
            return None
        ratios = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)

    @property
    def memory_vs_published(self) -> float:
        """Measured, or by counting where the published way was not run."""
        peak = self.measured.peak if self.measured else {}
        if "published" in peak:
            return peak["ours"] / peak["published"]
        return self.counts.ours[0].peak / self.counts.published.peak


def bench(
    size: Size,
    device: torch.device,
    *,
    rounds: int = 5,
    published: bool = True,
    count_only: bool = False,
    precision: str = "full",
    seed: int = 0,
) -> Found:
    """Measure one model. Raises MemoryError, before anything is built, if the machine is too small."""
    imported = import_cost()
    counts = count_ops(size)
    measured = None
    if not count_only:
        _check_room(size, counts, device, published)
        measured = _measured(size, counts, device, rounds, published, precision, seed)
    return Found(
        size,
        counts,
        measured,
        imported,
        {**_facts(size, device, rounds), "update_precision": precision, "seed": seed},
    )


def _measured(
    size: Size,
    counts: OpCounts,
    device: torch.device,
    rounds: int,
    published: bool,
    precision: str,
    seed: int,
) -> Measured:
    with torch.inference_mode():  # as a loader node does
        model = patcher(build(size), device)
    rate = Rate(counts.needed, device, DTYPES[size.dtype])
    ways = {
        "step": plain_step,
        "published": lambda state: published_update(state, size.rows, size.joint, size.blocks),
        "floor": lambda state: rate.seconds(),
    }
    if not published:
        del ways["published"]
    measured = interleaved(model, size.conditioning(), size.latent(), size.cfg, ways, rounds, precision, seed)
    return replace(measured, seconds={**measured.seconds, "floor": rate.taken[WARM : WARM + rounds]})


def _check_room(size: Size, counts: OpCounts, device: torch.device, published: bool) -> None:
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        import psutil

        free = psutil.virtual_memory().available
    need = 1.2 * (counts.weights + (counts.published.peak if published else 2 * counts.ours[2].peak))
    if need > free:
        raise MemoryError(
            f"{size.name} at {size.size} px in {size.dtype} takes {need / 2**30:.1f} GiB here and "
            f"{free / 2**30:.1f} GiB are free.\n"
            "Leave out the published way (--no-published), take a smaller --size, or count (--count-only)."
        )


def _facts(size: Size, device: torch.device, rounds: int) -> dict[str, str | int]:
    import comfy.ldm.modules.attention
    import comfyui_version

    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "model": size.name,
        "size": size.size,
        "precision": size.dtype,
        "stored": size.stored or size.dtype,
        "device": device.type,
        "machine": machine,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "pack": pack_module("gsn_ops").__version__,
        "comfyui": comfyui_version.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "attention": comfy.ldm.modules.attention.optimized_attention.__name__,
        "date": date.today().isoformat(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.is_file()
        else []
    )
    return names[0] if names else platform.machine()
