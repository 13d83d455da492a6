"""LLM-grounded diffusion: each box generated alone, the objects composed, and the whole image in one run.

Lian et al., TMLR 2024. Every run is one of ComfyUI's own sampler, watched as those of the other nodes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.sample
import latent_preview
import torch
from torch import Tensor

from ...layout.compose import Composition, MovedObject, centred, frozen_steps, mixed_noise, offset_to
from ...layout.layout import Layout, PlacedObject
from ...layout.prompts import object_prompts, overall_prompt
from ...layout.rounds import box_seed, numbers_of, size_of
from ...optimise.lmd import FIRST_MAPS, box_recipe, overall_recipe
from ...regions import box_mask
from ...report.book import ReportBook
from ...schedule import Schedule
from ..autograd.differentiable import static_clone
from ..find_family import family_of
from ..prompts.layout_regions import CELL, split_in_time, with_gligen
from .box_prompts import encoded, encoded_with_names, image_box, labels_of, one_batch, placed_prompt
from .box_runs import BoxKeeper, BoxRun
from .ksampler import empty_latent, sample, sample_noise, sigmas
from .lmd_job import LayoutJob, LayoutResult, Round, in_words, pixels
from .lmd_overall import Composer, References, masks_of
from .matched import MatchedConditioning
from .patch import OUTER_SAMPLE, PREPARE_SAMPLING, SamplingPatch, install
from .patch import WRAPPER_KEY as NURSING_KEY
from .plan import AttachedRecipe
from .sampler_facts import MEMORYLESS

UNWANTED = "several, a crowd, a group, duplicates, a frame, a border"
"""Ours, in the spirit of LMD's list: appended to the negative prompt of a single box."""
REMEMBERS = (
    "{name} remembers earlier steps, so a latent cannot be replaced in its run: choose one of {allowed}."
)
NOT_EMPTY = (
    "LMD Sampler makes a new image from boxes, and latent_image holds an image: connect an empty latent."
)
ONE_LATENT = "LMD Sampler makes one image at a time, and latent_image holds {n}: set batch_size to 1."
TOO_MUCH = (
    "LMD Sampler keeps the latents and word maps of every step in memory: {wanted} for this layout, and "
    "{free} are free. Use fewer boxes, fewer steps or a smaller image."
)


def sample_layout(job: LayoutJob, on_status: Callable[[str], None] = lambda text: None) -> LayoutResult:
    """The image of a layout. With strength 0 or without boxes: a plain KSampler run of the prompt.

    Raises ValueError, before any model call, for input that cannot work.
    """
    job.settings.check()
    if job.settings.strength == 0 or not job.layout.objects:
        conds = encoded(job.clip, job.prompt or overall_prompt(job.layout)), encoded(job.clip, job.negative)
        return LayoutResult(sample(job.model, job.seed, *job.numbers, *conds, job.latent), ReportBook())
    if job.numbers[2] not in MEMORYLESS:
        raise ValueError(REMEMBERS.format(name=job.numbers[2], allowed=", ".join(MEMORYLESS)))
    if len(job.latent["samples"]) != 1:
        raise ValueError(ONE_LATENT.format(n=len(job.latent["samples"])))
    if bool(job.latent["samples"].count_nonzero()) or "noise_mask" in job.latent:
        raise ValueError(NOT_EMPTY)
    return _LayoutSampling(job, on_status).result()


