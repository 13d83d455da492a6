"""An image's way to noise in one call, and the noise as ComfyUI's samplers take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...editing.ode import evaluations, known, steps
from ...editing.trajectory import Trajectory, signal_to_error
from ..attention.probe import CACHES
from ..sampling.modulated_run import WRAPPER_KEY as MODULATION_KEY
from ..sampling.patch import OUTER_SAMPLE, PREPARE_SAMPLING
from ..sampling.patch import WRAPPER_KEY as NURSING_KEY
from ..sampling.picture_guidance import WRAPPER_KEY as PICTURE_KEY
from .noise_levels import as_latent, check_levels, image_latent, noise_kind, velocity_of

NODE = "Invert Image"
OTHER_LATENT = (
    "The noise of Invert Image is of a latent of {known}, and latent_image is of {found}: connect the image "
    "that was inverted, or an empty latent of its size and batch."
)
POOR = 25.0
"""dB of the latent; below it an image is visibly another one."""
LOST = ". That is another image: use more steps, or the method fireflow or midpoint."


@dataclass(frozen=True)
class Inverted:
    """latent: the state at the end as ComfyUI's LATENT. sigmas: falling, for the way back. decibels: PSNR of
    the latent after the way there and back, None = not tried.
    """

    trajectory: Trajectory
    noise: InvertedNoise
    latent: dict
    sigmas: Tensor
    text: str
    decibels: float | None = None


def invert(
    model: Any,
    conditioning: list,
    latent: dict,
    numbers: tuple[int, str, float],
    method: str,
    check: bool = True,
) -> Inverted:
    """The way of an image to noise with this prompt, without guidance (CFG 1).

    numbers: steps, scheduler, denoise (the share of the schedule, as in a KSampler). check: go back too.
    Patches of this pack do not act. Raises ValueError, with the cure, for input that cannot work.
    """
    samples = image_latent(model, latent, NODE)
    known(method)
    falling = schedule(model, *numbers)
    check_levels(falling.tolist(), NODE)
    run = _ThereAndBack(method, check)
    length = (len(falling) - 1) * (1 + check)
    found = prompted(without_own_patches(model), conditioning).sample(
        torch.zeros_like(samples),
        samples,
        run,
        falling.flip(0),
        callback=latent_preview.prepare_callback(model, length),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=0,
    )
    kind = noise_kind(*(model.get_model_object(part) for part in ("latent_format", "model_sampling")))
    trajectory = Trajectory(tuple(falling.flip(0).tolist()), torch.stack(run.states), kind)
    decibels = signal_to_error(trajectory.image, run.back) if run.back is not None else None
    kept = {k: v for k, v in latent.items() if not k.startswith("downscale_ratio")}
    noise = InvertedNoise(model, trajectory)
    text = said(method, falling, decibels)
    return Inverted(trajectory, noise, {**kept, "samples": found}, falling, text, decibels)


def prompted(model: Any, conditioning: list) -> comfy.samplers.CFGGuider:
    """A guider with one prompt and no guidance."""
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": conditioning})
    return guider


def schedule(model: Any, steps: int, scheduler: str, denoise: float) -> Tensor:
    """Falling noise levels [steps + 1] of the last `denoise` of a schedule, as BasicScheduler gives them."""
    total = steps if denoise >= 1 else int(steps / denoise)
    made = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, total)
    return made.cpu()[-(steps + 1) :].float()


def without_own_patches(model: Any) -> Any:
    """A clone of MODEL in whose runs nothing of this pack acts, and no cache of a usual run's passes."""
    clone = model.clone()
    for kind in list(clone.wrappers):
        for key in CACHES:
            clone.remove_wrappers_with_key(kind, key)
    for key in (NURSING_KEY, MODULATION_KEY, PICTURE_KEY):
        for kind in (OUTER_SAMPLE, PREPARE_SAMPLING):
            clone.remove_wrappers_with_key(kind, key)
    return clone


def said(method: str, sigmas: Sequence[float] | Tensor, decibels: float | None) -> str:
    """The line on the node."""
    n = len(sigmas) - 1
    text = f"{n} steps up to sigma {float(sigmas[0]):.3g}, {method}, {evaluations(n, method)} evaluations"
    if decibels is None:
        return text
    text += f"; there and back: {decibels:.1f} dB in the latent"
    return text if decibels >= POOR else text + LOST


class _ThereAndBack:
    """A sampler that keeps every state on the way to noise, then goes back. Lives as long as one call."""

    def __init__(self, method: str, check: bool):
        self.method, self.check = method, check
        self.states: list[Tensor] = []
        self.back: Tensor | None = None

    @torch.no_grad()
    def sample(
        self,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image: Tensor,
        denoise_mask=None,
        disable_pbar=False,
    ) -> Tensor:
        """As ComfyUI calls a sampler, on rising sigmas: the last state as it returns one."""
        model_sampling, levels = model_wrap.inner_model.model_sampling, sigmas.tolist()
        seen: list[Tensor] = []
        velocity = velocity_of(model_wrap, model_sampling, extra_args, seen)
        total = (len(levels) - 1) * (1 + self.check)
        x = latent_image
        self.states = [x.float().cpu()]
        for i, state in enumerate(steps(velocity, x, levels, self.method)):
            callback(i, seen[0], state, total)
            self.states.append(state.float().cpu())
            x = state
        if self.check:
            for i, state in enumerate(steps(velocity, x, levels[::-1], self.method), len(levels) - 1):
                callback(i, seen[0], state, total)
                self.back = state
        self.back = None if self.back is None else self.back.float().cpu()
        return as_latent(model_sampling, x, levels[-1])


@dataclass(frozen=True)
class InvertedNoise:
    """ComfyUI's NOISE: a run on the inversion's schedule begins with the inverted state, whatever its latent.

    seed: of samplers that draw more.
    """

    model: Any = field(repr=False)
    trajectory: Trajectory
    seed: int = 0

    def generate_noise(self, input_latent: dict) -> Tensor:
        """The noise [B, ...] that ComfyUI makes the last state of, given this latent. Raises ValueError for a
        latent of another size.
        """
        samples, state = input_latent["samples"], self.trajectory.noise
        if not isinstance(samples, Tensor) or samples.shape != state.shape:
            found = tuple(getattr(samples, "shape", ()))
            raise ValueError(OTHER_LATENT.format(known=tuple(state.shape), found=found))
        model_sampling, sigma = self.model.get_model_object("model_sampling"), self.trajectory.sigmas[-1]
        image = samples.float().cpu()
        if image.count_nonzero():
            image = self.model.model.process_latent_in(image)
        whole = sigma >= float(model_sampling.sigma_max) * (1 - 1e-5)
        begin, one = (
            model_sampling.noise_scaling(torch.tensor(sigma), torch.full_like(state, k), image, whole)
            for k in (0.0, 1.0)
        )
        return (state - begin) / (one - begin)
