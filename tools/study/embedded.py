"""The embedded models in this process: images of prompts, plain or with a method, judged by the detector.

Every image has a prompt and a noise seed of its own. Prompts of one form ("a red circle, a blue square and a
green star") have their words at the same columns, so different ones share a batch: one conditioning with as
many rows as images. Images come straight from the latent (it is a linear frame of RGB); the detector sees
decoded ones the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gsn_ops.judge.demo_detector import detect, success
from tools.host_env.inprocess import PYTORCH_ATTENTION, boot, pack_module
from tools.tiny.latent_frame import latent_to_rgb
from tools.tiny.prompts import Prompt

from .data import Sampling, Way

LOADERS = {
    "sd": ("gsn_ops.host.demo.sd", "load_demo_model"),
    "sd3": ("gsn_ops.host.demo.sd3", "load_demo_sd3"),
    "sd3-turbo": ("gsn_ops.host.demo.turbo", "load_demo_turbo"),
}


@dataclass(frozen=True)
class Verdict:
    """All wanted shapes are there; all wanted (colour, shape) are there."""

    objects: bool
    colours: bool


@dataclass(frozen=True)
class Refined:
    """What a method made of a batch of B images.

    latents [B, 4, 32, 32]. forwards, backwards: passes of the batch. step: the first one changed. Per
    image: first_loss and last_loss (before the last update) of the first recipe, weakest (the highest
    attention of its weakest subject at the first evaluation, NaN if it was not measured), evaluations and
    updates, which end where the image stops. percent, sigma: where `step` is in the noise schedule.
    """

    latents: torch.Tensor
    step: int | None
    forwards: int
    backwards: int
    first_loss: tuple[float, ...]
    last_loss: tuple[float, ...]
    weakest: tuple[float, ...]
    evaluations: tuple[int, ...]
    updates: tuple[int, ...]
    percent: float | None = None
    sigma: float | None = None


class Demo:
    """The loaded model and its text encoder that records tokens. Boots ComfyUI inside this process.

    file: instead of the embedded one. layout: "sd" (UNet), "sd3" (MM-DiT) or "sd3-turbo". boxes: the
    subjects of every prompt get boxes side by side, in the order of the text.
    """

    def __init__(self, file: Path | None = None, layout: str = "sd", boxes: bool = False):
        boot(more=PYTORCH_ATTENTION)
        module, function = LOADERS[layout]
        self.model, clip, self.vae = getattr(pack_module(module), function)(file)
        self.clip = pack_module("gsn_ops.host.prompts.conditioning").with_token_metadata(clip)
        self.attach = pack_module("gsn_ops.host.sampling.patch").attach
        self.attach_edits = pack_module("gsn_ops.host.sampling.modulation").attach_edits
        self.boxes = boxes

    def encode(self, texts: Sequence[str]) -> list:
        """One CONDITIONING with a row per text. Raises ValueError for texts of different forms."""
        tokens_of = pack_module("gsn_ops.host.prompts.conditioning").tokens_of
        singles = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text)) for text in texts]
        if len({len(tokens_of(single).encoders[0].pieces) for single in singles}) > 1:
            raise ValueError(
                "Only prompts of one form share a batch: their words must be at the same columns."
            )
        joined = [[torch.cat([single[0][0] for single in singles]), singles[0][0][1]]]  # [B, 77 or 154, 64]
        return with_boxes(joined, texts[0]) if self.boxes else joined

    def sample(self, model, prompts: Sequence[Prompt], how: Sampling) -> torch.Tensor:
        """Latents [B, 4, 32, 32]. The first image's seed is also that of the noise which the sampler adds."""
        import comfy.sample

        empty = torch.zeros(1, 4, 32, 32)
        noise = torch.cat([comfy.sample.prepare_noise(empty, prompt.seed) for prompt in prompts])
        return comfy.sample.sample(
            model,
            noise,
            how.steps,
            how.cfg,
            how.sampler,
            how.scheduler,
            self.encode([p.text for p in prompts]),
            self.encode([""]),
            torch.zeros_like(noise),
            disable_pbar=True,
            seed=prompts[0].seed,
        )

    def edited(self, way: Way, prompts: Sequence[Prompt], how: Sampling) -> torch.Tensor:
        """The same with a way's method without gradients. Raises RuntimeError, in its words, if it does not
        act.
        """
        model, book = self.attach_edits(self.model, *edits_of(way))
        latents = self.sample(model, prompts, how)
        for action in book.find(latents).recipes:
            if action.step is None:
                raise RuntimeError(action.status)
        return latents

    def refine(
        self, recipes: Sequence, prompts: Sequence[Prompt], how: Sampling, edits: Sequence = ()
    ) -> Refined:
        """The same with a method's recipes, and with edits. Raises RuntimeError, in the report's words, if no
        recipe acted.
        """
        model = self.attach_edits(self.model, *edits)[0] if edits else self.model
        model, book = self.attach(model, *recipes)
        latents = self.sample(model, prompts, how)
        report = book.find(latents)
        acted = [action for action in report.recipes if action.losses]
        if not acted:
            return nothing_to_update(latents, report)
        images = range(len(prompts))
        first = [[row[i] for row in acted[0].losses if not math.isnan(row[i])] for i in images]
        evaluations = [
            sum(not math.isnan(row[i]) for action in acted for row in action.losses) for i in images
        ]
        return Refined(
            latents,
            acted[0].step,
            forwards=sum(action.forwards for action in acted),
            backwards=sum(action.backwards for action in acted),
            first_loss=tuple(acted[0].losses[0]),
            last_loss=tuple(losses[-1] if losses else math.nan for losses in first),
            weakest=tuple(min(row, default=math.nan) for row in acted[0].maxima_before)
            or (math.nan,) * len(prompts),
            evaluations=tuple(evaluations),
            updates=tuple(sum(action.updates[i] for action in acted) for i in images),
            percent=acted[0].percent,
            sigma=acted[0].sigma,
        )


