"""Everything measured about one model, and the four ratios that count."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import torch

from tools.host_env.inprocess import pack_module

from .accounting import Accounts, account
from .alternate import WARM, Measured, alternate
from .importing import Import, of_the_pack
from .models import DTYPES, Size, build, patcher
from .naive import naive_shift
from .needed import Rate

RATIOS = {  # name -> (numerator, denominator): ways of one round
    "speedup_vs_naive": ("naive", "ours"),
    "time_vs_floor": ("ours", "floor"),
    "shift_vs_cfg_step": ("ours", "step"),
}


@dataclass(frozen=True)
class Found:
    """accounts: by counting. measured: None with count_only. facts: what the numbers depend on."""

    size: Size
    accounts: Accounts
    measured: Measured | None
    imported: Import
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
    def memory_vs_naive(self) -> float:
        """Measured, or by counting where the published way was not run."""
        peak = self.measured.peak if self.measured else {}
        if "naive" in peak:
            return peak["ours"] / peak["naive"]
        return self.accounts.ours[0].peak / self.accounts.naive.peak


def bench(
    size: Size,
    device: torch.device,
    *,
    rounds: int = 5,
    naive: bool = True,
    count_only: bool = False,
    precision: str = "full",
    seed: int = 0,
) -> Found:
    """Measure one model. Raises MemoryError, before anything is built, if the machine is too small."""
    imported = of_the_pack()
    accounts = account(size)
    measured = None
    if not count_only:
        _check_room(size, accounts, device, naive)
        measured = _measured(size, accounts, device, rounds, naive, precision, seed)
    return Found(
        size,
        accounts,
        measured,
        imported,
        {**_facts(size, device, rounds), "shift_precision": precision, "seed": seed},
    )


def _measured(
    size: Size, accounts: Accounts, device: torch.device, rounds: int, naive: bool, precision: str, seed: int
) -> Measured:
    with torch.inference_mode():  # as a loader node does
        model = patcher(build(size), device)
    rate = Rate(accounts.needed, device, DTYPES[size.dtype])
    ways = {
        "step": lambda moment: moment.plain_step(),
        "naive": lambda moment: naive_shift(moment, size.rows, size.joint, size.blocks),
        "floor": lambda moment: rate.seconds(),
    }
    if not naive:
        del ways["naive"]
    measured = alternate(model, size.conditioning(), size.latent(), size.cfg, ways, rounds, precision, seed)
    return replace(measured, seconds={**measured.seconds, "floor": rate.taken[WARM : WARM + rounds]})


def _check_room(size: Size, accounts: Accounts, device: torch.device, naive: bool) -> None:
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        import psutil

        free = psutil.virtual_memory().available
    need = 1.2 * (accounts.weights + (accounts.naive.peak if naive else 2 * accounts.ours[2].peak))
    if need > free:
        raise MemoryError(
            f"{size.name} at {size.size} px in {size.dtype} takes {need / 2**30:.1f} GiB here and {free / 2**30:.1f} GiB are free. "
            f"{'Leave out the published way with --no-naive, take' if naive else 'Take'} a smaller --size, or count with --count-only."
        )


def _facts(size: Size, device: torch.device, rounds: int) -> dict[str, str | int]:
    import comfy.ldm.modules.attention
    import comfyui_version

    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
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


def _processor() -> str:
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
    return names[0] if names else platform.processor() or platform.machine()
