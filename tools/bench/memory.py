"""Peak memory of one piece of work on top of what was there before it.

On a CPU: every allocation and release that torch's allocator reports to its profiler, scratch space of its
kernels included (that of oneDNN's own allocator is not seen). On CUDA: the caching allocator's own peak.
Without numbers (FakeTensorMode): the storages that operators make and that are still held, without scratch
space.
"""

from __future__ import annotations

import functools
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class LiveStorages(TorchDispatchMode):
    """Inside, counts the bytes of storages made by operators for as long as they live."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.seen: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if _makes_storage(func):
            for t in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(t, torch.Tensor) and t.untyped_storage() not in self.seen:
                    self._add(t.untyped_storage())
        return out

    def _add(self, storage) -> None:
        size = storage.nbytes()
        self.seen.add(storage)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, size)

    def _remove(self, size: int) -> None:
        self.now -= size


@functools.cache
def _makes_storage(func) -> bool:
    """Views and writes in place make none."""
    return not any(returned.alias_info for returned in func._schema.returns)


def profiled(device: torch.device) -> torch.profiler.profile:
    """A profile that has begun."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        torch.cuda.reset_peak_memory_stats(device)
        BEFORE[device] = torch.cuda.memory_allocated(device)
    profile = torch.profiler.profile(activities=activities, profile_memory=device.type == "cpu")
    profile.__enter__()
    return profile


BEFORE: dict[torch.device, int] = {}


def peak(profile: torch.profiler.profile, device: torch.device) -> int:
    """The highest sum of bytes allocated and not yet released, over one profile that has ended."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) - BEFORE[device]
    now = most = 0
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def operators(profile: torch.profiler.profile, device: torch.device) -> dict[str, float]:
    """Seconds by operator, without those that it calls, over one profile that has ended."""
    what = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    return {e.key: getattr(e, what) / 1e6 for e in profile.key_averages()}
