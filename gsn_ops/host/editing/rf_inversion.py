"""RF-Inversion as a sampler: an image goes to noise and comes back drawn towards itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...editing.ode import Velocity
from ...editing.rf_inversion import strength_at, to_image, to_noise
from ...optimise.seeded_noise import generator, noise_like
from .noise_levels import check_image, check_levels, is_flow
from .pair_guider import OTHER_GUIDER

NODE = "RF-Inversion"
NOT_A_FLOW = (
    "RF-Inversion is for flow models (SD3, Flux and their kind), and this model predicts noise: use Invert "
    "Image or FlowEdit."
)


@dataclass(frozen=True)
class RFInversionSampler:
    """A sampler for `PairGuider`: up with the source prompt, down with the target prompt.

    gamma: pull to the noise on the way up. eta: pull to the image on the way down, in the steps from the
    share `start` to `stop`; it falls as (1 - share) ** decay. Outside a mask of the latent it is 1 in all
    steps.
    """

    node: ClassVar[str] = NODE
    gamma: float = 0.5
    eta: float = 0.9
    start: float = 0.0
    stop: float = 0.25
    decay: float = 0.0

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

        Its noise is drawn here, from the seed; ComfyUI's is not used. Raises ValueError for another guider,
        an empty latent, sigmas that do not fall to 0, or a model that is not a flow.
        """
        if not hasattr(model_wrap, "predict_as"):
            raise ValueError(OTHER_GUIDER.format(node=NODE))
        if not is_flow(model_wrap.inner_model.model_sampling):
            raise ValueError(NOT_A_FLOW)
        check_image(model_wrap.inner_model, latent_image, NODE)
        levels = sigmas.tolist()
        check_levels(levels, NODE, to_zero=True)
        seen: list[Tensor] = []
        source, target = model_wrap.velocities(extra_args, seen)
        total = 2 * (len(levels) - 1)
        shown = _Shown(callback, seen, total)
        x = self._up(latent_image, levels[::-1], source, int(extra_args.get("seed") or 0), shown)
        return self._down(x, latent_image, levels, target, denoise_mask, shown)

    def _up(self, x: Tensor, levels: list[float], velocity: Velocity, seed: int, shown: _Shown) -> Tensor:
        sources = [generator(seed, b, "rf inversion") for b in range(len(x))]
        noise = torch.stack([noise_like(one, source) for one, source in zip(x, sources, strict=True)])
        for step in zip(levels, levels[1:], strict=False):
            x = to_noise(x, noise, step, velocity, self.gamma)
            shown(x)
        return x

    def _down(self, x: Tensor, image: Tensor, levels: list[float], velocity: Velocity, mask, shown) -> Tensor:
        n = len(levels) - 1
        for i, step in enumerate(zip(levels, levels[1:], strict=False)):
            eta: float | Tensor = 0.0
            if self.start <= i / n < self.stop:
                eta = strength_at(i / n, self.eta, self.decay)
            if mask is not None:
                eta = 1 - (1 - eta) * mask
            x = to_image(x, image, step, velocity, eta)
            shown(x)
        return x


class _Shown:
    """The progress of both ways: step by step to ComfyUI's callback."""

    def __init__(self, callback: Any, seen: list[Tensor], total: int):
        self.callback, self.seen, self.total, self.i = callback, seen, total, 0

    def __call__(self, x: Tensor) -> None:
        if self.callback is not None:
            self.callback(self.i, self.seen[0], x, self.total)
        self.i += 1
