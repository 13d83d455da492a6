"""How many passes of the model a plain run makes: the unit in which a method's cost is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .sampler_facts import sampler_name

CALLS = {
    "sample_heun": 2,
    "sample_heunpp2": 3,
    "sample_exp_heun_2_x0": 2,
    "sample_exp_heun_2_x0_sde": 2,
    "sample_dpm_2": 2,
    "sample_dpm_2_ancestral": 2,
    "sample_dpmpp_2s_ancestral": 2,
    "sample_dpmpp_2s_ancestral_cfg_pp": 2,
    "sample_dpmpp_sde": 2,
    "sample_dpmpp_sde_gpu": 2,
    "sample_sa_solver_pece": 2,
    "sample_seeds_2": 2,
    "sample_seeds_3": 3,
}
"""Calls of the model per step, by the name of the sampler function; 1 of all others."""


def plain_passes(
    guider: Any, sampler: Any, sigmas: Sequence[float], percent_to_sigma: Callable[[float], float]
) -> int:
    """Passes of a run over these noise levels without this pack, at least 1.

    A prompt that is in force at a step is one pass per call of the model; with cfg 1 the negative prompt is
    left out, as ComfyUI does.
    """
    calls = calls_of_steps(sampler, sigmas)
    skips = not (guider.model_options.get("disable_cfg1_optimization", False) or _is_cfg_pp(sampler))
    names = set(guider.conds) - (_left_out(guider) if skips else set())
    prompts = [cond for name in names for cond in guider.conds[name] or ()]
    total = 0
    for sigma, n in zip(sigmas, calls):
        total += n * sum(in_force(cond, sigma, percent_to_sigma) for cond in prompts)
    return max(1, total)


def calls_of_steps(sampler: Any, sigmas: Sequence[float]) -> tuple[int, ...]:
    """Calls of the model in each step; the last one, down to no noise, is one of every sampler."""
    calls = CALLS.get(sampler_name(sampler), 1)
    return tuple(calls if following > 0 else 1 for following in sigmas[1:])


def _is_cfg_pp(sampler: Any) -> bool:
    """Whether the sampler needs the negative prompt with cfg 1 too, and says so to ComfyUI."""
    return sampler_name(sampler).endswith(("_cfg_pp", "_euler_pp"))


def _left_out(guider: Any) -> set[str]:
    """The lists of prompts that ComfyUI does not evaluate with a cfg of 1."""
    if not (hasattr(guider, "cfg1") and hasattr(guider, "cfg2")):
        return {"negative"} if math.isclose(getattr(guider, "cfg", 0.0), 1.0) else set()
    if getattr(guider, "nested", False) or not math.isclose(guider.cfg2, 1.0):  # DualCFGGuider
        return set()
    return {"negative", "middle"} if math.isclose(guider.cfg1, 1.0) else {"negative"}


def in_force(cond: dict, sigma: float, percent_to_sigma: Callable[[float], float]) -> bool:
    """Whether a prompt's timestep range has this noise level."""
    start, end = cond.get("start_percent"), cond.get("end_percent")
    begins = start is None or sigma <= percent_to_sigma(start)
    return begins and (end is None or sigma >= percent_to_sigma(end))
