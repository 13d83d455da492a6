"""Several seeds to an early step, one look at the attention of each, and the best ones finished.

One keyed OUTER_SAMPLE wrapper exchanges the sampler for one that runs the given sampler once per seed, each
start alone, as a plain run with that seed would be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import comfy.model_sampling
import comfy.sample
import torch
from torch import Tensor

from ...prompt import SubjectPhrase
from ...start_scores import PRESENCE, RANKINGS, StartScore, best_look, ranked, score_start
from ..attention.probe import CACHES
from .attention_reader import AttentionReader
from .ksampler import sample as ksample
from .patch import OUTER_SAMPLE, PREPARE_SAMPLING
from .patch import WRAPPER_KEY as NURSING_KEY
from .paused_sampler import PausedSampler
from .plan import check_latent, check_run
from .sampler_report import preview_matrix

WRAPPER_KEY = "gsn_seeds"
MOST_SEED = 0xFFFFFFFFFFFFFFFF

ONE_LATENT = (
    "latent_image holds {found} latents, and Seed Picker makes one image per seed: set batch_size to 1; keep "
    "says how many images you get."
)
FEW_STEPS = (
    "look_at is {look_at}, but this run has only {steps} steps: choose a look_at of at most {steps}, or more "
    "steps."
)
NO_STEPS = "With denoise {denoise:g} this run has no steps, so there are no seeds to compare: raise denoise."
CACHED = (
    "{name} is on the model: it remembers the passes of one run, and Seed Picker runs several at a time. "
    "Remove it, or finish the seeds in another sampler."
)


@dataclass(frozen=True)
class PickSettings:
    """seeds: one start each. keep: how many go on. look_at: the model call whose attention is read, from 1;
    0 = the best one for the kind of model.

    rank_by: see `start_scores`. stop_at: no more starts are made once `keep` of them have this value (0 =
    all are made).
    finish: whether the kept starts are finished here.
    """

    seeds: tuple[int, ...]
    keep: int = 1
    look_at: int = 0
    rank_by: str = PRESENCE
    stop_at: float = 0.0
    finish: bool = True

    def check(self, steps: int) -> PickSettings:
        """Raises ValueError, with the cure, for numbers that cannot work in a run of so many steps."""
        if self.rank_by not in RANKINGS:
            raise ValueError(f"rank_by is '{self.rank_by}': choose one of {', '.join(RANKINGS)}.")
        if not 1 <= self.keep <= len(self.seeds):
            raise ValueError(
                f"keep is {self.keep}, but there are {len(self.seeds)} candidates: choose 1 to "
                f"{len(self.seeds)}."
            )
        if not 0 <= self.look_at <= steps:
            raise ValueError(FEW_STEPS.format(look_at=self.look_at, steps=steps))
        return self

    def for_run(self, steps: int, flow: bool) -> PickSettings:
        """With the model call of a run of so many steps."""
        return replace(self.check(steps), look_at=self.look_at or best_look(steps, flow))


def consecutive(seed: int, count: int) -> tuple[int, ...]:
    """This seed and those that follow it."""
    return tuple((seed + n) & MOST_SEED for n in range(count))


@dataclass
class Start:
    """One start: its seed, its score, and the predicted x0 [1, ...] at the look.

    samples: the finished latent [1, ...], None before. sampler, answer: how it goes on.
    """

    seed: int
    score: StartScore
    predicted: Tensor
    samples: Tensor | None = None
    sampler: PausedSampler | None = field(default=None, repr=False)
    answer: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Picked:
    """starts: all that were made, in the order of their seeds. order: their indices, best first.

    calls: of the model. preview: ComfyUI's colours of this latent.
    """

    settings: PickSettings
    starts: tuple[Start, ...]
    order: tuple[int, ...]
    calls: int
    preview: tuple[tuple[float, ...], ...] | None
    notes: tuple[str, ...] = ()
    nursed: bool = False

    @property
    def kept(self) -> tuple[Start, ...]:
        """The best starts, best first."""
        return tuple(self.starts[i] for i in self.order[: self.settings.keep])

    def values(self) -> list[float]:
        """By what they were ranked, in the order of the seeds."""
        return [start.score.value(self.settings.rank_by) for start in self.starts]


def pick_seeds(
    model: Any,
    settings: PickSettings,
    subjects: Sequence[SubjectPhrase],
    numbers: tuple[int, float, str, str],
    conditionings: tuple[Any, Any],
    latent: dict,
    denoise: float = 1.0,
) -> tuple[dict | None, Picked]:
    """The finished LATENT of the kept seeds, best first (None without `finish`), and how they were chosen.

    numbers: steps, cfg, sampler and scheduler of a KSampler. A model with nursing on it is read without it,
    and the kept seeds are sampled with it from their beginning. Raises ValueError, before any model call, for
    input that cannot work.
    """
    found = len(latent["samples"])
    if found != 1:
        raise ValueError(ONE_LATENT.format(found=found))
    nursed = bool(model.get_wrappers(OUTER_SAMPLE, NURSING_KEY))
    patched = model.clone()
    for kind in (OUTER_SAMPLE, PREPARE_SAMPLING):
        patched.remove_wrappers_with_key(kind, NURSING_KEY)
    made = replace(settings, finish=settings.finish and not nursed)
    patch = _PickPatch(made, tuple(subjects), latent.get("batch_index"))
    patched.add_wrapper_with_key(OUTER_SAMPLE, WRAPPER_KEY, patch)
    seed = settings.seeds[0]
    out = ksample(patched, seed, *numbers, *conditionings, latent, denoise)
    if patch.picked is None:
        raise ValueError(NO_STEPS.format(denoise=denoise))
    picked = replace(patch.picked, nursed=nursed and settings.finish)
    if not settings.finish:
        return None, picked
    if not nursed:
        return _of_each(out, len(picked.kept)), picked
    runs = [ksample(model, start.seed, *numbers, *conditionings, latent, denoise) for start in picked.kept]
    samples = torch.cat([run["samples"] for run in runs])
    return _of_each({**runs[0], "samples": samples}, len(picked.kept)), picked


def _of_each(latent: dict, count: int) -> dict:
    """A LATENT of several kept seeds, each with the noise position that the one given had."""
    index = latent.get("batch_index")
    return latent if index is None else {**latent, "batch_index": [*index][:1] * count}


class _PickPatch:
    """The wrapper around the sampler call. picked: what it chose, after the call."""

    def __init__(self, settings: PickSettings, subjects: tuple[SubjectPhrase, ...], batch_index: Any):
        self.settings, self.subjects, self.batch_index = settings, subjects, batch_index
        self.picked: Picked | None = None

    def __call__(
        self,
        executor,
        noise,
        latent_image,
        sampler,
        sigmas,
        denoise_mask=None,
        callback=None,
        disable_pbar=False,
        seed=None,
        **kwargs,
    ):
        guider = executor.class_obj
        flow = isinstance(guider.model_patcher.get_model_object("model_sampling"), comfy.model_sampling.CONST)
        settings = self.settings.for_run(len(sigmas) - 1, flow)
        check_latent(latent_image, noise, len(kwargs.get("latent_shapes") or [1]))
        check_run(guider)
        _check_caches(guider.model_patcher)
        reader = AttentionReader(guider, self.subjects)
        run = PickRun(
            settings,
            sampler,
            reader,
            lambda s: comfy.sample.prepare_noise(latent_image, s, self.batch_index),
        )
        samples = executor(
            noise, latent_image, run, sigmas, denoise_mask, callback, disable_pbar, seed, **kwargs
        )
        self.picked = run.picked(preview_matrix(guider.model_patcher.get_model_object("latent_format")))
        return samples


def _check_caches(model: Any) -> None:
    """Raises ValueError for what remembers one run's passes."""
    of_options = model.model_options.get("transformer_options", {}).get("wrappers", {})
    for table in (*model.wrappers.values(), *of_options.values()):
        for name in CACHES:
            if table.get(name):
                raise ValueError(CACHED.format(name=name))


