"""Guidance by a judge: a loss on the predicted picture changes every prediction of a window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...judge.picture_loss import PictureLoss
from ...optimise.picture_guidance import guided
from ..architectures.family import ModelFamily
from ..attention.memory_policy import CheckpointPolicy
from ..attention.plain_pass import PlainPasses
from ..autograd.differentiable import differentiable, static_clone, without_inference_flag
from ..find_family import family_of
from ..judge.predicted_picture import Decoder
from ..language import with_errors_spoken
from .patch import OUTER_SAMPLE, PREPARE_SAMPLING, reserve_memory
from .sampler_watcher import Watch, watch

WRAPPER_KEY = "gsn_picture"
OFF = "Off: a plain run, as without this node."
NO_STEP = "Skipped: widen the window (no step of this run with an active prompt lies in it)"
GRADIENT_SCALE = 1024.0
"""The loss is multiplied by it, for networks that compute in float16; its size does not matter."""


@dataclass(frozen=True)
class PictureGuidance:
    """loss: what is lowered. see: the predicted picture. models: ComfyUI's patchers of what both need loaded.
    scale: see `guided`. window: from and to, as shares of the noise schedule.
    """

    loss: PictureLoss
    see: Decoder
    models: tuple[Any, ...] = ()
    scale: float = 0.1
    window: tuple[float, float] = (0.0, 0.6)


def attach_guidance(model: Any, what: PictureGuidance, tell: Callable[[str], None] | None = None) -> Any:
    """A clone of MODEL whose predictions are guided, after what guides it already. Scale 0 or an empty window
    attaches nothing.

    tell: gets one line after each run. Raises ValueError for a model of a family that is not supported.
    """
    family = family_of(model)
    if what.scale == 0 or what.window[0] >= what.window[1]:
        if tell is not None:
            tell(OFF)
        return model.clone()
    patched = static_clone(model)
    others = model.get_additional_models_with_key(WRAPPER_KEY)
    patched.set_additional_models(WRAPPER_KEY, [*others, *what.models])
    patched.add_wrapper_with_key(OUTER_SAMPLE, WRAPPER_KEY, _Patch(what, family, tell))
    patched.remove_wrappers_with_key(PREPARE_SAMPLING, WRAPPER_KEY)
    patched.add_wrapper_with_key(PREPARE_SAMPLING, WRAPPER_KEY, reserve_memory)
    return patched


@dataclass(frozen=True)
class _Patch:
    """The wrapper around one sampler call. Holds nothing of a run."""

    what: PictureGuidance
    family: ModelFamily
    tell: Callable[[str], None] | None

    @with_errors_spoken
    def __call__(self, executor, noise, latent_image, sampler, *args, **kwargs):
        run = _Run(self.what, self.family, executor.class_obj)
        watched = watch(sampler, Watch((), _no_update, lambda missed: None, run.modify))
        try:
            return executor(noise, latent_image, watched, *args, **kwargs)
        finally:
            if self.tell is not None:
                self.tell(run.said())


def _no_update(step: int, model: Any, x: Tensor, sigma: Tensor, arguments: dict) -> Tensor:
    return x


class _Run:
    """Guidance in one sampler call."""

    def __init__(self, what: PictureGuidance, family: ModelFamily, guider: Any):
        self.what, self.family, self.guider = what, family, guider
        self.passes: PlainPasses | None = None
        self.losses: list[float] = []  # mean over the images, of each guided prediction

    def modify(self, step: int, model: Any, x: Tensor, sigma: Tensor, denoised: Tensor, arguments: dict):
        """The prediction [B, ...] with guidance, if its noise level is in the window."""
        level = float(sigma.max())
        sampling = self.guider.inner_model.model_sampling
        highest, lowest = (sampling.percent_to_sigma(share) for share in self.what.window)
        if not lowest < level <= highest:
            return denoised
        comfy.model_management.throw_exception_if_processing_interrupted()
        passes = self._passes(arguments["model_options"])
        evaluated = passes.with_less_memory(lambda: self._evaluated(passes, x, sigma, denoised))
        if evaluated is None:
            return denoised
        losses, gradient = evaluated
        self.losses.append(fmean(losses.tolist()))
        mask = arguments.get("denoise_mask")
        if mask is not None:
            gradient = gradient * mask
        return guided(denoised, gradient, level, self.what.scale)

    def said(self) -> str:
        """The line on the node."""
        if not self.losses:
            return NO_STEP
        first, last, n = self.losses[0], self.losses[-1], len(self.losses)
        return f"{self.what.loss.name}: loss {first:.3f}, at the end {last:.3f}; {n} guided evaluations"

    def _passes(self, options: dict) -> PlainPasses:
        """Those of the run, made at its first guided prediction."""
        if self.passes is None:
            inner = self.guider.inner_model
            self.passes = PlainPasses(inner, self.family, options, CheckpointPolicy())
        return self.passes

    def _evaluated(self, passes: PlainPasses, x: Tensor, sigma: Tensor, denoised: Tensor):
        """Losses [B] of the guided picture, and their gradient [B, ...] with respect to x; None where no
        part of the positive prompt is active.

        The picture is that of the run's own prediction, with its CFG; the gradient is the positive prompt's.
        """
        inner, what = self.guider.inner_model, self.what
        modules = [one.model for one in what.models]
        with differentiable(inner, *modules):
            leaf = without_inference_flag(x).detach().requires_grad_()
            level, value = without_inference_flag(sigma), without_inference_flag(denoised)
            predicted = passes.predict(self.guider.conds["positive"], leaf, level)
            if not predicted.requires_grad:
                return None
            losses = what.loss(what.see(inner, value + (predicted - predicted.detach())))
            (gradient,) = torch.autograd.grad(GRADIENT_SCALE * losses.sum(), leaf)
            return losses.detach(), gradient
