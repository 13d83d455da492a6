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
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...torch_ops.arrival import MOST_PREDICTIONS, Update, is_one_of
from .sampler_facts import SAME_SIGMA, SamplerFacts, facts_of, is_hosts, sa_solver_decay, sampler_name

GUIDER_ARGUMENTS = ("model_options", "seed")
"""What follows (x, sigma) in a call of ComfyUI's guiders, by position."""

UpdateState = Callable[[int, Any, Tensor, Tensor, dict], Tensor]
"""update(step, model, x, sigma, keyword arguments of the call) -> the updated x, a new tensor."""

ModifyPrediction = Callable[[int, Any, Tensor, Tensor, Tensor, dict], Tensor]
"""modify(step, model, x, sigma, denoised, keyword arguments) -> the prediction that the sampler gets
instead.
"""

MOST_STATES = 16
"""So many states of a step are kept, to recognise the one that its callback shows."""

OWN_STATE = (
    "This sampler keeps its own copy of the latent, so the update was carried along beside it: exact for "
    "samplers "
    "that add no noise, close for others."
)

Decay = Callable[[float, float], float]
"""decay(a, b): the factor by which a sampler scales its state from sigma a to b."""


@dataclass(frozen=True)
class Watch:
    """What is done in one sampler call.

    The sampler's state is updated at `steps`. modify, if given, may modify every prediction of the model.
    on_end gets the steps whose state the model never received; on_note what was out of the ordinary.
    """

    steps: Collection[int]
    update: UpdateState
    on_end: Callable[[list[int]], None]
    modify: ModifyPrediction | None = None
    on_note: Callable[[str], None] = lambda text: None


