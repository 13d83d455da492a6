"""What other packs put on a model: our own small functions with their habits."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from .architectures import UNET, UNET_HEADS, UNETS, Architecture, pooled, vp

SD15 = Architecture(
    "SD15",
    {
        **UNET,
        "channel_mult": [1, 2, 4, 4],
        "num_res_blocks": [2, 2, 2, 2],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    },
    attends=UNETS["attends"],
    plane=(16, 16),
    sigma=5.0,
    scale=vp,
)
SDXL = Architecture(
    "SDXL",
    {
        **UNET_HEADS,
        "channel_mult": [1, 2, 4],
        "num_res_blocks": [2, 2, 2],
        "transformer_depth": [0, 0, 1, 1, 2, 2],
        "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
        "transformer_depth_middle": 2,
        "num_head_channels": 8,
        "adm_in_channels": 1536 + 20,
        "num_classes": "sequential",
    },
    attends=UNETS["attends"],
    plane=(16, 16),
    sigma=5.0,
    scale=vp,
    more=pooled(20),
)
"""The published structures (blocks, residual layers, steps down), narrow."""


def freeu_v2_out_of_place(channels: int):
    """FreeU's second version on SD1's two deepest widths, which writes into nothing it was given."""
    scales = {4 * channels: (1.3, 0.9), 2 * channels: (1.4, 0.2)}

    def patch(h: Tensor, skip: Tensor, options: dict):
        if h.shape[1] not in scales:
            return h, skip
        b, s = scales[h.shape[1]]
        mean = h.mean(1).unsqueeze(1)
        flat = mean.view(len(mean), -1)
        low, high = (f(flat, dim=-1, keepdim=True)[0][:, :, None, None] for f in (torch.min, torch.max))
        first, second = h.split(h.shape[1] // 2, 1)
        h = torch.cat([first * ((b - 1) * ((mean - low) / (high - low)) + 1), second], 1)
        spectrum = torch.fft.fftshift(torch.fft.fftn(skip.float(), dim=(-2, -1)), dim=(-2, -1))
        mask = torch.ones(spectrum.shape, device=h.device)
        r, c = skip.shape[-2] // 2, skip.shape[-1] // 2
        mask[..., r - 1 : r + 1, c - 1 : c + 1] = s
        back = torch.fft.ifftn(torch.fft.ifftshift(spectrum * mask, dim=(-2, -1)), dim=(-2, -1))
        return h, back.real.to(skip.dtype)

    return patch


def with_wrapper(model, wrapper):
    model = model.clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model


def run(apply, args):
    return apply(args["input"], args["timestep"], **args["c"])


def cached_in_variables(model):
    """Every second call is answered with the last difference of output and input."""
    difference, calls = None, 0

    def wrapper(apply, args):
        nonlocal difference, calls
        calls += 1
        if calls % 2 == 0 and difference is not None and difference.shape == args["input"].shape:
            return args["input"] + difference
        out = run(apply, args)
        difference = (out - args["input"]).detach()
        return out

    return with_wrapper(model, wrapper)


class Memory:
    """State of an object that a bound method uses."""

    def __init__(self):
        self.kept, self.calls = {}, [0]

    def wrapper(self, apply, args):
        self.calls[0] += 1
        if self.calls[0] % 2 == 0 and "difference" in self.kept:
            return args["input"] + self.kept["difference"]
        out = run(apply, args)
        self.kept["difference"] = (out - args["input"]).detach()
        return out


def cached_in_an_object(model):
    return with_wrapper(model, Memory().wrapper)


KEPT = None  # a variable of the file, as some packs have it
COUNTS: dict[str, int] = {}


def cached_in_the_file(model):
    global KEPT
    KEPT = None
    COUNTS.clear()

    def wrapper(apply, args):
        global KEPT
        COUNTS["calls"] = COUNTS.get("calls", 0) + 1
        if KEPT is not None and COUNTS["calls"] % 2 == 0:
            return args["input"] + KEPT
        out = run(apply, args)
        KEPT = (out - args["input"]).detach()
        return out

    return with_wrapper(model, wrapper)


def cached_on_the_network(model):
    """Remembers in attributes of the network, and forgets them at the first level of a run."""
    network = model.model.diffusion_model

    def wrapper(apply, args):
        if float(args["timestep"][0]) >= 4.9 and hasattr(network, "kept_difference"):
            if network.last_level != float(args["timestep"][0]):
                del network.kept_difference, network.last_level
        if hasattr(network, "kept_difference") and network.last_level != float(args["timestep"][0]):
            network.last_level = float(args["timestep"][0])
            return args["input"] + network.kept_difference
        out = run(apply, args)
        network.kept_difference = (out - args["input"]).detach()
        network.last_level = float(args["timestep"][0])
        return out

    return with_wrapper(model, wrapper)


def changes_a_weight(model):
    """Scales a weight of the shared network around each call, and restores it only after a whole one."""
    network = model.model.diffusion_model

    def wrapper(apply, args):
        bias = network.out[2].bias
        before = bias.data
        bias.data = before + 0.5
        out = run(apply, args)
        bias.data = before
        return out

    return with_wrapper(model, wrapper)


def dilates_convolutions(model):
    """Sets attributes of the shared network's convolutions, and puts them back only after a whole call."""
    network = model.model.diffusion_model
    convolutions = [m for m in network.modules() if getattr(m, "kernel_size", None) == (3, 3)]

    def wrapper(apply, args):
        before = [(m.dilation, m.padding) for m in convolutions]
        for m in convolutions:
            m.dilation = m.padding = (2, 2)
        out = run(apply, args)
        for m, (dilation, padding) in zip(convolutions, before, strict=True):
            m.dilation, m.padding = dilation, padding
        return out

    return with_wrapper(model, wrapper)


