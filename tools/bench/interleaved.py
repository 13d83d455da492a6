"""The ways in turn, a, b, c, d, a, b, c, d, ..., inside one sampler run: noise of the machine hits all alike.

We measure the run a user starts: our patch on the model, a recipe with a number of update steps. Before each
update step it calls the sampler's callback, where the other ways are measured; the time until the next call
is one update.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tools.host_env.inprocess import pack_module

from . import memory
from .flop_floor import synchronise
from .sampler_state import sampler_state, sigmas_of

if TYPE_CHECKING:
    from gsn_ops.host.attention.sampler_state import SamplerState

Way = Callable[["SamplerState"], object]
WARM = 2


@dataclass
class Measured:
    """Per way: seconds of every round, peak bytes on top, seconds by operator of one profiled round.

    status: what the pack tells the user about this run.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    peak: dict[str, int] = field(default_factory=dict)
    operators: dict[str, dict[str, float]] = field(default_factory=dict)
    status: str = ""


class Rounds:
    """The sampler's callback: two rounds warm up (and fix the precision), more are timed, one is profiled."""

    def __init__(self, model, ways: dict[str, Way], rounds: int, device: torch.device):
        self.ways, self.last, self.device = ways, rounds + WARM, device
        self.measured, self.round, self.guider = Measured(), -1, None
        self.sigma = sigmas_of(model)[:1].to(device)
        self.begun = 0.0
        self.profile: torch.profiler.profile | None = None

    def watch(self, executor, *args, **kwargs):
        """Around the sampler: remembers the guider of this run."""
        self.guider = executor.class_obj
        try:
            return executor(*args, **kwargs)
        finally:
            self.guider = None

    def __call__(self, step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        import comfy.model_patcher

        if 0 <= self.round <= self.last:
            self._end("ours")
        self.round += 1
        if self.round > self.last:  # one more update and the step itself: the run ends and reports as always
            return
        arguments = {
            "model_options": comfy.model_patcher.create_model_options_clone(self.guider.model_options),
            "seed": 0,
        }
        state = sampler_state(self.guider, x, self.sigma, arguments)
        for name, way in self.ways.items():
            self._begin()
            way(state)
            self._end(name)
        self._begin()

    def _begin(self) -> None:
        gc.collect()
        if self.round == self.last:
            self.profile = memory.profiled(self.device)
        synchronise(self.device)
        self.begun = time.perf_counter()

    def _end(self, name: str) -> None:
        synchronise(self.device)
        seconds = time.perf_counter() - self.begun
        if self.round == self.last:
            self.profile.__exit__(None, None, None)
            self.measured.peak[name] = memory.peak(self.profile, self.device)
            self.measured.operators[name] = memory.operators(self.profile, self.device)
            self.profile = None
        elif self.round >= WARM:
            self.measured.seconds[name].append(seconds)
        kind = "warm-up" if self.round < WARM else "timed"
        if self.round == self.last:
            kind = "profiled"
        said = f"round {self.round} of {self.last}, {kind}: {name} {seconds:.3f} s"
        print(said, file=sys.stderr, flush=True)


def interleaved(
    model,
    conditioning: tuple[list, list],
    latent: Tensor,
    cfg: float,
    ways: dict[str, Way],
    rounds: int,
    precision: str,
    seed: int,
) -> Measured:
    """Measure `ways` and ours, as Latent Refine is published, on a MODEL with weights.

    precision: as in the recipe. seed: of the noise.
    """
    import comfy.patcher_extension
    import comfy.sample
    import comfy.samplers

    methods = pack_module("gsn_ops.optimise.methods")
    patch = pack_module("gsn_ops.host.sampling.patch")
    schedule = pack_module("gsn_ops.schedule")
    (recipe,) = methods.preset(pack_module("gsn_ops.optimise.published_methods").LATENT_REFINE)
    recipe = replace(
        recipe, shifts=rounds + WARM + 2, precision=precision, moment=schedule.Moment(step=0), report="curve"
    )
    patched, book = patch.attach(model, recipe)
    turns = Rounds(model, ways, rounds, model.load_device)
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, "gsn bench", turns.watch)
    sampler, sigmas = comfy.samplers.sampler_object("euler"), sigmas_of(model)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        comfy.sample.sample_custom(
            patched,
            noise,
            cfg,
            sampler,
            sigmas,
            *conditioning,
            latent,
            callback=turns,
            disable_pbar=True,
            seed=0,
        )
    turns.measured.status = book.last().recipes[0].status
    return turns.measured
