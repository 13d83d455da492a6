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
    left out, as ComfyUI does. The last step, down to no noise, is one call of every sampler.
    """
    calls = CALLS.get(sampler_name(sampler), 1)
    prompts = [cond for conds in _evaluated(guider).values() for cond in conds or ()]
    total = 0
    for sigma, following in zip(sigmas, sigmas[1:]):
        in_force = sum(_in_force(cond, sigma, percent_to_sigma) for cond in prompts)
        total += in_force * (calls if following > 0 else 1)
    return max(1, total)


def _evaluated(guider: Any) -> dict[str, Sequence[dict]]:
    """The lists of prompts that a guider has evaluated."""
    skips = math.isclose(getattr(guider, "cfg", 0.0), 1.0) and not guider.model_options.get(
        "disable_cfg1_optimization", False
    )
    return {name: conds for name, conds in guider.conds.items() if not (skips and name == "negative")}


def _in_force(cond: dict, sigma: float, percent_to_sigma: Callable[[float], float]) -> bool:
    """Whether a prompt's timestep range has this noise level."""
    start, end = cond.get("start_percent"), cond.get("end_percent")
    begins = start is None or sigma <= percent_to_sigma(start)
    return begins and (end is None or sigma >= percent_to_sigma(end))
