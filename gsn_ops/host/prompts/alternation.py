"""Alternate Prompts: which prompt each step uses, as ranges of the noise schedule on a conditioning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import comfy.samplers
from torch import Tensor

from ...modulate.alternate_prompts import prompt_of_steps
from .conditioning import Conditioning

SCHEDULERS = tuple(comfy.samplers.SCHEDULER_NAMES)
ROUNDS = 40
"""Of bisection; the interval is then 1e-12 of the schedule."""


@dataclass(frozen=True)
class Levels:
    """The noise levels of a run, n_steps + 1 of them, and ComfyUI's meaning of a percent on its model."""

    sigmas: tuple[float, ...]
    percent_to_sigma: Callable[[float], float]

    def start_of(self, step: int) -> float:
        """The share of the noise schedule just before a step; 0 for the first, 1 after the last."""
        if step <= 0 or step >= len(self.sigmas) - 1:
            return float(step > 0)
        wanted = (15 * self.sigmas[step] + self.sigmas[step - 1]) / 16
        low, high = 0.0, 1.0
        for _ in range(ROUNDS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.percent_to_sigma(middle) > wanted else (low, middle)
        return high


def levels_of(model, steps: int, scheduler: str, sigmas: Tensor | None = None) -> Levels:
    """Those of a run of this MODEL. sigmas: the run's own, if they are known.

    Raises ValueError for a scheduler that ComfyUI does not have, or sigmas without a step.
    """
    sampling = model.get_model_object("model_sampling")
    if sigmas is None:
        if scheduler not in SCHEDULERS:
            raise ValueError(f"scheduler is '{scheduler}': choose one of {', '.join(SCHEDULERS)}.")
        sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, steps)
    if len(sigmas) < 2:
        raise ValueError("sigmas has no step: connect the noise levels that the sampler gets.")
    return Levels(tuple(float(s) for s in sigmas), sampling.percent_to_sigma)


def alternate(
    stand_in: Conditioning, real: Conditioning, levels: Levels, switch_step: int, every: int = 2
) -> tuple[Conditioning, str]:
    """A conditioning in which the prompts take turns before `switch_step`, and one line that says when.

    Ranges that the prompts have already are kept: a part is in force where both ranges are. Raises ValueError
    for numbers that leave nothing to alternate.
    """
    n_steps = len(levels.sigmas) - 1
    if switch_step < 0:
        raise ValueError(f"switch_step is {switch_step}: choose 0 (the real prompt alone) or a step.")
    if every < 2:
        raise ValueError(f"every is {every}: choose 2 or more, or the real prompt would have no turn.")
    turns = prompt_of_steps(n_steps, [1], (0, min(switch_step, n_steps)), every)
    made: Conditioning = []
    for is_real, steps in groupby(range(n_steps), key=lambda step: turns[step]):
        own = list(steps)
        made += _in_range(
            real if is_real else stand_in, levels.start_of(own[0]), levels.start_of(own[-1] + 1)
        )
    standing = [step for step, turn in enumerate(turns) if turn == 0]
    told = f"the stand-in in steps {_listed(standing)} of {n_steps}" if standing else "the real prompt alone"
    return made, told


def _in_range(conditioning: Conditioning, start: float, end: float) -> Conditioning:
    """The entries that are in force between two shares of the schedule, for that time only."""
    made = []
    for rows, extra in conditioning:
        first, last = max(start, extra.get("start_percent", 0.0)), min(end, extra.get("end_percent", 1.0))
        if first < last:
            made.append([rows, {**extra, "start_percent": first, "end_percent": last}])
    return made


def _listed(steps: Sequence[int]) -> str:
    shown = ", ".join(map(str, steps[:8]))
    return shown if len(steps) <= 8 else f"{shown} ... {steps[-1]}"
