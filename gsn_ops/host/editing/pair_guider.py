"""A guider that predicts under two prompts: the source, which describes the image, and the target."""

from __future__ import annotations

from functools import partial
from typing import Any

import comfy.samplers
from torch import Tensor

from ...editing.ode import Velocity
from .invert import without_own_patches
from .noise_levels import PARTS, velocity_of

SOURCE, TARGET = "source", "positive"
OTHER_GUIDER = "The sampler of {node} needs both prompts: connect the GUIDER of the same {node} node."
NEEDS_NEGATIVE = (
    "{name} is {cfg}, and guidance needs a negative prompt: connect one (an empty text will do), or set "
    "it to 1."
)


class PairGuider(comfy.samplers.CFGGuider):
    """ComfyUI's CFG guider of the target prompt that can also predict as the source prompt would.

    cfgs: of the source and the target. Patches of this pack do not act. Raises ValueError for a CFG other
    than 1 without a negative prompt.
    """

    def __init__(
        self,
        model: Any,
        source: list,
        target: list,
        negative: list | None = None,
        cfgs: tuple[float, float] = (1.0, 1.0),
    ):
        super().__init__(without_own_patches(model))
        for name, cfg in zip(("source_cfg", "target_cfg"), cfgs, strict=True):
            if cfg != 1 and negative is None:
                raise ValueError(NEEDS_NEGATIVE.format(name=name, cfg=f"{cfg:g}"))
        prompts = {TARGET: target, SOURCE: source}
        self.inner_set_conds(prompts if negative is None else {**prompts, "negative": negative})
        self.cfgs = {SOURCE: cfgs[0], TARGET: cfgs[1]}
        self.side = TARGET
        self.set_cfg(cfgs[1])

    def sample(self, noise, latent_image, sampler, *args, **kwargs):
        """ComfyUI's, for latents of one part. Raises ValueError for others."""
        if getattr(latent_image, "is_nested", False):
            raise ValueError(PARTS.format(node=getattr(sampler, "node", "FlowEdit")))
        return super().sample(noise, latent_image, sampler, *args, **kwargs)

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        return comfy.samplers.sampling_function(
            self.inner_model,
            x,
            timestep,
            self.conds.get("negative"),
            self.conds[self.side],
            self.cfgs[self.side],
            model_options=model_options or {},
            seed=seed,
        )

    def predict_as(self, side: str, x: Tensor, sigma: Tensor, **arguments: Any) -> Tensor:
        """The denoised prediction [B, ...] under the prompt of this side."""
        self.side = side
        try:
            return self(x, sigma, **arguments)
        finally:
            self.side = TARGET

    def velocities(self, extra_args: dict, seen: list[Tensor]) -> tuple[Velocity, Velocity]:
        """Of the source and of the target. seen: as of `velocity_of`."""
        model_sampling = self.inner_model.model_sampling
        first, second = (
            velocity_of(partial(self.predict_as, side), model_sampling, extra_args, seen)
            for side in (SOURCE, TARGET)
        )
        return first, second
