"""Where a gradient is taken: a model of ComfyUI's own classes on the device, in the middle of a run of its
sampler.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from .device import device
from .host import pack

T = TypeVar("T")
TEXT = "a red cat and a blue dog"  # one token a word
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Here:
    """The state of a run: ComfyUI's guider, what its sampler calls as its model, the state x [B, ...], its
    noise level [B].
    """

    guider: Any
    model_k: Any
    x: Tensor
    sigma: Tensor
    extra: dict

    @property
    def z(self) -> Tensor:
        """The state in the network's input space."""
        return self.x.clone() / self.c

    @property
    def c(self) -> float:
        return pack("host.sampling.plan").network_scale(
            self.guider.inner_model.model_sampling, self.sigma, self.x.ndim
        )

    @property
    def state(self):
        """The same as the pack's SamplerState."""
        kind = pack("host.attention.sampler_state").SamplerState
        return kind(self.guider, self.model_k, self.x, self.sigma, self.extra)

    def plain_step(self) -> None:
        """One step's work of ComfyUI: both prompts, no gradients."""
        with torch.inference_mode():
            self.model_k(self.x, self.sigma, **self.extra)

    def conds(self) -> dict[str, Any]:
        """What the network gets beside the state: tensors that autograd may save."""
        without_flag = pack("host.autograd.differentiable").without_inference_flag
        made = {}
        for name, cond in self.guider.conds["positive"][0]["model_conds"].items():
            value = cond.process_cond(batch_size=len(self.x), area=None).cond
            made[name] = without_flag(value).clone() if isinstance(value, Tensor) else value
        return made

    def probe(self, **needs):
        """The pack's probe at this state; enter `gradients.differentiable(guider.inner_model)` around its
        use.
        """
        plan, probes, maps = (pack(n) for n in ("host.sampling.plan", "host.attention.probe", "maps"))
        (entry,), _ = plan.positive_entries(self.guider)
        family = pack("host.find_family").family_of(self.guider.model_patcher)
        entry = replace(
            entry,
            tokens=pack("host.architectures.family").columns_of(
                family, entry.tokens, self.guider.conds["positive"][0]
            ),
        )
        needs = maps.MapNeeds(**needs)
        return probes.Probe(self.state, entry, family, needs, self.c)


def at_state(
    model,
    prompts: tuple[list, list],
    latent: Tensor,
    sigma: float | None,
    work: Callable[[Here], T],
    cfg: float = 1.0,
) -> T:
    """What `work` makes of the first step of a run of ComfyUI's sampler.

    sigma: noise level, None = that of the default moment.
    """
    import comfy.samplers

    found: list[T] = []

    def sampler_function(model_k, x, sigmas, extra_args=None, callback=None, disable=None, **_):
        sigma = sigmas[:1].expand(len(x)).contiguous()
        found.append(work(Here(model_k.inner_model, model_k, x, sigma, extra_args)))
        return x

    sample(model, prompts, latent, sigma, cfg, comfy.samplers.KSAMPLER(sampler_function))
    (result,) = found
    return result


def sample(
    model,
    prompts: tuple[list, list],
    latent: Tensor,
    sigma: float | None,
    cfg: float = 1.0,
    sampler=None,
    steps: int = 1,
    seed: int = 5,
) -> Tensor:
    """A run of ComfyUI's sampler from a noise level down."""
    import comfy.sample
    import comfy.samplers

    with torch.inference_mode():
        one = latent.shape[1:]  # each image has its own noise, the same in a batch and alone
        noise = torch.stack(
            [torch.randn(one, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(latent))]
        )
        if sigma is None:
            sigma = float(
                model.get_model_object("model_sampling").percent_to_sigma(pack("schedule").Moment().percent)
            )
        sigmas = torch.linspace(sigma, 0, steps + 1)
        sampler = sampler or comfy.samplers.sampler_object("euler")
        return comfy.sample.sample_custom(
            model, noise, cfg, sampler, sigmas, *prompts, latent, disable_pbar=True, seed=3
        )


def weighted(maps: Tensor) -> Tensor:
    """A loss [B] in which every entry of maps [B, h, w, n] counts, the same weights for every image and
    device.
    """
    return (maps * _weights(maps.shape[1:], maps.device)).flatten(1).sum(1)


@functools.cache
def _weights(shape: torch.Size, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)


def gradient(probe, z: Tensor, level: int | None = None) -> tuple[Tensor, Tensor]:
    """Maps [B, h, w, n] of all levels together (mean over levels of one size) and the gradient of
    `weighted` of all [B, ...].
    """
    if level is not None:
        probe.checkpoint_policy = pack("host.attention.memory_policy").CheckpointPolicy(level)
    leaf = z.clone().requires_grad_(True)
    seen = probe.maps_of(leaf)
    loss = sum(weighted(m) for m in seen.cross.values())
    (found,) = torch.autograd.grad(loss.sum(), leaf)
    return next(iter(seen.cross.values())).detach(), found


def differentiable(here: Here):
    return pack("host.autograd.differentiable").differentiable(here.guider.inner_model)


def recipe(updates: int = 2, **changes):
    """Latent Refine as published, with fewer update steps."""
    (made,) = pack("optimise.methods").preset(pack("optimise.published_methods").LATENT_REFINE)
    schedule = pack("schedule")
    if "step" in changes:
        changes["moment"] = schedule.Moment(step=changes.pop("step"))
    return replace(made, shifts=updates, **changes)


def attach(model, updates: int = 2, **changes):
    """A patched MODEL and its book, as the node makes them."""
    return pack("host.sampling.patch").attach(model, recipe(updates, **changes))


def patcher(model):
    """The MODEL that a loader node hands on, for the device in use."""
    import comfy.model_patcher

    kind = comfy.model_patcher.CoreModelPatcher
    return kind(model, load_device=device(), offload_device=torch.device("cpu"))
