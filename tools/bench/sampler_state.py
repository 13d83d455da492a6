"""What is done at one state of a sampler, inside a run or (for counting) without one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tools.host_env.inprocess import pack_module

from .models import SIGMA_STEP, Size, build, patcher

if TYPE_CHECKING:
    from gsn_ops.host.attention.sampler_state import SamplerState


def sampler_state(guider, x: Tensor, sigma: Tensor, arguments: dict) -> SamplerState:
    """The pack's SamplerState of x [1, ...] at sigma [1], where the guider itself is called as the model."""
    return pack_module("gsn_ops.host.attention.sampler_state").SamplerState(
        guider, guider, x, sigma, arguments
    )


def conditional(state: SamplerState, x: Tensor, transformer: dict) -> Tensor:
    """ComfyUI's prediction from the positive prompt alone; `transformer`: more transformer options."""
    import comfy.samplers

    options = dict(state.arguments["model_options"])
    options["transformer_options"] = {**options.get("transformer_options", {}), **transformer}
    conds = [[_fresh(state.guider.conds["positive"][0])]]
    return comfy.samplers.calc_cond_batch(state.guider.inner_model, conds, x, state.sigma, options)[0]


def positive_entry(state: SamplerState):
    """The positive prompt, as the pack's probe wants to have it."""
    key = pack_module("gsn_ops.host.prompts.conditioning").KEY
    tokens = state.guider.conds["positive"][0][key]
    return pack_module("gsn_ops.host.attention.entry").Entry("positive", 0, tokens)


def plain_step(state: SamplerState) -> None:
    """One plain step of ComfyUI: both prompts, no gradients."""
    with torch.no_grad():
        state.model(state.x, state.sigma, **state.arguments)


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
        arguments = {"model_options": model.model_options, "seed": 0}
        yield sampler_state(guider, latent.clone(), torch.full((1,), 0.8), arguments)
