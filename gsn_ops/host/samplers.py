"""When does a sampler show its state? Facts about the host's samplers as one table, and the watcher that uses them.

A sampler calls its model on its state, but some call it on trial points too, some never on the corrected state, and some have
a grid of their own. Calls are never counted over the run: steps are recognised by their sigma and by the sampler's callback.
"""
from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import comfy.samplers
import torch
from comfy.k_diffusion import sa_solver
from comfy.k_diffusion.sampling import sigma_to_half_log_snr
from torch import Tensor

SAME_SIGMA = 1e-3  # relative; SDE samplers start at .99997 of the first sigma


@dataclass(frozen=True)
class SamplerFacts:
    """state_call: the how-manieth call at sigma_k, k > 0, is the state (None = learned while watching; 1 unless trial points are seen).

    carried: the corrected state never meets the model; the shift is carried beside the sampler as an offset.
    grid: "schedule", "log" (own steps, equal in log sigma) or "adaptive" (no grid).
    """

    state_call: int | None = None
    carried: bool = False
    grid: str = "schedule"


TRIAL_POINT_FIRST = SamplerFacts(state_call=2)
CARRIED = SamplerFacts(carried=True)
FACTS = {
    "sample_heun": TRIAL_POINT_FIRST, "sample_heunpp2": TRIAL_POINT_FIRST, "sample_exp_heun_2_x0": TRIAL_POINT_FIRST,
    "sample_exp_heun_2_x0_sde": TRIAL_POINT_FIRST, "sample_sa_solver_pece": TRIAL_POINT_FIRST,
    "sample_unipc": CARRIED, "sample_unipc_bh2": CARRIED, "sample_sa_solver": CARRIED,
    "dpm_fast_function": SamplerFacts(grid="log"), "dpm_adaptive_function": SamplerFacts(grid="adaptive"),
}
"""By the name of the sampler function; all others show their state at the first call at sigma_k."""


def facts_of(name: str, options: dict) -> SamplerFacts:
    """A sampler's facts; two of the host's sampler nodes turn their sampler into one of another kind by an option."""
    if (name == "sample_seeds_2" and options.get("r") == 1.0) or (name == "sample_sa_solver" and options.get("use_pece")):
        return TRIAL_POINT_FIRST
    return FACTS.get(name, SamplerFacts())


GUIDER_ARGUMENTS = ("model_options", "seed")
"""What follows (x, sigma) in a call of the host's guiders, by position."""

Shift = Callable[[int, object, Tensor, Tensor, dict], Tensor]
"""shift(step, model, x, sigma, keyword arguments of the call) -> the shifted x, a new tensor."""

Steer = Callable[[int, object, Tensor, Tensor, Tensor, dict], Tensor]
"""steer(step, model, x, sigma, denoised, keyword arguments) -> the prediction that the sampler gets instead."""


def _sa_solver_decay(options: dict, model_sampling) -> Callable[[float, float], float]:
    """How SA-Solver scales its state from sigma a to b when nothing is added: b/a exp(-tau(b)^2 h), h in half log SNR."""
    start, end = model_sampling.percent_to_sigma(0.2), model_sampling.percent_to_sigma(0.8)  # the host's default interval
    tau = options.get("tau_func") or sa_solver.get_tau_interval_func(start, end, eta=1.0)

    def half_log_snr(s: float) -> float:
        return float(sigma_to_half_log_snr(torch.tensor(s), model_sampling))

    def decay(a: float, b: float) -> float:
        return b / a * math.exp(-float(tau(torch.tensor(b))) ** 2 * (half_log_snr(b) - half_log_snr(a))) if b else 0.0
    return decay


