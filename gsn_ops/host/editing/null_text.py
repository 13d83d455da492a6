"""Null-text inversion: an embedding per step in the place of the negative prompt, so that a guided sampler
gives a picture back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...editing.null_text import LEARNING_RATE, good_enough, learning_rate, ranges
from ...editing.trajectory import Trajectory, signal_to_error
from ..attention.memory_policy import CheckpointPolicy
from ..attention.plain_pass import PlainPasses
from ..autograd.differentiable import differentiable, static_clone, without_inference_flag
from ..find_family import family_of
from ..sampling.patch import PREPARE_SAMPLING, reserve_memory
from ..sampling.plan import network_scale
from .invert import without_own_patches
from .noise_levels import check_kind, check_made_by

ONE_ENTRY = (
    "Null-Text Inversion optimises one negative prompt, and this one has {n} parts: connect a single text "
    "node."
)
NOT_TEXT = (
    "Null-Text Inversion: this model changes the text before its network sees it, so an embedding cannot be "
    "handed to a sampler. Use another model."
)
HALF = (
    "Null-Text Inversion needs full precision, and this model computes in {dtype}: start ComfyUI with "
    "--fp32-unet."
)
PART_OF_RUN = ("start_percent", "end_percent", "timestep_start", "timestep_end")
"""Options of a conditioning that limit it to some steps; each embedding has its own."""
OTHER_CFG = "Null-Text Inversion makes up for guidance, and cfg is 1: choose the CFG of your sampler."


@dataclass(frozen=True)
class NullText:
    """conditioning: for a sampler's negative input. text: the line on the node. decibels: PSNR of the latent
    with it, and with the given negative prompt.
    """

    conditioning: list
    text: str
    decibels: tuple[float, float]


@dataclass(frozen=True)
class NullTextSettings:
    """cfg: of the sampler. iterations: most updates per step. rate: Adam's at the first step."""

    cfg: float = 7.5
    iterations: int = 10
    rate: float = LEARNING_RATE


def optimise_null_text(
    model: Any, positive: list, negative: list, trajectory: Trajectory, settings: NullTextSettings
) -> NullText:
    """An embedding for every step of an Euler run on the trajectory's levels, at this CFG.

    Raises ValueError, with the cure, for input that cannot work.
    """
    check_trajectory(model, trajectory)
    if settings.cfg == 1:
        raise ValueError(OTHER_CFG)
    texts = sum(len(text) for text, _ in negative)
    if len(negative) != 1 or texts not in (1, len(trajectory.image)):
        raise ValueError(ONE_ENTRY.format(n=texts))
    ((text, given),) = negative
    options = {key: value for key, value in given.items() if key not in PART_OF_RUN}
    sigmas = torch.tensor(trajectory.sigmas[::-1])
    run = _Optimisation(model, trajectory, settings)
    patched = without_own_patches(static_clone(model))
    patched.add_wrapper_with_key(PREPARE_SAMPLING, "gsn_null_text", reserve_memory)
    guider = comfy.samplers.CFGGuider(patched)
    guider.set_conds(positive, [[text, options]])
    zeros = torch.zeros_like(trajectory.image)
    show = latent_preview.prepare_callback(model, len(sigmas) - 1)
    quiet = not comfy.utils.PROGRESS_BAR_ENABLED
    guider.sample(zeros, zeros, run, sigmas, callback=show, disable_pbar=quiet, seed=0)
    entries = [
        [text, {**options, "timestep_start": start, "timestep_end": end}]
        for text, (start, end) in zip(run.texts, ranges(sigmas.tolist()), strict=True)
    ]
    with_it, without = (signal_to_error(trajectory.image, x.float().cpu()) for x in run.ends)
    return NullText(entries, run.said(with_it, without), (with_it, without))


def check_trajectory(model: Any, trajectory: Trajectory) -> None:
    """Raises ValueError unless this model can have made the trajectory."""
    model_sampling = model.get_model_object("model_sampling")
    check_kind(model_sampling)
    check_made_by(trajectory, model.get_model_object("latent_format"), model_sampling, "Null-Text Inversion")


