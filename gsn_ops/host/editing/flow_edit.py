"""FlowEdit as a sampler: an image and two prompts, no inversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...editing.flow_edit import edit_step, noisy
from ...editing.ode import Velocity
from ...optimise.seeded_noise import generator, noise_like
from .noise_levels import check_image, check_kind, check_levels, is_flow
from .pair_guider import OTHER_GUIDER, PairGuider


class FlowEditSampler:
    """A sampler for `PairGuider`. The last `plain_steps` steps follow the target prompt alone.

    averages: noises per step. A mask of the latent limits the edit.
    """

    def __init__(self, averages: int = 1, plain_steps: int = 0):
        self.averages, self.plain_steps = averages, plain_steps

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
        """As ComfyUI calls a sampler: the edited image [B, ...] in the model's latent space.

        Its noise is drawn here, from the seed; ComfyUI's noise and its level are not used. Raises ValueError
        for another guider, an empty latent, rising sigmas, or a model without noise levels.
        """
        if not hasattr(model_wrap, "predict_as"):
            raise ValueError(OTHER_GUIDER.format(node="FlowEdit"))
        check_kind(model_wrap.inner_model.model_sampling)
        check_image(model_wrap.inner_model, latent_image, "FlowEdit")
        levels = sigmas.tolist()
        check_levels(levels, "FlowEdit")
        edit = _Edit(model_wrap, latent_image, denoise_mask, extra_args)
        edited, total = latent_image, len(levels) - 1
        for i, step in enumerate(zip(levels, levels[1:], strict=False)):
            if i < total - self.plain_steps:
                edited = edit.step(edited, step, self.averages)
            else:
                edited = edit.plain_step(edited, step, first=i == max(0, total - self.plain_steps))
            self._show(callback, i, edit.seen[0], edited, total)
        return edited

    @staticmethod
    def _show(callback: Callable | None, i: int, denoised: Tensor, x: Tensor, total: int) -> None:
        if callback is not None:
            callback(i, denoised, x, total)


class _Edit:
    """One run: the image, where it may change, and its random numbers."""

    def __init__(self, guider: PairGuider | Any, image: Tensor, mask: Tensor | None, extra_args: dict):
        self.image, self.mask = image, mask
        self.flow = is_flow(guider.inner_model.model_sampling)
        self.seen: list[Tensor] = []
        self.velocities: tuple[Velocity, Velocity] = guider.velocities(extra_args, self.seen)
        seed = int(extra_args.get("seed") or 0)
        self.sources = [generator(seed, b, "flow edit") for b in range(len(image))]
        self.kept = image

    def _noise(self) -> Tensor:
        return torch.stack([noise_like(one, source) for one, source in zip(self.image, self.sources)])

    def step(self, edited: Tensor, sigmas: tuple[float, float], averages: int) -> Tensor:
        noises = [self._noise() for _ in range(averages)]
        return edit_step(self.image, edited, sigmas, noises, self.velocities, self.flow, self.mask)

    def plain_step(self, x: Tensor, sigmas: tuple[float, float], first: bool) -> Tensor:
        """A step with the target prompt from the noisy edit; `first`: x is still clean."""
        if first:
            self.kept = self._noise()
            x = x + noisy(self.image, self.kept, sigmas[0], self.flow) - self.image
        x = x + (sigmas[1] - sigmas[0]) * self.velocities[1](x, sigmas[0])
        if self.mask is None:
            return x
        return x * self.mask + noisy(self.image, self.kept, sigmas[1], self.flow) * (1 - self.mask)
