"""When does a sampler show its state? Facts about the host's samplers as one table, and the watcher that uses them.

A sampler calls its model on its state, but some call it on trial points too, some never on the corrected state, and some have
a grid of their own. Calls are never counted over the run: steps are recognised by their sigma and by the sampler's callback.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Collection

import comfy.samplers
import torch
from torch import Tensor

from .sampler_facts import SAME_SIGMA, SamplerFacts, _sa_solver_decay, facts_of, sampler_name

GUIDER_ARGUMENTS = ("model_options", "seed")
"""What follows (x, sigma) in a call of the host's guiders, by position."""

Shift = Callable[[int, object, Tensor, Tensor, dict], Tensor]
"""shift(step, model, x, sigma, keyword arguments of the call) -> the shifted x, a new tensor."""

Steer = Callable[[int, object, Tensor, Tensor, Tensor, dict], Tensor]
"""steer(step, model, x, sigma, denoised, keyword arguments) -> the prediction that the sampler gets instead."""


class SamplerWatcher:
    """Decides, call by call, whether the sampler is showing its state at one of the wanted steps, and shifts it there."""

    def __init__(
        self,
        facts: SamplerFacts,
        sigmas: Tensor,
        steps: Collection[int],
        shift: Shift,
        decay: Callable[[float, float], float] | None = None,
        steer: Steer | None = None,
    ):
        self.facts = facts
        self.grid = [float(s) for s in sigmas]
        self.shift, self.decay, self.steer = shift, decay, steer
        self.waiting = {
            k: k for k in steps if k < len(self.grid) - 1
        }  # position on the sampler's own grid -> step of the schedule
        if self.facts.grid == "log":
            self._use_log_grid()
        self.callbacks, self.learned = 0, 1
        self.seen: list[float] = []  # sigmas of the calls since the last callback
        self.seen_before: list[
            float
        ] = []  # and since the one before, for samplers whose callback comes between trial point and state
        self.offset: Tensor | None = None
        self.offset_at = 0.0

    def _use_log_grid(self) -> None:
        """dpm_fast: n // 3 + 2 states, equal steps in log sigma. Wanted steps move to the nearest state."""
        wanted = [(k, math.log(self.grid[k])) for k in self.waiting]
        n, last = len(self.grid) - 1, self.grid[-1] or self.grid[-2]
        self.grid = torch.linspace(math.log(self.grid[0]), math.log(last), n // 3 + 2).exp().tolist()
        self.waiting = {
            min(range(len(self.grid) - 1), key=lambda i: abs(math.log(self.grid[i]) - s)): k
            for k, s in wanted
        }

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
                earlier = (
                    (self.seen_before if self.callbacks == position + 1 else []) + before
                    if self.callbacks
                    else before
                )
                calls = 1 + (
                    sum(_same(s, self.grid[position]) for s in earlier) if self.callbacks else len(before)
                )
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
        return (
            denoised if self.steer is None else self.steer(self.callbacks, model, x, sigma, denoised, kwargs)
        )

    def finish(self, samples: Tensor, sigma_end: float) -> Tensor:
        """The sampler's result with what is left of a carried offset."""
        return samples if self.offset is None else samples + self.offset * self.carry(sigma_end)


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_SIGMA * abs(b)


class WatchedModel:
    """What the sampler function receives as its model: everything passes through, calls meet the watcher first."""

    def __init__(self, model, watcher: SamplerWatcher):
        self.__dict__.update(_model=model, _watcher=watcher)

    def __getattr__(self, name):
        return getattr(self._model, name)

    def __setattr__(self, name, value):
        setattr(self._model, name, value)

    def __call__(self, x, sigma, *args, **kwargs):
        names = (
            ("denoise_mask", *GUIDER_ARGUMENTS)
            if isinstance(self._model, comfy.samplers.KSamplerX0Inpaint)
            else GUIDER_ARGUMENTS
        )
        return self._watcher.call(self._model, x, sigma, {**dict(zip(names, args, strict=False)), **kwargs})


def watch(
    sampler,
    steps: Collection[int],
    shift: Shift,
    on_end: Callable[[list[int]], None],
    steer: Steer | None = None,
):
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
            watcher = SamplerWatcher(facts_of(name, options), sigmas, steps, shift, decay, steer)

            def on_step(state):
                watcher.on_callback()
                return callback(state) if callback else None

            samples = inner(
                WatchedModel(model, watcher),
                noise,
                sigmas,
                *args,
                extra_args=extra_args,
                callback=on_step,
                **options,
            )
            on_end(sorted(watcher.waiting.values()))
            return watcher.finish(
                samples, float(sigmas[-1])
            )  # read now: UniPC writes its own last sigma into the schedule

        watched.sampler_function = sampler_function
        return watched

    def sample(model_wrap, sigmas, extra_args, callback, *args, **kwargs):  # a sampler with a loop of its own
        watcher = SamplerWatcher(SamplerFacts(), sigmas, steps, shift, None, steer)

        def on_step(*state):
            watcher.on_callback()
            return callback(*state) if callback else None

        samples = sampler.sample(
            WatchedModel(model_wrap, watcher), sigmas, extra_args, on_step, *args, **kwargs
        )
        on_end(sorted(watcher.waiting.values()))
        return watcher.finish(samples, float(sigmas[-1]))

    watched.sample = sample
    return watched
