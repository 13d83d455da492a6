"""Samplers as other packs write them: our own arithmetic, with their habits.

They keep a copy of their state, show it after the step instead of before, never show it, add noise, or run
another sampler with altered noise levels.
"""

import torch
from torch import Tensor


def ones(x: Tensor) -> Tensor:
    return x.new_ones(len(x))


def exponential_step(x: Tensor, denoised: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """From sigma a to b with a constant prediction."""
    return b / a * x + (1 - b / a) * denoised


@torch.no_grad()
def keeps_a_double(model, x, sigmas, extra_args=None, callback=None, disable=None, noise=0.0):
    """Own state in float64, two stages, the callback shows that state after the step."""
    state = x.double()
    generator = torch.Generator().manual_seed(11)
    for i in range(len(sigmas) - 1):
        a, b = sigmas[i], sigmas[i + 1]
        start = state.clone()
        denoised = model(start.to(x.dtype), a * ones(x), **extra_args).double()
        if b > 0:
            middle = (a * b).sqrt()
            stage = exponential_step(start, denoised, a, middle)
            second = model(stage.to(x.dtype), middle * ones(x), **extra_args).double()
            state = exponential_step(start, second, a, b)
            state = state + noise * b * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        else:
            state = denoised.clone()
        callback({"x": state, "i": i, "sigma": a, "sigma_next": b, "denoised": denoised.float()})
    return state.to(x.dtype)


@torch.no_grad()
def gives_copies(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Euler whose model only ever gets copies, and whose callback too."""
    for i in range(len(sigmas) - 1):
        denoised = model(x.clone(), sigmas[i] * ones(x), **extra_args)
        callback({"x": x.clone(), "i": i, "sigma": sigmas[i], "denoised": denoised})
        x = exponential_step(x, denoised, sigmas[i], sigmas[i + 1])
    return x


@torch.no_grad()
def multistep_of_copies(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Two predictions combined; copies, and no callback at all."""
    before = None
    for i in range(len(sigmas) - 1):
        denoised = model(x.clone(), sigmas[i] * ones(x), **extra_args)
        used = denoised if before is None else 1.3 * denoised - 0.3 * before
        x, before = exponential_step(x, used, sigmas[i], sigmas[i + 1]), denoised
    return x


@torch.no_grad()
def plain_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As ComfyUI's own, from elsewhere."""
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones(x), **extra_args)
        callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


@torch.no_grad()
def noisy_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As ComfyUI's euler_ancestral, from elsewhere."""
    generator = torch.Generator().manual_seed(12)
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones(x), **extra_args)
        callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
        down = sigmas[i + 1] ** 2 / sigmas[i]
        up = (sigmas[i + 1] ** 2 - down**2).sqrt()
        x = exponential_step(x, denoised, sigmas[i], down) + up * torch.randn(
            x.shape, generator=generator
        ).to(x.device)
    return x


def altered_levels(model, x, sigmas, *, inside, share=0.1, extra_args=None, callback=None, disable=None):
    """Runs another sampler whose model is told less noise than there is."""

    def altered(x, sigma, **arguments):
        return model(x, sigma * (1 - share), **arguments)

    altered.inner_model = model.inner_model
    return inside.sampler_function(
        altered, x, sigmas, extra_args=extra_args, callback=callback, disable=disable, **inside.extra_options
    )
