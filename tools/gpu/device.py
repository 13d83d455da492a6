"""The device: its name, its clock, its memory, its rates."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable
from statistics import median

import torch

GIB = 2**30


def device() -> torch.device:
    """The one that ComfyUI computes on."""
    import comfy.model_management

    return comfy.model_management.get_torch_device()


def synchronise() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def clean() -> None:
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def allocated() -> int:
    """Bytes that torch has given out on the device."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


def timed(work: Callable[[], object], times: int = 3, warm: int = 1) -> dict[str, float]:
    """Median, least and most seconds of some work, and its peak GiB on top of what was there before."""
    for _ in range(warm):
        work()
    seconds, peaks = [], []
    for _ in range(times):
        synchronise()
        before = allocated()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        work()
        synchronise()
        seconds.append(time.perf_counter() - begun)
        peaks.append((torch.cuda.max_memory_allocated() - before) / GIB if torch.cuda.is_available() else 0.0)
    found = {"seconds": median(seconds), "least": min(seconds), "most": max(seconds), "peak_gib": max(peaks)}
    return {name: round(value, 5) for name, value in found.items()}


def facts() -> dict[str, object]:
    """What the numbers depend on."""
    found: dict[str, object] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found |= {"card": card.name, "memory_gib": round(card.total_memory / GIB, 1), "driver": _driver()}
        found |= {"allocator": torch.cuda.get_allocator_backend()}
    return found


def _driver() -> str:
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception as error:  # it is a fact for the record and nothing else
        return f"unknown ({type(error).__name__})"


def rates(n: int = 8192) -> dict[str, float]:
    """TFLOP/s of products of [n, n] random numbers by type, and TB/s of a copy, bytes read and written
    both counted.
    """
    found = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        a, b = (torch.randn(n, n, device=device()).to(dtype) for _ in range(2))
        found[name] = 2 * n**3 / timed(lambda a=a, b=b: a @ b, times=7, warm=2)["seconds"] / 1e12
    big = torch.empty(n * n * 16, dtype=torch.float32, device=device())
    other = torch.empty_like(big)
    seconds = timed(lambda: other.copy_(big), times=7, warm=2)["seconds"]
    found["copy_tb"] = 2 * big.nbytes / max(seconds, 1e-9) / 1e12
    return {name: round(value, 3) for name, value in found.items()}
