"""Which model call of each sampler receives the sampler state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from comfy.k_diffusion import sa_solver
from comfy.k_diffusion.sampling import sigma_to_half_log_snr

SAME_SIGMA = 1e-3  # relative; SDE samplers start at .99997 of the first sigma


@dataclass(frozen=True)
class SamplerFacts:
    """What is known about one sampler function.

    state_call: 1-based index of the model call at sigma_k, k > 0, that receives the sampler state (None =
    learned while watching; 1 unless trial points are seen). carried: the model never receives the corrected
    state; the update is carried along with the sampler as an offset. grid: "schedule", "log" (its own steps,
    equal in log sigma) or "adaptive" (no grid).
    """

    state_call: int | None = None
    carried: bool = False
    grid: str = "schedule"


TRIAL_POINT_FIRST = SamplerFacts(state_call=2)
CARRIED = SamplerFacts(carried=True)
FACTS = {
    "sample_heun": TRIAL_POINT_FIRST,
    "sample_heunpp2": TRIAL_POINT_FIRST,
    "sample_exp_heun_2_x0": TRIAL_POINT_FIRST,
    "sample_exp_heun_2_x0_sde": TRIAL_POINT_FIRST,
    "sample_sa_solver_pece": TRIAL_POINT_FIRST,
    "sample_unipc": CARRIED,
    "sample_unipc_bh2": CARRIED,
    "sample_sa_solver": CARRIED,
    "dpm_fast_function": SamplerFacts(grid="log"),
    "dpm_adaptive_function": SamplerFacts(grid="adaptive"),
}
"""By the name of the sampler function; all others call the model with their state first at sigma_k."""

RENOISING = (
    "sample_lcm",
    "sample_euler_ancestral",
    "sample_euler_ancestral_cfg_pp",
    "sample_dpm_2_ancestral",
    "sample_dpmpp_2s_ancestral",
    "sample_dpmpp_2s_ancestral_cfg_pp",
    "sample_res_multistep_ancestral",
    "sample_res_multistep_ancestral_cfg_pp",
    "sample_ddpm",
    "sample_dpmpp_sde",
    "sample_dpmpp_sde_gpu",
    "sample_dpmpp_2m_sde",
    "sample_dpmpp_2m_sde_gpu",
    "sample_dpmpp_2m_sde_heun",
    "sample_dpmpp_2m_sde_heun_gpu",
    "sample_dpmpp_3m_sde",
    "sample_dpmpp_3m_sde_gpu",
    "sample_exp_heun_2_x0_sde",
    "sample_seeds_2",
    "sample_seeds_3",
    "sample_sa_solver",
    "sample_sa_solver_pece",
)
"""Sampler functions that take noise away down to a level and add new noise, at every step: their next state
keeps much less of a change than a deterministic sampler's.
"""

MEMORYLESS = (
    "euler",
    "euler_cfg_pp",
    "euler_ancestral",
    "euler_ancestral_cfg_pp",
    "heun",
    "heunpp2",
    "exp_heun_2_x0",
    "exp_heun_2_x0_sde",
    "dpm_2",
    "dpm_2_ancestral",
    "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "ddpm",
    "lcm",
    "seeds_2",
    "seeds_3",
    "ddim",
)
"""Samplers of KSampler whose next state depends on the present one alone, so that it may be replaced."""


def facts_of(name: str, options: dict) -> SamplerFacts:
    """A sampler's facts. Options of two of ComfyUI's sampler nodes make another kind of sampler."""
    if name == "sample_seeds_2" and options.get("r") == 1.0:
        return TRIAL_POINT_FIRST
    if name == "sample_sa_solver" and options.get("use_pece"):
        return TRIAL_POINT_FIRST
    return FACTS.get(name, SamplerFacts())


def renoises(sampler) -> bool:
    """Whether a sampler adds noise anew at every step; with an option eta of 0 none does."""
    options = getattr(sampler, "extra_options", {})
    return sampler_name(sampler) in RENOISING and options.get("eta", 1.0) != 0


def sa_solver_decay(options: dict, model_sampling) -> Callable[[float, float], float]:
    """How SA-Solver scales its state from sigma a to b without additions: b/a exp(-tau(b)^2 h), h in half log
    SNR.
    """
    # ComfyUI's default interval.
    start, end = model_sampling.percent_to_sigma(0.2), model_sampling.percent_to_sigma(0.8)
    tau = options.get("tau_func") or sa_solver.get_tau_interval_func(start, end, eta=1.0)

    def half_log_snr(s: float) -> float:
        return float(sigma_to_half_log_snr(torch.tensor(s), model_sampling))

    def decay(a: float, b: float) -> float:
        if b == 0:
            return 0.0
        return b / a * math.exp(-(float(tau(torch.tensor(b))) ** 2) * (half_log_snr(b) - half_log_snr(a)))

    return decay


def sampler_name(sampler) -> str:
    """The name the facts are listed under."""
    fn = getattr(sampler, "sampler_function", None)
    fn = getattr(fn, "func", fn)  # functools.partial
    return getattr(fn, "__name__", None) or type(sampler).__name__


def is_hosts(sampler) -> bool:
    """Is its sampler function ComfyUI's own, for which the facts above hold?"""
    fn = getattr(sampler, "sampler_function", None)
    fn = getattr(fn, "func", fn)
    return (getattr(fn, "__module__", None) or "").partition(".")[0] in ("comfy", "comfy_extras")