class PickRun:
    """The sampler that replaces the given one: starts, looks, and finishes the best.

    noise_of(seed): ComfyUI's noise, which also sets the random numbers that some samplers go on drawing.
    """

    def __init__(
        self,
        settings: PickSettings,
        sampler: Any,
        reader: AttentionReader,
        noise_of: Callable[[int], Tensor],
    ):
        self.settings, self.sampler, self.reader, self.noise_of = settings, sampler, reader, noise_of
        self.starts: list[Start] = []
        self.order: list[int] = []
        self.calls = 0

    def sample(
        self,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ):
        """As ComfyUI calls a sampler: the samples [keep, ...] of the kept starts, best first."""
        progress = _Progress(callback, self.settings, len(sigmas) - 1)

        def run(seed: int, own: Tensor, model: Any, on_step: Callable) -> Tensor:
            arguments, steps = {**extra_args, "seed": seed}, sigmas.clone()  # UniPC writes into its steps
            return self.sampler.sample(
                model, steps, arguments, on_step, own, latent_image, denoise_mask, True
            )

        try:
            for seed in self.settings.seeds:
                own = self.noise_of(seed).to(device=noise.device, dtype=torch.float32)
                sampler = PausedSampler(partial(run, seed, own), model_wrap, progress.on_step, noise.device)
                self.starts.append(self._look(seed, sampler, model_wrap, progress))
                if self._enough():
                    break
            values = [start.score.value(self.settings.rank_by) for start in self.starts]
            self.order = ranked(values, [start.score.overlap for start in self.starts])
            kept = [self.starts[i] for i in self.order[: self.settings.keep]]
            if self.settings.finish:
                return torch.cat([self._finish(start, model_wrap, progress) for start in kept])
            return torch.cat([start.predicted.to(noise) for start in kept])
        finally:
            for start in self.starts:
                if start.sampler is not None:
                    start.sampler.close()
                start.sampler = start.answer = None

    def _enough(self) -> bool:
        """Whether as many starts as are kept have the value that no further ones are made for."""
        good = [s for s in self.starts if s.score.value(self.settings.rank_by) >= self.settings.stop_at]
        return self.settings.stop_at > 0 and len(good) >= self.settings.keep

    def picked(self, preview: tuple[tuple[float, ...], ...] | None) -> Picked:
        """What was chosen, after `sample`."""
        notes = tuple(dict.fromkeys(self.reader.notes))
        return Picked(self.settings, tuple(self.starts), tuple(self.order), self.calls, preview, notes)

    def _look(self, seed: int, sampler: PausedSampler, model: Any, progress: _Progress) -> Start:
        """Takes one seed to its look, and leaves its sampler waiting there."""
        try:
            call = sampler.resume()
            for _ in range(1, self.settings.look_at):
                if call is not None:
                    call = sampler.resume(model(*call.args, **call.kwargs))
                self.calls += 1
            if call is None:  # a sampler with steps of its own
                raise ValueError(FEW_STEPS.format(look_at=self.settings.look_at, steps=self.calls))
            answer, maps = self.reader.read(model, call, self.settings.look_at)
        except BaseException:
            sampler.close()
            raise
        self.calls += 1
        score = score_start(maps, self.reader.matched.subjects)
        predicted = model.inner_model.process_latent_out(answer.float()).cpu()
        progress.looked(answer, call.args[0])
        return Start(seed, score, predicted, sampler=sampler, answer=answer)

    def _finish(self, start: Start, model: Any, progress: _Progress) -> Tensor:
        """Goes on with a start to its end."""
        assert start.sampler is not None
        call = start.sampler.resume(start.answer)
        while call is not None:
            self.calls += 1
            call = start.sampler.resume(model(*call.args, **call.kwargs))
        assert start.sampler.result is not None
        start.samples = start.sampler.result
        return start.samples


class _Progress:
    """One bar for all starts: a look counts as its model calls, a step of a kept start as one."""

    def __init__(self, callback: Callable | None, settings: PickSettings, steps: int):
        self.callback, self.look = callback, settings.look_at
        rest = max(steps - settings.look_at + 1, 0) * settings.keep if settings.finish else 0
        self.total, self.done = len(settings.seeds) * settings.look_at + rest, 0
        self.finishing = False

    def looked(self, predicted: Tensor, x: Tensor) -> None:
        """A start has been looked at."""
        self.done += self.look
        self._tell(predicted, x)

    def on_step(self, step: int, predicted: Tensor, x: Tensor, total: int) -> None:
        """The sampler's callback."""
        if step + 1 >= self.look:
            self.done += 1
            self._tell(predicted, x)

    def _tell(self, predicted: Tensor, x: Tensor) -> None:
        if self.callback is not None:
            self.callback(min(self.done, self.total) - 1, predicted, x, self.total)
