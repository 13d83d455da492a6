"""Where a pass is made: guider, sampler state and noise level, inside a run or (for counting) without one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.host_env.inprocess import pack_module

from .models import SIGMA_STEP, Size, build, patcher


@dataclass(frozen=True)
class SamplerState:
    """guider: ComfyUI's, in a run. x [1, ...]: sampler state. sigma [1]: noise level. extra: arguments."""

    guider: object
    x: Tensor
    sigma: Tensor
    extra: dict

    def conditional(self, x: Tensor, transformer: dict) -> Tensor:
        """ComfyUI's prediction from the positive prompt alone; `transformer`: more transformer options."""
        import comfy.samplers

        options = dict(self.extra["model_options"])
        options["transformer_options"] = {**options.get("transformer_options", {}), **transformer}
        guider = self.guider
        return comfy.samplers.calc_cond_batch(
            guider.inner_model, [[_fresh(guider.conds["positive"][0])]], x, self.sigma, options
        )[0]

    def entry(self):
        """The positive prompt, as the pack's probe wants to have it."""
        key = pack_module("gsn_ops.host.prompts.conditioning").KEY
        return pack_module("gsn_ops.host.attention.entry").Entry(
            "positive", 0, self.guider.conds["positive"][0][key]
        )

    def plain_step(self) -> None:
        """One plain step of ComfyUI: both prompts, no gradients."""
        with torch.no_grad():
            self.guider(self.x, self.sigma, **self.extra)


def _fresh(cond: dict) -> dict:
    """The entry with copies of its tensors, which autograd may save."""
    made = {
        name: c._copy_with(c.cond.clone()) if isinstance(c.cond, Tensor) else c
        for name, c in cond["model_conds"].items()
    }
    return {**cond, "model_conds": made}


def sigmas_of(model) -> Tensor:
    """Two steps of a schedule of 50: the one at which Latent Refine acts, and its end."""
    import comfy.samplers

    all_sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 50)
    return torch.stack([all_sigmas[SIGMA_STEP], all_sigmas[SIGMA_STEP + 1]])


@contextlib.contextmanager
def counted_only(size: Size):
    """A SamplerState whose tensors have shapes and no numbers: nothing is computed, so any size fits."""
    import comfy.samplers
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        model = patcher(build(size, fill=False), torch.device("cpu"))
        guider = comfy.samplers.CFGGuider(model)
        positive, negative = size.conditioning()
        guider.set_conds(positive, negative)
        guider.inner_model, latent = model.model, size.latent()
        model.model.current_patcher = model  # which loading would do
        guider.conds = {name: [dict(cond) for cond in conds] for name, conds in guider.original_conds.items()}
        guider.conds = comfy.samplers.process_conds(model.model, latent, guider.conds, latent.device, latent)
        yield SamplerState(
            guider, latent.clone(), torch.full((1,), 0.8), {"model_options": model.model_options, "seed": 0}
        )
