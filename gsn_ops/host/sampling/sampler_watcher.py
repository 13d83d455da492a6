"""Finds the sampler state among the model calls of any sampler, and updates it at chosen steps.

A sampler calls its model on its state, but some call it on trial points too, some never on the corrected
state, and some have their own grid. Calls are never counted over the run: steps are recognised by their sigma
and by the sampler's callback.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Collection
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from .sampler_facts import SAME_SIGMA, SamplerFacts, facts_of, sa_solver_decay, sampler_name

GUIDER_ARGUMENTS = ("model_options", "seed")
"""What follows (x, sigma) in a call of ComfyUI's guiders, by position."""

UpdateState = Callable[[int, Any, Tensor, Tensor, dict], Tensor]
"""update(step, model, x, sigma, keyword arguments of the call) -> the updated x, a new tensor."""

ModifyPrediction = Callable[[int, Any, Tensor, Tensor, Tensor, dict], Tensor]
"""modify(step, model, x, sigma, denoised, keyword arguments) -> the prediction that the sampler gets
instead.
"""

Decay = Callable[[float, float], float]
"""decay(a, b): the factor by which a sampler scales its state from sigma a to b."""


class SamplerWatcher:
    """Decides, call by call, whether the model receives the sampler state at a wanted step, and updates it
    there.
    """

    def __init__(
        self,
        facts: SamplerFacts,
        sigmas: Tensor,
        steps: Collection[int],
        update: UpdateState,
        decay: Decay | None = None,
        modify: ModifyPrediction | None = None,
    ):
        self.facts = facts
        self.grid = [float(s) for s in sigmas]
        self.update, self.decay, self.modify = update, decay, modify
        # Index on the sampler's own grid -> step of the schedule.
        self.waiting = {k: k for k in steps if k < len(self.grid) - 1}
        if self.facts.grid == "log":
            self._use_log_grid()
        self.callbacks, self.learned = 0, 1
        self.seen: list[float] = []  # sigmas of the calls since the last callback
        # And since the one before, for samplers whose callback comes between trial point and state.
        self.seen_before: list[float] = []
        self.offset: Tensor | None = None
        self.offset_at = 0.0

    def _use_log_grid(self) -> None:
        """dpm_fast: n // 3 + 2 states, equal steps in log sigma. Wanted steps move to the nearest state."""
        wanted = [(k, math.log(self.grid[k])) for k in self.waiting]
        n, last = len(self.grid) - 1, self.grid[-1] or self.grid[-2]
        self.grid = torch.linspace(math.log(self.grid[0]), math.log(last), n // 3 + 2).exp().tolist()
        self.waiting = {}
        for k, s in wanted:
            distances = [abs(math.log(state) - s) for state in self.grid[:-1]]
            self.waiting[distances.index(min(distances))] = k

    def on_callback(self) -> None:
        """The sampler has finished a step."""
        if self.callbacks and self.seen:  # how many calls does it make at the sigma it ends a step on?
            self.learned = sum(_same(s, self.seen[-1]) for s in self.seen)
        self.seen_before = self.seen if self.facts.state_call else []
        self.callbacks, self.seen = self.callbacks + 1, []

    def _due(self, sigma: float) -> int | None:
        """The wanted step whose state this call receives, if any."""
        before = list(self.seen)
        self.seen.append(sigma)
        for index in sorted(self.waiting):
            if self._is_state(index, sigma, before):
                return self.waiting.pop(index)
        return None

    def _is_state(self, index: int, sigma: float, before: list[float]) -> bool:
        """Is this call the state at this index of the grid?

        before: sigmas of the calls since the last callback.
        """
        wanted = self.grid[index]
        if self.facts.grid == "adaptive":  # the first call after a callback is an accepted state
            return not before and sigma <= wanted * (1 + SAME_SIGMA / 10)
        earlier = before
        if self.callbacks and self.callbacks == index + 1:
            earlier = self.seen_before + before
        calls = 1 + len(before)
        if self.callbacks:
            calls = 1 + sum(_same(s, wanted) for s in earlier)
        state_call = 1 if index == 0 else self.facts.state_call or self.learned
        return _same(sigma, wanted) and self.callbacks >= index and calls >= state_call

    def carry(self, sigma: float) -> float:
        """The factor by which the sampler scales a carried offset from `offset_at` down to sigma."""
        if self.decay is None or sigma >= self.offset_at:
            return sigma / self.offset_at
        stops = [self.offset_at, *(g for g in self.grid if sigma < g < self.offset_at), sigma]
        return math.prod(self.decay(a, b) for a, b in zip(stops, stops[1:], strict=False))

    def call(self, model: Any, x: Tensor, sigma: Tensor, kwargs: dict) -> Tensor:
        """One call of the model by the sampler.

        Where a step is due, x is updated in place (for carried samplers, in an offset of its own).
        """
        if not self.waiting and self.offset is None:
            return self._predict(model, x, sigma, kwargs)
        level = float(sigma.max())
        if self.offset is not None:
            x = x + self.offset * self.carry(level)
        step = self._due(level)
        if step is not None:
            updated = self.update(step, model, x, sigma, kwargs)
            if self.facts.carried:
                old = 0 if self.offset is None else self.offset * self.carry(level)
                self.offset, self.offset_at = old + (updated - x), level
                x = updated
            else:
                x.copy_(updated)
        return self._predict(model, x, sigma, kwargs)

    def _predict(self, model: Any, x: Tensor, sigma: Tensor, kwargs: dict) -> Tensor:
        denoised = model(x, sigma, **kwargs)
        if self.modify is None:
            return denoised
        return self.modify(self.callbacks, model, x, sigma, denoised, kwargs)

    def finish(self, samples: Tensor, sigma_end: float) -> Tensor:
        """The sampler's result with what is left of a carried offset."""
        return samples if self.offset is None else samples + self.offset * self.carry(sigma_end)


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_SIGMA * abs(b)


class WatchedModel:
    """What the sampler function receives as its model: attributes pass through, calls go to the watcher
    first.
    """

    def __init__(self, model: Any, watcher: SamplerWatcher):
        self.__dict__.update(_model=model, _watcher=watcher)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._model, name, value)

    def __call__(self, x: Tensor, sigma: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        names: tuple[str, ...] = GUIDER_ARGUMENTS
        if isinstance(self._model, comfy.samplers.KSamplerX0Inpaint):
            names = ("denoise_mask", *GUIDER_ARGUMENTS)
        return self._watcher.call(self._model, x, sigma, {**dict(zip(names, args, strict=False)), **kwargs})


def watch(
    sampler: Any,
    steps: Collection[int],
    update: UpdateState,
    on_end: Callable[[list[int]], None],
    modify: ModifyPrediction | None = None,
) -> Any:
    """A shallow copy of the sampler whose state is updated at `steps`.

    The given object (a cached output) is not written to. modify, if given, may modify every prediction of the
    model. on_end gets the steps whose state the model never received.
    """
    watched = copy.copy(sampler)
    if isinstance(sampler, comfy.samplers.KSAMPLER):
        watched.sampler_function = _watched_function(sampler, steps, update, on_end, modify)
        return watched

    def sample(model_wrap, sigmas, extra_args, callback, *args, **kwargs):  # a sampler with its own loop
        watcher = SamplerWatcher(SamplerFacts(), sigmas, steps, update, None, modify)
        on_step = _with_callback(watcher, callback)
        model = WatchedModel(model_wrap, watcher)
        samples = sampler.sample(model, sigmas, extra_args, on_step, *args, **kwargs)
        on_end(sorted(watcher.waiting.values()))
        return watcher.finish(samples, float(sigmas[-1]))

    watched.sample = sample
    return watched


def _watched_function(
    sampler: Any,
    steps: Collection[int],
    update: UpdateState,
    on_end: Callable[[list[int]], None],
    modify: ModifyPrediction | None,
) -> Callable[..., Tensor]:
    """The sampler function of a KSAMPLER, watched."""
    inner, name = sampler.sampler_function, sampler_name(sampler)

    @functools.wraps(inner)
    def sampler_function(model, noise, sigmas, *args, extra_args=None, callback=None, **options):
        model_sampling = model.inner_model.inner_model.model_sampling
        decay = sa_solver_decay(options, model_sampling) if name == "sample_sa_solver" else None
        watcher = SamplerWatcher(facts_of(name, options), sigmas, steps, update, decay, modify)
        on_step = _with_callback(watcher, callback)
        seen = WatchedModel(model, watcher)
        samples = inner(seen, noise, sigmas, *args, extra_args=extra_args, callback=on_step, **options)
        on_end(sorted(watcher.waiting.values()))
        # The last sigma is read now: UniPC writes its own into the schedule.
        return watcher.finish(samples, float(sigmas[-1]))

    return sampler_function


def _with_callback(watcher: SamplerWatcher, callback: Callable | None) -> Callable:
    """The sampler's callback, after the watcher's."""

    def on_step(*state: Any) -> Any:
        watcher.on_callback()
        return callback(*state) if callback else None

    return on_step
