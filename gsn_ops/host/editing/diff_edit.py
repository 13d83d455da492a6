"""The mask of DiffEdit: a sampler call that changes nothing, and notes where two prompts disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...editing.diff_edit import contrast_map, edit_mask
from ...editing.flow_edit import noisy
from ...optimise.seeded_noise import generator, noise_like
from .noise_levels import image_latent, is_flow
from .pair_guider import PairGuider

FLAT = "The two prompts make no difference to this image: write another target, or raise strength."
NOWHERE = "The prompts differ nowhere as much as threshold says: lower threshold, or clip."
LARGE = ". That is most of the image: describe it in source, or raise threshold."
MOST = 0.8


@dataclass(frozen=True)
class MaskSettings:
    """strength: the share of the noise schedule at which the prompts are compared. copies: noises. clip: of
    the mean. threshold: of the contrast, 0 ... 1.
    """

    seed: int = 0
    strength: float = 0.5
    copies: int = 10
    threshold: float = 0.5
    clip: float = 3.0


@dataclass(frozen=True)
class FoundMask:
    """mask, contrast: [B, h, w] in latent positions. text: the line on the node."""

    mask: Tensor
    contrast: Tensor
    text: str


def find_mask(model: Any, source: list, target: list, latent: dict, settings: MaskSettings) -> FoundMask:
    """Where an image must change to show the target instead of the source.

    The predictions are compared without guidance: with the same negative prompt for both, guidance only
    multiplies their difference, which is divided by its mean. Raises ValueError, with the cure, for input
    that cannot work.
    """
    samples = image_latent(model, latent, "DiffEdit Mask")
    sigma = float(model.get_model_object("model_sampling").percent_to_sigma(1 - settings.strength))
    comparison = _Comparison(settings.seed, settings.copies)
    PairGuider(model, source, target).sample(
        torch.zeros_like(samples),
        samples,
        comparison,
        torch.tensor([sigma, 0.0]),
        callback=latent_preview.prepare_callback(model, settings.copies),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=settings.seed,
    )
    contrast = contrast_map(comparison.differences, settings.clip)
    mask = edit_mask(contrast, settings.threshold)
    return FoundMask(mask, contrast, said(mask, contrast))


def said(mask: Tensor, contrast: Tensor) -> str:
    """The line on the node."""
    share = float(mask.mean())
    if share == 0:
        return NOWHERE if contrast.any() else FLAT
    text = f"the mask covers {100 * share:.0f} % of the image"
    return text + LARGE if share > MOST else text


class _Comparison:
    """A sampler that hands its image back. Lives as long as one call."""

    def __init__(self, seed: int, copies: int):
        self.seed, self.copies = seed, copies
        self.differences = torch.zeros(0)

    @torch.no_grad()
    def sample(
        self,
        model_wrap: PairGuider,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image: Tensor,
        denoise_mask=None,
        disable_pbar=False,
    ) -> Tensor:
        """As ComfyUI calls a sampler; `differences` [B, h, w] are there afterwards."""
        seen: list[Tensor] = []
        of_source, of_target = model_wrap.velocities(extra_args, seen)
        sigma, flow = float(sigmas[0]), is_flow(model_wrap.inner_model.model_sampling)
        sources = [generator(self.seed, b, "diffedit") for b in range(len(latent_image))]
        total = torch.zeros_like(latent_image)
        for copy in range(self.copies):
            drawn = [noise_like(one, source) for one, source in zip(latent_image, sources, strict=True)]
            x = noisy(latent_image, torch.stack(drawn), sigma, flow)
            total += (of_target(x, sigma) - of_source(x, sigma)).abs()
            callback(copy, seen[0], x, self.copies)
        positions = total.flatten(1, -3).mean(1) / self.copies
        self.differences = positions.float().cpu()
        return latent_image
