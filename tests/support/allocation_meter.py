"""What a piece of work allocates on the CPU, by the allocator's own events: no clock, and nothing of this
pack.
"""

from itertools import accumulate

import torch


def allocations(act) -> list[int]:
    """Bytes of every allocation (above 0) and release (below 0) during `act()`, in order.

    On one thread: the CPU's fused attention takes scratch space for every thread, more of it for longer
    sequences.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as seen:
            act()
    finally:
        torch.set_num_threads(threads)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    return [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]


def peak_of(act) -> int:
    """The most bytes that `act()` has allocated at once."""
    return max(accumulate(allocations(act)))
