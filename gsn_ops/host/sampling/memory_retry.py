"""A step that ran out of memory is done again with passes that store less."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import comfy.model_management

from ...optimise.recipe import Worker
from ..attention.memory_policy import CheckpointPolicy, is_out_of_memory, out_of_memory

Result = TypeVar("Result")


def retry_with_less_memory(policy: CheckpointPolicy, worker: Worker, step: Callable[[], Result]) -> Result:
    """The result of step(); after an out-of-memory error the worker is restored and the policy stores less.

    Raises ComfyUI's out-of-memory exception, with the cure, when nothing less can be stored.
    """
    before = worker.snapshot()
    while True:
        try:
            return step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if not policy.store_less():
                raise out_of_memory() from error
        # Outside of `except`, where the error no longer holds the tensors of the failed pass.
        worker.restore(before)
        comfy.model_management.soft_empty_cache()