class _LayoutSampling:
    """One execution of the node. Gone when it returns."""

    def __init__(self, job: LayoutJob, on_status: Callable[[str], None]):
        self.job, self.on_status, self.settings = job, on_status, job.settings
        self.family = family_of(job.model)
        latent = empty_latent(job.model, job.latent)
        self.empty = latent
        self.background = comfy.sample.prepare_noise(latent, job.seed)  # [1, C, ..., h, w]
        levels = tuple(float(s) for s in sigmas(job.model, job.numbers))
        self.schedule = Schedule(levels, job.model.get_model_object("model_sampling").percent_to_sigma)
        self.recipe = overall_recipe(self.settings, {})
        negative = encoded(job.clip, job.negative)
        alone = encoded(job.clip, f"{job.negative}, {UNWANTED}") if job.negative.strip() else negative
        self.negative, self.negative_alone = self._ended(negative), self._ended(alone)
        self.passes = [0, 0]
        self.batches, self.size, self.announced = 0, 0, 0

    def _ended(self, negative: list) -> list:
        """A negative prompt whose entries are as many as those of a prompt with GLIGEN."""
        return negative if self.job.gligen is None else split_in_time(negative, self.job.gligen_end)

    def result(self) -> LayoutResult:
        positive, matched = self._whole_prompt()
        runs = self._planned()
        waiting = [run for run in runs if run.latent is None]
        batches = self._batches(waiting)
        self.progress = _Progress(self.job.model, self._lengths(len(batches)))
        for batch in batches:
            self._generate(batch)
        moved = self._moved(runs)
        samples, book = self._overall(positive, labels_of(matched), runs, moved)
        alive = Round(tuple(runs), self._made_with())
        finished = torch.stack([run.latent for run in runs if run.latent is not None])
        return LayoutResult(
            self._as_latent(samples),
            book,
            alive,
            self._as_latent(finished),
            pixels(torch.stack([one.place for one in moved]), self._cell()),
            self._status(runs, waiting, alive),
            (self.passes[0], self.passes[1]),
        )

    def _whole_prompt(self) -> tuple[list, MatchedConditioning]:
        """The conditioning of the whole image, and the subjects of its boxes."""
        job = self.job
        text, names = job.prompt or overall_prompt(job.layout), [p.name for p in job.layout.objects]
        positive, matched = placed_prompt(self.family, encoded_with_names(job.clip, text, names), job.layout)
        return self._with_gligen(positive, job.layout), matched

    def _moved(self, runs: Sequence[BoxRun]) -> list[MovedObject]:
        """The objects with their masks and their ways to their boxes."""
        masks = masks_of(self.job, runs, self.empty.shape[-2:], self.settings.mask_threshold)
        return [
            MovedObject(mask, offset_to(run.placed.box, mask), run.noise, run.states)
            for run, mask in zip(runs, masks, strict=True)
        ]

    def _cell(self) -> int:
        """Pixels of the image per cell of the latent."""
        return int(self.job.model.get_model_object("latent_format").spacial_downscale_ratio)

    def _as_latent(self, samples: Tensor) -> dict:
        rest = {k: v for k, v in self.job.latent.items() if not k.startswith("downscale_ratio")}
        return {**rest, "samples": samples}

    def _planned(self) -> list[BoxRun]:
        """A run of each box: those of the last round that are the same, else empty ones."""
        job, before = self.job, self.job.previous
        same = before is not None and self._is_as(before)
        old = [(run.placed, run.number) for run in before.runs] if before is not None else []
        known = {run.key: run for run in before.runs} if before is not None and same else {}
        objects, prompts = job.layout.objects, object_prompts(job.layout)
        shape = (self.schedule.n_steps, *self.empty.shape[1:])
        runs: list[BoxRun] = []
        for placed, text, number in zip(objects, prompts, numbers_of(objects, old), strict=True):
            key = self._key(placed, text, number)
            run = known.get(key)
            if run is not None:
                runs.append(replace(run, placed=placed))
                continue
            states = torch.zeros(shape, dtype=torch.float16)
            runs.append(BoxRun(placed, number, key, self._noise(placed, number), states))
        self.texts = {id(run): text for run, text in zip(runs, prompts, strict=True)}
        return runs

    def _key(self, placed: PlacedObject, text: str, number: int) -> tuple:
        """Everything that the bits of a box's run depend on, besides the models."""
        job, settings = self.job, self.settings
        place = placed.box if settings.gligen else size_of(placed)
        made = (settings.strength, settings.r, settings.gligen, job.gligen_end if settings.gligen else 0.0)
        return (
            text,
            placed.name,
            place,
            number,
            job.seed,
            job.negative,
            job.numbers,
            tuple(self.empty.shape),
            *made,
        )

    def _made_with(self) -> tuple[weakref.ref, ...]:
        parts = (self.job.model, self.job.clip, self.job.gligen)
        return tuple(weakref.ref(part) for part in parts if part is not None)

    def _is_as(self, before: Round) -> bool:
        """Whether the last round has these very models."""
        now = self._made_with()
        return len(now) == len(before.made_with) and all(
            a() is b() for a, b in zip(now, before.made_with, strict=True)
        )

    def _box(self, placed: PlacedObject) -> tuple[float, float, float, float]:
        """Where an object is generated alone."""
        return placed.box if self.settings.gligen else centred(placed.box)

    def _noise(self, placed: PlacedObject, number: int) -> Tensor:
        own = comfy.sample.prepare_noise(self.empty, box_seed(self.job.seed, number))[0]
        height, width = self.empty.shape[-2:]
        cells = box_mask(self._box(placed), height, width)
        return mixed_noise(self.background[0], own, cells, self.settings.r)

    def _batches(self, runs: Sequence[BoxRun]) -> list[list[BoxRun]]:
        """Boxes of one size together."""
        groups: dict[tuple[float, ...], list[BoxRun]] = {}
        for run in runs:
            groups.setdefault(tuple(round(side, 6) for side in size_of(run.placed)), []).append(run)
        return list(groups.values())

    def _lengths(self, batches: int) -> list[int]:
        """Steps and updates of every run, the overall one last."""
        steps = self.schedule.n_steps
        updates = sum(self.recipe.active_steps(self.schedule).updates.values())
        return [steps if self.settings.gligen else steps + updates] * batches + [steps + updates]

    def _with_gligen(self, positive: list, layout: Layout) -> list:
        job = self.job
        if job.gligen is None:
            return positive
        height, width = (CELL * side for side in self.empty.shape[-2:])
        of_image = replace(layout, canvas=(width, height))  # GLIGEN counts in cells of the latent
        return with_gligen(positive, of_image, job.gligen, job.clip, job.gligen_end)

    def _generate(self, runs: list[BoxRun]) -> None:
        """One sampler call for boxes of one size, or one for each where they do not fit together."""
        prompts, boxes = [], []
        for run in runs:
            alone = replace(self.job.layout, objects=(replace(run.placed, box=self._box(run.placed)),))
            prompt, matched = placed_prompt(self.family, encoded(self.job.clip, self.texts[id(run)]), alone)
            prompts.append(self._with_gligen(prompt, alone))
            boxes.append(image_box(matched))
        together = one_batch(prompts)
        if together is not None:
            self._run_batch(runs, boxes, together)
            return
        self.progress.more(len(runs) - 1)
        for run, box, prompt in zip(runs, boxes, prompts, strict=True):
            self._run_batch([run], [box], prompt)

    def _run_batch(self, runs: list[BoxRun], boxes: list, positive: list) -> None:
        recipe = box_recipe(self.settings, tuple(boxes))
        book = ReportBook()
        window = self.recipe.window(self.schedule)
        first = int(FIRST_MAPS * self.schedule.n_steps)
        keeper = BoxKeeper(runs, boxes, window, first, self._announce)
        attached = () if recipe is None else (AttachedRecipe(recipe, book),)
        patched = self._patched(attached, keeper)
        noise = torch.stack([run.noise for run in runs])
        samples = self._sample(patched, noise, (positive, self.negative_alone), book)
        self.batches += 1
        for run, finished in zip(runs, samples, strict=True):
            run.latent = finished

    def _overall(
        self, positive: list, labels: list[str], runs: list[BoxRun], moved: list[MovedObject]
    ) -> tuple[Tensor, ReportBook]:
        """The run of the whole image, which also has the recipes that are on the model."""
        composition = Composition(moved, self.background[0])
        composer = Composer(composition, frozen_steps(self.schedule.n_steps, self.settings.frozen))
        references = References(labels, runs, moved, self.recipe.window(self.schedule))
        recipe = overall_recipe(self.settings, references, self.job.objective)
        book, earlier = ReportBook(), ()
        for patch in self.job.model.get_wrappers(OUTER_SAMPLE, NURSING_KEY):
            earlier += patch.attached
        patched = self._patched((*earlier, AttachedRecipe(recipe, book)), composer)
        return self._sample(patched, composition.noise[None], (positive, self.negative), book), book

    def _sample(self, patched: Any, noise: Tensor, conds: tuple[list, list], book: ReportBook) -> Tensor:
        """One sampler call, whose passes are counted."""
        job = self.job
        samples = sample_noise(patched, noise, job.seed, job.numbers, conds, self.progress.on_step)
        self.progress.next_run()
        report = book.find(samples)
        for action in report.recipes if report is not None else ():
            self.passes[0] += action.forwards
            self.passes[1] += action.backwards
        return samples

    def _patched(self, attached: tuple, observer: Any) -> Any:
        """The model for one run, with these recipes alone."""
        patched = static_clone(self.job.model)
        for kind in (OUTER_SAMPLE, PREPARE_SAMPLING):
            patched.remove_wrappers_with_key(kind, NURSING_KEY)
        install(patched, SamplingPatch(attached, observer))
        return patched

    def _announce(self, size: int) -> None:
        """Says what this batch keeps, before it has more than the first step. Raises ValueError if it is too
        much.
        """
        self.announced += size
        free = comfy.model_management.get_free_memory(torch.device("cpu"))
        if size > free + size // self.schedule.n_steps:
            raise ValueError(TOO_MUCH.format(wanted=in_words(size), free=in_words(free)))
        self.on_status(f"{in_words(self.announced)} of latents and word maps are kept in memory")

    def _status(self, runs: Sequence[BoxRun], made: Sequence[BoxRun], alive: Round) -> str:
        kept = len(runs) - len(made)
        parts = [f"{len(runs)} box{'es' if len(runs) > 1 else ''}, {self.batches + 1} runs"]
        parts += [f"{kept} taken from the last round"] if kept else []
        none = self.recipe.active_steps(self.schedule).reason or "no update was needed"
        parts.append(f"{self.passes[1]} updates" if self.passes[1] else none)
        parts.append(f"{in_words(alive.kept_bytes)} kept")
        parts.append(self.family.describe_capture(self.recipe.objective.needs))
        return "; ".join(parts)


class _Progress:
    """One bar for all runs. lengths: steps and updates of each."""

    def __init__(self, model: Any, lengths: list[int]):
        self.lengths, self.run, self.before = lengths, 0, 0
        self.show = latent_preview.prepare_callback(model, sum(lengths))

    def on_step(self, step: int, x0: Tensor, x: Tensor, total: int) -> None:
        """The callback of one run."""
        self.show(self.before + min(step, self.lengths[self.run] - 1), x0, x, sum(self.lengths))

    def next_run(self) -> None:
        """A run has ended."""
        self.before += self.lengths[self.run]
        self.run += 1

    def more(self, runs: int) -> None:
        """So many more runs, like the present one, follow."""
        self.lengths[self.run : self.run] = [self.lengths[self.run]] * runs