def nothing_to_update(latents: torch.Tensor, report) -> Refined:
    """Of a run whose looks found every subject, or in which a method without gradients was all there was to
    do. Raises RuntimeError, in the report's words, if nobody has looked.
    """
    looked = [action for action in report.recipes if action.maxima_before]
    if not looked:
        raise RuntimeError(report.status())
    none = (0,) * len(latents)
    unknown = (math.nan,) * len(latents)
    weakest = tuple(min(row, default=math.nan) for row in looked[0].maxima_before)
    return Refined(latents, looked[0].step, 0, 0, unknown, unknown, weakest, none, none)


def with_boxes(conditioning: list, text: str) -> list:
    """The conditioning with a box for every subject of a prompt, side by side in its order."""
    prompt_tokens, regions = pack_module("gsn_ops.host.prompts.conditioning"), pack_module("gsn_ops.regions")
    subjects = subjects_of(text)
    for i, phrase in enumerate(subjects):
        left, right = i / len(subjects), (i + 1) / len(subjects)
        box = regions.Region(boxes=((left, 0.2, right, 0.8),), point=((left + right) / 2, 0.5))
        conditioning = prompt_tokens.with_region(conditioning, (phrase,), box)
    return conditioning


def subjects_of(text: str) -> Sequence:
    """The subjects that the pack finds in a prompt, none in an empty one."""
    return pack_module("gsn_ops.subjects.find").subjects_of_caption(text)[0] if text else ()


def recipes_of(way: Way) -> tuple:
    """The recipes of a way; () for the unchanged model. Raises ValueError for settings it does not have."""
    if not way.method:
        return ()
    methods, settings = (pack_module(f"gsn_ops.optimise.{name}") for name in ("methods", "overrides"))
    moment = pack_module("gsn_ops.schedule").Moment
    recipes = settings.override(methods.preset(way.method), way.overrides)
    if way.at_step is not None:
        recipes = settings.moved(recipes, moment(step=way.at_step))
    elif way.at_percent is not None:
        recipes = settings.moved(recipes, moment(percent=way.at_percent))
    if way.strength != 1:
        recipes = tuple(recipe.scaled(way.strength) for recipe in recipes)
    if way.guidance_scale != 1:
        recipes = tuple(r.scaled(way.guidance_scale) if hasattr(r, "step_size") else r for r in recipes)
    return tuple(settings.check(replace(recipe, report="curve")) for recipe in recipes)


def edits_of(way: Way) -> tuple:
    """The method without gradients of a way, () for none. Raises ValueError for settings it does not have."""
    if not way.edit:
        return ()
    return (pack_module("gsn_ops.optimise.gradient_free").edit_of(way.edit, way.edit_overrides).check(),)


def has_moment(method: str) -> bool:
    """Can `at_percent` and `at_step` move this method?"""
    refine = pack_module("gsn_ops.optimise.refine").Refine
    return any(
        isinstance(recipe, refine) for recipe in pack_module("gsn_ops.optimise.methods").preset(method)
    )


def without_last(recipes: tuple, prompt: Prompt) -> tuple:
    """The recipes with the subjects of prompts of this form, the last one unwanted."""
    *wanted, last = (phrase.label for phrase in subjects_of(prompt.text))
    typed = pack_module("gsn_ops.subjects.syntax").parse_subjects(", ".join([*wanted, f"-{last}"]))
    return tuple(replace(recipe, subjects=typed) for recipe in recipes)


def images_of(latents: torch.Tensor) -> np.ndarray:
    """Latents [B, 4, 32, 32] as images [B, 32, 32, 3] uint8."""
    return (latent_to_rgb(latents.float()).clamp(0, 1) * 255).round().byte().numpy()


def judge(latents: torch.Tensor, prompts: Sequence[Prompt]) -> list[Verdict]:
    """The detector's verdict on each image."""
    images = zip(images_of(latents), prompts, strict=True)
    return [Verdict(*success(detect(image), list(prompt.wanted))) for image, prompt in images]


def judge_without_last(latents: torch.Tensor, prompts: Sequence[Prompt]) -> list[Verdict]:
    """Right is an image that has all the things of its prompt but the last, and not that one."""
    rest = judge(latents, [replace(p, wanted=p.wanted[:-1]) for p in prompts])
    last = judge(latents, [replace(p, wanted=p.wanted[-1:]) for p in prompts])
    return [
        Verdict(a.objects and not b.objects, a.colours and not b.colours)
        for a, b in zip(rest, last, strict=True)
    ]