class SamplerWatcher:
    """Decides, call by call, whether the model receives the sampler state at a wanted step, and updates it
    there.

    own_copy: the sampler is not ComfyUI's and may keep its own copy of its state. It is updated where the
    sampler shows that copy (at the start, in its callback), and an update is looked for in the next call.
    """

    def __init__(
        self,
        facts: SamplerFacts,
        sigmas: Tensor,
        what: Watch,
        decay: Decay | None = None,
        own_copy: bool = False,
    ):
        self.facts = facts
        self.grid = [float(s) for s in sigmas]
        self.update, self.modify, self.on_note = what.update, what.modify, what.on_note
        self.decay, self.own_copy = decay, own_copy
        # Index on the sampler's own grid -> step of the schedule.
        self.waiting = {k: k for k in what.steps if k < len(self.grid) - 1}
        if self.facts.grid == "log":
            self._use_log_grid()
        self.callbacks, self.learned = 0, 1
        self.seen: list[float] = []  # sigmas of the calls since the last callback
        # And since the one before, for samplers whose callback comes between trial point and state.
        self.seen_before: list[float] = []
        self.offset: Tensor | None = None
        self.offset_at = 0.0
        self.states: list[Tensor] = []  # of the calls since the last callback (own_copy)
        self.predictions: list[Tensor] = []  # the last ones (own_copy)
        self.sent: Update | None = None  # not yet looked for
        self.sent_at_same_level = False
        self.carried = facts.carried

    def _use_log_grid(self) -> None:
        """dpm_fast: n // 3 + 2 states, equal steps in log sigma. Wanted steps move to the nearest state."""
        wanted = [(k, math.log(self.grid[k])) for k in self.waiting]
        n, last = len(self.grid) - 1, self.grid[-1] or self.grid[-2]
        self.grid = torch.linspace(math.log(self.grid[0]), math.log(last), n // 3 + 2).exp().tolist()
        self.waiting = {}
        for k, s in wanted:
            distances = [abs(math.log(state) - s) for state in self.grid[:-1]]
            self.waiting[distances.index(min(distances))] = k

    def start(self, model: Any, x: Tensor, kwargs: dict) -> Tensor:
        """The state x [B, ...] that the sampler function begins with, updated if step 0 is wanted."""
        if not self.own_copy or 0 not in self.waiting:
            return x
        return self._update_shown(0, model, x, kwargs)

    def on_callback(self, state: Tensor | None = None, model: Any = None, kwargs: dict | None = None) -> None:
        """The sampler has finished a step and shows a state.

        Where that is the state after the step, it is updated in place if the next step is wanted.
        """
        if self.callbacks and self.seen:  # how many calls does it make at the sigma it ends a step on?
            self.learned = sum(_same(s, self.seen[-1]) for s in self.seen)
        self.seen_before = self.seen if self.facts.state_call else []
        self.callbacks, self.seen = self.callbacks + 1, []
        states, self.states = self.states, []
        if not self.own_copy or self.callbacks not in self.waiting or not states:
            return
        if state is None or state.shape != states[0].shape or state.device != states[0].device:
            return
        if not is_one_of(state, states):  # else it is the state before the step
            state.copy_(self._update_shown(self.callbacks, model, state, kwargs or {}))

    def _update_shown(self, index: int, model: Any, x: Tensor, kwargs: dict) -> Tensor:
        """The sampler's own state x [B, ...] at this index of the grid, updated."""
        level = self.grid[index]
        sigma = torch.full((len(x),), level, device=x.device)
        updated = self.update(self.waiting.pop(index), model, x, sigma, kwargs)
        self._send(x, updated, level)
        self.sent_at_same_level = True
        return updated

    def _send(self, x: Tensor, updated: Tensor, level: float) -> None:
        self.sent = Update(x.clone(), updated - x, level, list(self.predictions))
        self.sent_at_same_level = False

    def _arrived(self, x: Tensor, level: float) -> Tensor:
        """The state x [B, ...] of a call with the last update, which is carried along if the sampler lost
        it.
        """
        sent, self.sent = self.sent, None
        if sent is None:
            return x
        if self.sent_at_same_level:
            if sent.share_at_same_level(x) >= 0.5:
                return x
            x.copy_(x + sent.displacement.to(x))  # as at a call that receives the state
            self._send(x - sent.displacement.to(x), x, level)
            return x
        if not sent.was_lost(x):
            return x
        self.on_note(OWN_STATE)
        self.carried = True
        old = 0 if self.offset is None else self.offset * self.carry(sent.sigma)
        self.offset, self.offset_at = old + sent.displacement.to(x), sent.sigma
        return x

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

    def call(self, model: Any, x: Tensor, sigma: Tensor, kwargs: dict, shown: Any = None) -> Tensor:
        """One call of the model by the sampler.

        Where a step is due, x is updated in place (for carried samplers, in an offset of its own).
        shown: what updates get as the model, if another sampler stands between it and this one.
        """
        if not self.waiting and self.offset is None and self.sent is None:
            return self._predict(model, x, sigma, kwargs, shown)
        level = float(sigma.max())
        if self.own_copy:
            x = self._arrived(x, level)
            self.states = [*self.states[1 - MOST_STATES :], x.clone()]
        if self.offset is not None:
            x = x + self.offset * self.carry(level)
        step = self._due(level)
        if step is not None:
            updated = self.update(step, shown or model, x, sigma, kwargs)
            if self.carried:
                old = 0 if self.offset is None else self.offset * self.carry(level)
                self.offset, self.offset_at = old + (updated - x), level
                x = updated
            else:
                if self.own_copy:
                    self._send(x, updated, level)
                x.copy_(updated)
        return self._predict(model, x, sigma, kwargs, shown)

    def _predict(self, model: Any, x: Tensor, sigma: Tensor, kwargs: dict, shown: Any) -> Tensor:
        denoised = model(x, sigma, **kwargs)
        if self.modify is not None:
            denoised = self.modify(self.callbacks, shown or model, x, sigma, denoised, kwargs)
        if self.own_copy and (self.waiting or self.sent is not None):
            self.predictions = [*self.predictions[-MOST_PREDICTIONS:], denoised.clone()]
            if self.sent is not None:
                self.sent.predictions = self.predictions
        return denoised

    def finish(self, samples: Tensor, sigma_end: float) -> Tensor:
        """The sampler's result with what is left of a carried offset."""
        return samples if self.offset is None else samples + self.offset * self.carry(sigma_end)


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_SIGMA * abs(b)


class WatchedModel:
    """What the sampler function receives as its model: attributes pass through, calls go to the watcher
    first.

    shown: what updates get as the model, if another sampler stands between it and this one.
    """

    def __init__(self, model: Any, watcher: SamplerWatcher, shown: Any = None):
        self.__dict__.update(_model=model, _watcher=watcher, _shown=shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._model, name, value)

    def __call__(self, x: Tensor, sigma: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        names: tuple[str, ...] = GUIDER_ARGUMENTS
        if isinstance(self._model, comfy.samplers.KSamplerX0Inpaint):
            names = ("denoise_mask", *GUIDER_ARGUMENTS)
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        return self._watcher.call(self._model, x, sigma, arguments, self._shown)


def watch(sampler: Any, what: Watch, shown: Any = None) -> Any:
    """A shallow copy of the sampler that is watched. The given object (a cached output) is not written to.

    shown: what updates get as the model; None = what the sampler gets.
    """
    watched = copy.copy(sampler)
    if isinstance(sampler, comfy.samplers.KSAMPLER):
        watched.sampler_function = _watched_function(sampler, what, shown)
        return watched

    def sample(model_wrap, sigmas, extra_args, callback, *args, **kwargs):  # a sampler with its own loop
        watcher = SamplerWatcher(SamplerFacts(), sigmas, what, own_copy=True)

        def on_step(*state):
            watcher.on_callback()
            return callback(*state) if callback else None

        model = WatchedModel(model_wrap, watcher)
        samples = sampler.sample(model, sigmas, extra_args, on_step, *args, **kwargs)
        what.on_end(sorted(watcher.waiting.values()))
        return watcher.finish(samples, float(sigmas[-1]))

    watched.sample = sample
    return watched


def _watched_function(sampler: Any, what: Watch, shown: Any) -> Callable[..., Tensor]:
    """The sampler function of a KSAMPLER, watched.

    One that runs another sampler with a changed model or other noise levels (Detail Daemon) passes it on in
    its options: that one is watched, for it knows the true noise levels.
    """
    inner, name, own_copy = sampler.sampler_function, sampler_name(sampler), not is_hosts(sampler)

    @functools.wraps(inner)
    def sampler_function(model, x, sigmas, *args, extra_args=None, callback=None, **options):
        inside = next((key for key, value in options.items() if _is_sampler(value)), None)
        if own_copy and inside is not None:
            options[inside] = watch(options[inside], what, shown or model)
            return inner(model, x, sigmas, *args, extra_args=extra_args, callback=callback, **options)
        state_model, arguments = shown or model, dict(extra_args or {})
        model_sampling = state_model.inner_model.inner_model.model_sampling
        decay = sa_solver_decay(options, model_sampling) if name == "sample_sa_solver" else None
        watcher = SamplerWatcher(facts_of(name, options), sigmas, what, decay, own_copy)

        def on_step(state):
            result = callback(state) if callback else None
            watcher.on_callback(state.get("x"), state_model, arguments)
            return result

        x = watcher.start(state_model, x, arguments)
        seen = WatchedModel(model, watcher, shown)
        samples = inner(seen, x, sigmas, *args, extra_args=extra_args, callback=on_step, **options)
        what.on_end(sorted(watcher.waiting.values()))
        # The last sigma is read now: UniPC writes its own into the schedule.
        return watcher.finish(samples, float(sigmas[-1]))

    return sampler_function


def _is_sampler(value: Any) -> bool:
    return isinstance(value, comfy.samplers.KSAMPLER)
