"""How often the CPU waits for the device, and on whose behalf: torch's own count of it on CUDA."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tools.host_env.paths import CLONE, PACK_NAME


@contextlib.contextmanager
def counted() -> Iterator[Counter]:
    """Inside, every wait of the CPU for a CUDA device is counted under the line of code that caused
    it.
    """
    found: Counter = Counter()

    def noted(message, category, filename, lineno, file=None, line=None) -> None:
        if "synchroniz" in str(message):
            found[_cause(traceback.extract_stack())] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = noted
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _cause(stack: traceback.StackSummary) -> str:
    """The innermost line of the pack or of ComfyUI."""
    for frame in reversed(stack):
        ours = str(CLONE) in frame.filename or PACK_NAME in frame.filename
        if (ours and "/tools/gpu/" not in frame.filename) or "/comfy/" in frame.filename:
            return f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno} {frame.name}"
    return "elsewhere"


class FromProcessor(TorchDispatchMode):
    """Inside, counts copies of the CPU's tensors to a device, by the line of code: a CUDA graph
    cannot have them.
    """

    def __init__(self):
        super().__init__()
        self.found: Counter = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if (
            func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
            and out.device.type == "cuda"
        ):
            if any(isinstance(a, torch.Tensor) and a.device.type == "cpu" for a in args):
                self.found[_cause(traceback.extract_stack())] += 1
        return out


def of_updates(update: Callable[[int], None]) -> dict[str, object]:
    """Waits of 2 and of 7 update steps: what each further one adds, and where."""
    if not torch.cuda.is_available():
        return {"left_out": "no CUDA device"}
    update(2)  # what happens once only
    runs = []
    for updates in (2, 7):
        with counted() as found:
            update(updates)
        runs.append(found)
    return judged(*runs, more=5)


def judged(few: Counter, many: Counter, more: int) -> dict[str, object]:
    """Waits by place of a run and of one with `more` update steps on top: a step that waits at all is a
    fault.
    """
    growing = {place: n - few[place] for place, n in many.items() if n > few[place]}
    per_update = sum(growing.values()) / more
    faults = [f"an update step waits for the device: {growing}"] if growing else []
    return {"faults": faults, "per_update": per_update, "of_few": dict(few), "growing": growing}
