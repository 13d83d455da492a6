"""The embedded model as a workflow would have it, and one-line sampling runs, for the tests that run in the
host.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

PROMPT = "a red circle, a blue square and a green triangle"
NEVER = 999  # a step that no run here has
# ComfyUI's list (test_off_is_stock.py compares), here so that a failing test has a sampler's name
SAMPLERS = (
    "euler",
    "euler_cfg_pp",
    "euler_ancestral",
    "euler_ancestral_cfg_pp",
    "heun",
    "heunpp2",
    "exp_heun_2_x0",
    "exp_heun_2_x0_sde",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "dpmpp_2m",
    "dpmpp_2m_cfg_pp",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu",
    "ddpm",
    "lcm",
    "ipndm",
    "ipndm_v",
    "deis",
    "res_multistep",
    "res_multistep_cfg_pp",
    "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp",
    "gradient_estimation",
    "gradient_estimation_cfg_pp",
    "er_sde",
    "seeds_2",
    "seeds_3",
    "sa_solver",
    "sa_solver_pece",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
)


class Tiny:
    """MODEL, CLIP (remembering), VAE, loaded and run in inference mode, as ComfyUI's executor does. Latents
    are 16x16 unless said. `light` is MODEL with a formula instead of its network, for what depends on the
    sampler alone: 30 times as fast.
    """

    def __init__(self, host: ModuleType, pack_module: Callable[[str], ModuleType]):
        self.host, self.module = host, pack_module
        self.model, self.plain_clip, self.vae = self.load()
        self.clip = pack_module("gsn_ops.host.prompts.conditioning").with_token_metadata(self.plain_clip)
        self.encode = functools.cache(self.encode)
        self.light = self.model.clone()
        self.light.set_model_unet_function_wrapper(formula)

    def load(self) -> tuple:
        """MODEL, CLIP, VAE read once more from the file."""
        with torch.inference_mode():
            return self.module("gsn_ops.host.demo.sd").load_demo_model()

    def encode(self, text: str, plain: bool = False) -> list:
        """CONDITIONING of ComfyUI's own text node."""
        with torch.inference_mode():
            return self.host.CLIPTextEncode().encode(self.plain_clip if plain else self.clip, text)[0]

    def recipe(self, *, step: int | None = None, **changes):
        """Latent Refine as published, with two shifts."""
        refine, objectives, maps, schedule = (
            self.module(f"gsn_ops.{name}")
            for name in ("optimise.refine", "objectives.cn_iou", "maps", "schedule")
        )
        if step is not None:
            changes["moment"] = schedule.Moment(step=step)
        objective = objectives.PresenceAndSeparation(maps=maps.MapOptions(pieces="phrase"))
        return refine.Refine(**{"objective": objective, "shifts": 2, **changes})

    def attach(self, model=None, on_status=None, **changes):
        """A patched MODEL and its book, as GSNRefineModel makes them."""
        return self.module("gsn_ops.host.sampling.patch").attach(
            model or self.model, self.recipe(**changes), on_status=on_status
        )

    def watch(self, sampler, steps, shift, on_end=lambda missed: None):
        """The sampler object, watched, with a shift function of the test."""
        watcher = self.module("gsn_ops.host.sampling.sampler_watcher")
        return watcher.watch(sampler, watcher.Watch(steps, shift, on_end))

    def sample(
        self,
        model=None,
        sampler="euler",
        scheduler="normal",
        steps=6,
        cfg=7.5,
        positive=None,
        negative=None,
        latent=None,
        seed=3,
        noise=None,
        **more,
    ) -> Tensor:
        """A KSampler run; `more` goes to comfy.sample.sample (denoise, start_step, noise_mask, callback,
        ...).
        """
        import comfy.sample

        latent = empty() if latent is None else latent
        with torch.inference_mode():
            noise = comfy.sample.prepare_noise(latent, seed) if noise is None else noise
            return comfy.sample.sample(
                model or self.model,
                noise,
                steps,
                cfg,
                sampler,
                scheduler,
                positive or self.encode(PROMPT),
                negative or self.encode(""),
                latent,
                disable_pbar=True,
                seed=seed,
                **more,
            )

    def sample_with(
        self,
        sampler,
        sigmas,
        model=None,
        cfg=7.5,
        positive=None,
        negative=None,
        latent=None,
        seed=3,
        noise=None,
        **more,
    ) -> Tensor:
        """A SamplerCustom run with a sampler object and its sigmas."""
        import comfy.sample

        latent = empty() if latent is None else latent
        with torch.inference_mode():
            noise = comfy.sample.prepare_noise(latent, seed) if noise is None else noise
            return comfy.sample.sample_custom(
                model or self.model,
                noise,
                cfg,
                sampler,
                sigmas.clone(),
                positive or self.encode(PROMPT),
                negative or self.encode(""),
                latent,
                disable_pbar=True,
                seed=seed,
                **more,
            )

    def sigmas(self, sampler="euler", scheduler="normal", steps=6, model=None, denoise=1.0) -> Tensor:
        """The schedule that KSampler would use (it drops the last but one for some samplers)."""
        import comfy.samplers

        model = model or self.model
        return comfy.samplers.KSampler(
            model, steps, model.load_device, sampler, scheduler, denoise, model.model_options
        ).sigmas


def empty(batch: int = 1, height: int = 16, width: int = 16) -> Tensor:
    """An empty latent."""
    return torch.zeros(batch, 4, height, width)


SHORT = {
    "final_iterations": {"rounds": 1, "iterations": 2, "final_iterations": 1},
    "noises": {"noises": 2, "shifts": 3},
    "max_rounds": {"max_rounds": 2},
    "shifts": {"shifts": 3},
}  # a field that tells the kind of recipe -> numbers


def in_short(recipe):
    """A published recipe with few rounds: how many it makes is tested without a network."""
    numbers = next((numbers for field, numbers in SHORT.items() if hasattr(recipe, field)), {})
    loops = tuple(replace(loop, rounds=min(2, loop.rounds)) for loop in getattr(recipe, "inner_loops", ()))
    return replace(recipe, **numbers, **({"inner_loops": loops} if loops else {}))


def formula(apply, args: dict) -> Tensor:
    """A prediction of x0 in which position, neighbours, noise level and prompt count; nothing is learned."""
    x, sigma, prompt = args["input"], args["timestep"][:, None, None, None], args["c"]["c_crossattn"]
    text = prompt.sum((1, 2)).sin()[:, None, None, None].to(x.device)
    return torch.tanh(2 * x / (1 + sigma**2).sqrt() + text).roll(1, -1)


def recording(model, seen: list):
    """A clone of MODEL that notes (sigma, x, gradients on?) of every call of the network."""
    note = seen.append  # the pack puts back what a wrapper remembers of our passes, but not through this
    inner = model.model_options.get("model_function_wrapper")

    def wrapper(apply, args):
        x = args["input"].chunk(len(args["cond_or_uncond"]))[0]  # positive and negative run as one batch
        note((float(args["timestep"][0]), x.detach().clone(), torch.is_grad_enabled()))
        return inner(apply, args) if inner else apply(args["input"], args["timestep"], **args["c"])

    model = model.clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model


def interrupted(model):
    """The MODEL, whose run is cancelled at its first pass."""
    from comfy.model_management import InterruptProcessingException

    def stop(apply_model, arguments):
        raise InterruptProcessingException

    model = model.clone()
    model.set_model_unet_function_wrapper(stop)
    return model