def in_tiles(model):
    """Two halves, one after the other, without gradients."""

    @torch.inference_mode()
    def wrapper(apply, args):
        x = args["input"]
        halves = [
            apply(part.clone(), args["timestep"], **args["c"]) for part in x.split(x.shape[-1] // 2, -1)
        ]
        return torch.cat(halves, -1)

    return with_wrapper(model, wrapper)


def without_gradients(model):
    def wrapper(apply, args):
        with torch.no_grad():
            return run(apply, args)

    return with_wrapper(model, wrapper)


def replaced_forward(model):
    """The network's own method is another one, which attends with a doubled text and without options.

    It puts its parts back only after a whole pass.
    """
    from comfy.ldm.modules.attention import optimized_attention

    network = model.model.diffusion_model
    parts = [m for name, m in network.named_modules() if name.endswith("attn2")]

    def attend(part, x, context=None, value=None, mask=None, transformer_options=None):
        q, k, v = part.to_q(x), part.to_k(context), part.to_v(context)
        both = optimized_attention(q.repeat(2, 1, 1), k.repeat(2, 1, 1), 1.1 * v.repeat(2, 1, 1), part.heads)
        return part.to_out(both.chunk(2)[0])

    def forward(*args, **kwargs):
        for part in parts:
            part.forward = lambda *a, part=part, **k: attend(part, *a, **k)
        out = type(network).forward(network, *args, **kwargs)
        for part in parts:
            del part.forward
        return out

    network.forward = forward
    return model


def draws_random_numbers(model):
    """Merges what it draws into the image, from every global stream."""

    def patch(h, options):
        drawn = torch.rand(1).item() + np.random.rand() + random.random()
        return h * (1 + 0.01 * drawn)

    model = model.clone()
    model.set_model_input_block_patch(patch)
    return model


def aligned_style(model):
    """Takes the first half of each batch for the prompts and mixes in its first image, as style packs do."""

    def patch(q, k, v, options):
        style = torch.stack((k[0], k[len(k) // 2])).unsqueeze(1)
        both = style.expand(2, len(k) // 2, *k.shape[1:]).reshape(k.shape)
        return q, 0.5 * (k + both), v

    model = model.clone()
    model.set_model_attn1_patch(patch)
    return model


def cuts_the_gradient(model):
    def patch(h, options):
        return h.detach().clone()

    model = model.clone()
    model.set_model_input_block_patch(patch)
    return model


def fails_with_gradients(model):
    def patch(h, options):
        if torch.is_grad_enabled():
            raise ZeroDivisionError("nothing works")
        return h

    model = model.clone()
    model.set_model_input_block_patch(patch)
    return model


def regions(model, texts: list[Tensor], shares: list[float]):
    """One attention per region in one call: the prompt's, then those of `texts`; `shares` of each."""

    def split(n, context, value, options):
        length = max(context.shape[1], *(t.shape[1] for t in texts))
        own = context.repeat(1, length // context.shape[1], 1)
        others = [t.to(n.device).repeat(len(n), length // t.shape[1], 1) for t in texts]
        context = torch.cat([own, *others])
        options["number of regions"] = len(others) + 1  # read where the copies are joined
        return n.repeat(len(texts) + 1, 1, 1), context, context

    def join(out, options):
        copies = out.chunk(options.pop("number of regions"))
        return sum(share * part for share, part in zip(shares, copies, strict=True))

    model = model.clone()
    model.set_model_attn2_patch(split)
    model.set_model_attn2_output_patch(join)
    return model
