"""A sampler for both directions: to noise on rising sigmas, back on falling ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ...editing.ode import known, steps
from ...editing.trajectory import Trajectory, rising
from ..attention.probe import CACHES
from .noise_levels import (
    FLIPPED_ZERO,
    as_latent,
    check_fits,
    check_kind,
    check_levels,
    check_made_by,
    is_flow,
    velocity_of,
)

NODE = "Inversion Sampler"
PICTURES = (4, 5)
"""Dimensions of latents of images; others are of sound, or several packed as one."""
TOO_HIGH = (
    "The trajectory ends at the noise level {known}, and this run goes on from {found}: connect the sigmas "
    "of Invert Image, or invert with a higher denoise."
)
OTHER_SIZE = (
    "The trajectory is of a latent of {known}, and this run's is of {found}: invert the image that is "
    "sampled."
)
NOT_BOTH = "Inversion Sampler keeps what is outside the mask as in the trajectory: connect both, or neither."
StepSeen = Callable[[dict], Any]


class InversionSampler(comfy.samplers.KSAMPLER):
    """Deterministic steps of an ODE method in the direction of the sigmas.

    Rising: the latent image becomes noise; noise and mask are not used. Falling: a sampler as ComfyUI's own.
    At sigma 1 of a flow model, where ComfyUI would drop the latent, a run without noise begins with it.
    trajectory, mask [b, h, w]: after each falling step, x outside the mask is that of the trajectory.
    """

    def __init__(self, method: str, trajectory: Trajectory | None = None, mask: Tensor | None = None):
        known(method)
        if (trajectory is None) != (mask is None):
            raise ValueError(NOT_BOTH)
        super().__init__(inverse_ode, {"method": method, "trajectory": trajectory, "mask": mask})
        self.method, self.trajectory = method, trajectory

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
        inner, levels = model_wrap.inner_model, sigmas.tolist()
        model_sampling = inner.model_sampling
        check_kind(model_sampling)
        check_levels(levels, NODE, falling=False)
        if noise.ndim in PICTURES:
            check_fits(inner.latent_format, noise if latent_image is None else latent_image, NODE)
        if rising(levels):
            return self._to_noise(model_wrap, sigmas, extra_args, callback, noise, latent_image)
        self._check_trajectory(inner, levels)
        begins_with_noise = is_flow(model_sampling) and float(sigmas[0]) >= 1
        if begins_with_noise and latent_image is not None and not noise.count_nonzero():
            noise = latent_image / getattr(model_sampling, "noise_scale", 1.0)
        return super().sample(
            model_wrap, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar
        )

    def _check_trajectory(self, inner: Any, levels: list[float]) -> None:
        """Raises ValueError unless what is outside the mask can follow the trajectory at these levels."""
        if self.trajectory is None:
            return
        check_made_by(self.trajectory, inner.latent_format, inner.model_sampling, NODE)
        end = self.trajectory.sigmas[-1]
        if len(levels) > 1 and levels[1] > end * (1 + 1e-4):
            raise ValueError(TOO_HIGH.format(known=f"{end:.3g}", found=f"{levels[1]:.3g}"))

    def _to_noise(self, model: Any, sigmas: Tensor, extra_args: dict, callback, noise, image) -> Tensor:
        model_sampling, levels = model.inner_model.model_sampling, sigmas.tolist()
        for options in (model.model_options, extra_args["model_options"]):  # both are of this run alone
            _without_caches(options.get("transformer_options", {}))
        x = torch.zeros_like(noise) if image is None else image
        if levels[0] > FLIPPED_ZERO:
            x = model_sampling.noise_scaling(sigmas[0], torch.zeros_like(x), x)
        else:
            levels[0] = 0.0

        def shown(state: dict) -> None:
            if callback is not None:
                callback(state["i"], state["denoised"], state["x"], len(levels) - 1)

        x = inverse_ode(model, x, levels, extra_args=extra_args, callback=shown, method=self.method)
        return as_latent(model_sampling, x, levels[-1])


@torch.no_grad()
def inverse_ode(
    model,
    x: Tensor,
    sigmas,
    extra_args: dict | None = None,
    callback: StepSeen | None = None,
    disable: bool | None = None,
    method: str = "fireflow",
    trajectory: Trajectory | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """A sampler function: x [B, ...] at the last sigma. The callback shows the state after each step.

    Raises ValueError if the trajectory is of another latent.
    """
    levels = [float(sigma) for sigma in sigmas]
    model_sampling = _sampling_of(model)
    inside = None if mask is None else comfy.sampler_helpers.prepare_mask(mask, x.shape, x.device)
    if trajectory is not None and trajectory.image.shape != x.shape:
        known, found = (tuple(shape) for shape in (trajectory.image.shape, x.shape))
        raise ValueError(OTHER_SIZE.format(known=known, found=found))
    seen: list[Tensor] = []
    run = steps(velocity_of(model, model_sampling, extra_args or {}, seen), x, levels, method)
    for i, x in enumerate(_blended(run, levels, trajectory, inside)):
        if callback is not None:
            callback({"x": x, "i": i, "sigma": levels[i], "sigma_hat": levels[i], "denoised": seen[0]})
    return x


def _without_caches(transformer: dict) -> None:
    """Take the caches, which are made for falling sigmas, out of a run's transformer options."""
    transformer["wrappers"] = {
        kind: {key: wrappers for key, wrappers in table.items() if key not in CACHES}
        for kind, table in transformer.get("wrappers", {}).items()
    }


def _sampling_of(model: Any) -> Any:
    """The model_sampling behind a guider or behind ComfyUI's mask wrapper around one."""
    inner = model.inner_model
    return inner.model_sampling if hasattr(inner, "model_sampling") else inner.inner_model.model_sampling


def _blended(run, levels: list[float], trajectory: Trajectory | None, inside: Tensor | None):
    """The states of a run, each with the trajectory's state outside the mask."""
    if trajectory is None or inside is None:
        yield from run
        return
    sent = None
    for following in levels[1:]:
        x = run.send(sent)
        sent = x * inside + trajectory.at(following).to(x) * (1 - inside)
        yield sent