class Watcher:
    """Decides, call by call, whether the sampler is showing its state at one of the wanted steps, and shifts it there."""

    def __init__(self, facts: SamplerFacts, sigmas: Tensor, steps: Collection[int], shift: Shift,
                 decay: Callable[[float, float], float] | None = None, steer: Steer | None = None):
        self.facts = facts
        self.grid = [float(s) for s in sigmas]
        self.shift, self.decay, self.steer = shift, decay, steer
        self.waiting = {k: k for k in steps if k < len(self.grid) - 1}  # position on the sampler's own grid -> step of the schedule
        if self.facts.grid == "log":
            self._use_log_grid()
        self.callbacks, self.learned = 0, 1
        self.seen: list[float] = []  # sigmas of the calls since the last callback
        self.seen_before: list[float] = []  # and since the one before, for samplers whose callback comes between trial point and state
        self.offset: Tensor | None = None
        self.offset_at = 0.0

    def _use_log_grid(self) -> None:
        """dpm_fast: n // 3 + 2 states, equal steps in log sigma. Wanted steps move to the nearest state."""
        wanted = [(k, math.log(self.grid[k])) for k in self.waiting]
        n, last = len(self.grid) - 1, self.grid[-1] or self.grid[-2]
        self.grid = torch.linspace(math.log(self.grid[0]), math.log(last), n // 3 + 2).exp().tolist()
        self.waiting = {min(range(len(self.grid) - 1), key=lambda i: abs(math.log(self.grid[i]) - s)): k for k, s in wanted}

    def on_callback(self) -> None:
        """The sampler has finished a step."""
        if self.callbacks and self.seen:  # how many calls does it make at the sigma it ends a step on?
            self.learned = sum(_same(s, self.seen[-1]) for s in self.seen)
        self.seen_before = self.seen if self.facts.state_call else []
        self.callbacks, self.seen = self.callbacks + 1, []

    def _due(self, sigma: float) -> int | None:
        """The wanted step whose state this call shows, if any."""
        before = list(self.seen)
        self.seen.append(sigma)
        for position in sorted(self.waiting):
            if self.facts.grid == "adaptive":  # the first call after a callback is an accepted state
                hit = not before and sigma <= self.grid[position] * (1 + SAME_SIGMA / 10)
            else:
                earlier = (self.seen_before if self.callbacks == position + 1 else []) + before if self.callbacks else before
                calls = 1 + (sum(_same(s, self.grid[position]) for s in earlier) if self.callbacks else len(before))
                wanted = 1 if position == 0 else self.facts.state_call or self.learned
                hit = _same(sigma, self.grid[position]) and self.callbacks >= position and calls >= wanted
            if hit:
                return self.waiting.pop(position)
        return None

    def carry(self, sigma: float) -> float:
        """The factor by which the sampler scales a carried offset from `offset_at` down to sigma."""
        if self.decay is None or sigma >= self.offset_at:
            return sigma / self.offset_at
        stops = [self.offset_at, *(g for g in self.grid if sigma < g < self.offset_at), sigma]
        return math.prod(self.decay(a, b) for a, b in zip(stops, stops[1:], strict=False))

    def call(self, model, x: Tensor, sigma: Tensor, kwargs: dict) -> Tensor:
        """One call of the model by the sampler; x is shifted in place (or, for carried samplers, beside it) where a step is due."""
        if not self.waiting and self.offset is None:
            return self._predict(model, x, sigma, kwargs)
        level = float(sigma.max())
        if self.offset is not None:
            x = x + self.offset * self.carry(level)
        step = self._due(level)
        if step is not None:
            shifted = self.shift(step, model, x, sigma, kwargs)
            if self.facts.carried:
                old = 0 if self.offset is None else self.offset * self.carry(level)
                self.offset, self.offset_at, x = old + (shifted - x), level, shifted
            else:
                x.copy_(shifted)
        return self._predict(model, x, sigma, kwargs)

    def _predict(self, model, x: Tensor, sigma: Tensor, kwargs: dict) -> Tensor:
        denoised = model(x, sigma, **kwargs)
        return denoised if self.steer is None else self.steer(self.callbacks, model, x, sigma, denoised, kwargs)

    def finish(self, samples: Tensor, sigma_end: float) -> Tensor:
        """The sampler's result with what is left of a carried offset."""
        return samples if self.offset is None else samples + self.offset * self.carry(sigma_end)


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_SIGMA * abs(b)


class Watched:
    """What the sampler function receives as its model: everything passes through, calls meet the watcher first."""

    def __init__(self, model, watcher: Watcher):
        self.__dict__.update(_model=model, _watcher=watcher)

    def __getattr__(self, name):
        return getattr(self._model, name)

    def __setattr__(self, name, value):
        setattr(self._model, name, value)

    def __call__(self, x, sigma, *args, **kwargs):
        names = ("denoise_mask", *GUIDER_ARGUMENTS) if isinstance(self._model, comfy.samplers.KSamplerX0Inpaint) else GUIDER_ARGUMENTS
        return self._watcher.call(self._model, x, sigma, {**dict(zip(names, args, strict=False)), **kwargs})


def sampler_name(sampler) -> str:
    """The name the facts are listed under."""
    fn = getattr(sampler, "sampler_function", None)
    fn = getattr(fn, "func", fn)  # functools.partial
    return getattr(fn, "__name__", None) or type(sampler).__name__


def watch(sampler, steps: Collection[int], shift: Shift, on_end: Callable[[list[int]], None], steer: Steer | None = None):
    """A shallow copy of the sampler whose state is shifted at `steps`; the given object (a cached node output) is never written to.

    steer, if given, may turn every prediction of the model. on_end receives the steps whose state was never shown.
    """
    watched = copy.copy(sampler)
    if isinstance(sampler, comfy.samplers.KSAMPLER):
        inner, name = sampler.sampler_function, sampler_name(sampler)

        @functools.wraps(inner)
        def sampler_function(model, noise, sigmas, *args, extra_args=None, callback=None, **options):
            model_sampling = model.inner_model.inner_model.model_sampling
            decay = _sa_solver_decay(options, model_sampling) if name == "sample_sa_solver" else None
            watcher = Watcher(facts_of(name, options), sigmas, steps, shift, decay, steer)

            def on_step(state):
                watcher.on_callback()
                return callback(state) if callback else None
            samples = inner(Watched(model, watcher), noise, sigmas, *args, extra_args=extra_args, callback=on_step, **options)
            on_end(sorted(watcher.waiting.values()))
            return watcher.finish(samples, float(sigmas[-1]))  # read now: UniPC writes its own last sigma into the schedule
        watched.sampler_function = sampler_function
        return watched

    def sample(model_wrap, sigmas, extra_args, callback, *args, **kwargs):  # a sampler with a loop of its own
        watcher = Watcher(SamplerFacts(), sigmas, steps, shift, None, steer)

        def on_step(*state):
            watcher.on_callback()
            return callback(*state) if callback else None
        samples = sampler.sample(Watched(model_wrap, watcher), sigmas, extra_args, on_step, *args, **kwargs)
        on_end(sorted(watcher.waiting.values()))
        return watcher.finish(samples, float(sigmas[-1]))
    watched.sample = sample
    return watched