class _Optimisation:
    """A sampler that follows a trajectory with guidance. Lives as long as one call."""

    def __init__(self, model: Any, trajectory: Trajectory, settings: NullTextSettings):
        self.family, self.trajectory, self.settings = family_of(model), trajectory, settings
        self.texts: list[Tensor] = []
        self.ends: tuple[Tensor, Tensor] = (trajectory.image, trajectory.image)
        self.updates = 0

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args,
        callback,
        noise: Tensor,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ) -> Tensor:
        """As ComfyUI calls a sampler, on falling sigmas."""
        self._begin(model_wrap, extra_args, noise.device)
        levels, n = sigmas.tolist(), len(sigmas) - 1
        x = plain = self.trajectory.noise.to(noise)
        text = self.text
        for i, (sigma, following) in enumerate(zip(levels, levels[1:], strict=False)):
            of_prompt = self._predict(self.positive, x, sigma)
            goal = self.trajectory.at(following).to(x)
            step = _Step(i / n, sigma, following, x, goal, of_prompt)
            start = text
            text = self.passes.with_less_memory(lambda step=step, start=start: self._optimised(step, start))
            self.texts.append(text.cpu())
            denoised = self._guided(step, self._predict([self._negative(text)], x, sigma))
            x = step.to(denoised)
            both = (self._predict(c, plain, sigma) for c in (self.positive, [self._negative(self.text)]))
            plain = plain + (following - sigma) * (plain - self._mixed(*both)) / sigma
            callback(i, denoised, x, n)
        self.ends = (x, plain)
        return x

    def said(self, with_it: float, without: float) -> str:
        """The line on the node, of the PSNR [dB] with the embeddings and with the given negative prompt."""
        return (
            f"{len(self.texts)} embeddings, {self.updates} updates; back at CFG {self.settings.cfg:g}: "
            f"{with_it:.1f} dB in the latent, {without:.1f} with the negative prompt"
        )

    def _begin(self, guider: Any, extra_args: dict, device: torch.device) -> None:
        self.inner = guider.inner_model
        dtype = self.inner.get_dtype_inference()
        if dtype != torch.float32:
            raise ValueError(HALF.format(dtype=str(dtype).removeprefix("torch.")))
        self.positive, (self.empty, *_) = guider.conds["positive"], guider.conds["negative"]
        made, given = self.empty["model_conds"].get("c_crossattn"), self.empty["cross_attn"]
        if made is None or made.cond.shape != given.shape or not torch.equal(made.cond.to(given), given):
            raise ValueError(NOT_TEXT)
        self.text = made.cond.float().to(device)
        batch = len(self.trajectory.image)
        self.text = self.text.repeat(batch // len(self.text), 1, 1)
        self.passes = PlainPasses(self.inner, self.family, extra_args["model_options"], CheckpointPolicy())

    def _negative(self, text: Tensor) -> dict:
        """The negative prompt with this embedding [B, T, C]."""
        conds = self.empty["model_conds"]
        return {**self.empty, "model_conds": {**conds, "c_crossattn": conds["c_crossattn"]._copy_with(text)}}

    def _predict(self, conds: list[dict], x: Tensor, sigma: float) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        level = x.new_full((len(x),), sigma)
        return comfy.samplers.calc_cond_batch(self.inner, [conds], x, level, self.passes.options)[0]

    def _mixed(self, of_prompt: Tensor, of_empty: Tensor) -> Tensor:
        return of_empty + self.settings.cfg * (of_prompt - of_empty)

    def _guided(self, step: _Step, of_empty: Tensor) -> Tensor:
        return self._mixed(step.of_prompt, of_empty)

    def _optimised(self, step: _Step, text: Tensor) -> Tensor:
        """The embedding [B, T, C] after this step's updates."""
        with differentiable(self.inner):
            step = step.without_inference_flag()
            leaf = torch.nn.Parameter(text.clone())
            adam = torch.optim.Adam([leaf], lr=learning_rate(step.share, self.settings.rate))
            for _ in range(self.settings.iterations):
                losses = self._losses(step, leaf)
                if float(losses.detach().max()) < good_enough(step.share):
                    break
                (leaf.grad,) = torch.autograd.grad(losses.sum(), leaf)
                adam.step()
                self.updates += 1
            return leaf.detach().clone()

    def _losses(self, step: _Step, text: Tensor) -> Tensor:
        """Mean square [B] of what misses the trajectory after the step, in the network's latent."""
        cond, level = self._negative(text), step.x.new_full((len(step.x),), step.sigma)
        comfy.model_management.throw_exception_if_processing_interrupted()
        of_empty = self.passes.predict([cond], step.x, level, (text,))
        missed = step.to(self._guided(step, of_empty)) - step.goal
        level = step.x.new_full((1,), step.following)
        scale = network_scale(self.inner.model_sampling, level, step.x.ndim)
        return (missed / scale).square().flatten(1).mean(1)


@dataclass(frozen=True)
class _Step:
    """One step from x [B, ...]; share: of the steps that are done; goal: where the trajectory is after it."""

    share: float
    sigma: float
    following: float
    x: Tensor
    goal: Tensor
    of_prompt: Tensor

    def to(self, denoised: Tensor) -> Tensor:
        """The state after the step with this prediction."""
        return self.x + (self.following - self.sigma) * (self.x - denoised) / self.sigma

    def without_inference_flag(self) -> _Step:
        """With tensors that autograd may save."""
        own = (without_inference_flag(t) for t in (self.x, self.goal, self.of_prompt))
        return _Step(self.share, self.sigma, self.following, *own)
