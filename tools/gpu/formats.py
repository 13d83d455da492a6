"""Part f: weights in ComfyUI's quantized formats, by the kernels that this device has for them.

Gradients beside those of the numbers that the weights mean, and what a plain step and an update step cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from tests.support import formats

from . import checks, models, scene, vram
from .device import GIB, clean, timed

LEAST = 0.9
"""Least cosine with the gradient of the weights' numbers: inputs of layers are rounded to 8 or 4 bits in one
of the two runs, in some formats.
"""
PREFIX = "model.diffusion_model."


def run(note: Callable[[str, object], None], args) -> None:
    """Flux with its width and a fifth of its blocks, written in each format and read by ComfyUI's loader."""
    size = vram.size_of(args)
    for kind in formats.LAYOUTS:
        begun = time.time()
        try:
            found = check(kind, size, args)
        except torch.cuda.OutOfMemoryError as error:
            found = {"faults": [], "out_of_memory": str(error)[:300]}
        except Exception as error:
            found = {"faults": [f"{type(error).__name__}: {str(error)[:500]}"]}
        note(kind, {**found, "all_seconds": round(time.time() - begun, 1)})
        clean()


def check(kind: str, size, args) -> dict[str, object]:
    """Faults of one format and the numbers they were judged by."""
    both = made(kind, size, args)
    right, plain = look(next(both), size)
    clean()
    model = next(both)
    ours, stock = look(model, size)
    tensors = {type(p.data).__name__ for p in model.model.diffusion_model.parameters()}
    faults = [] if "QuantizedTensor" in tensors else [f"no weight is quantized: {sorted(tensors)}"]
    gradients = ours.pop("gradient"), right.pop("gradient")
    faults += [*right.pop("faults"), *ours.pop("faults"), *checks.gradient_faults(*gradients, LEAST)]
    numbers = {**checks.agreement(*gradients), "cosine_of_plain_step": checks.cosine(stock, plain)}
    sizes = {"gib": round(model.model_size() / GIB, 2)}
    return {"faults": faults, **numbers, **sizes, **ours, "unquantized": right}


def made(kind: str, size, args) -> Iterator[object]:
    """MODELs as loader nodes give them: with the numbers that the weights mean, then in this format."""
    network = models.build(size)
    file = formats.stored(network.diffusion_model, kind)
    if args.smoke:  # too narrow for ComfyUI to tell from its weights what it is
        network.diffusion_model.load_state_dict(file.meant)
        yield scene.patcher(network)
        yield scene.patcher(formats.quantized(models.config_of(size), file))
        return
    dtype = network.get_dtype()
    del network
    meant = {k: v.to(dtype) if v.is_floating_point() else v for k, v in file.meant.items()}
    for entries in (meant, file.entries):
        yield load(args.folder / "format.safetensors", entries)


def load(path: Path, entries: dict[str, Tensor]):
    """What ComfyUI's loader makes of a file with these entries."""
    import comfy.sd

    safetensors.torch.save_file({f"{PREFIX}{k}": v.cpu().contiguous() for k, v in entries.items()}, path)
    clean()
    with torch.inference_mode():
        return comfy.sd.load_diffusion_model(str(path))


def look(model, size) -> tuple[dict[str, object], Tensor]:
    """Numbers of one MODEL with its gradient, and what a plain run of a step gives."""
    prompts, latent = size.conditioning(), size.latent()
    found = scene.at_state(model, prompts, latent, None, passes, size.cfg)
    patched, book = scene.attach(model, 3, step=0)
    stock = scene.sample(model, prompts, latent, None, size.cfg)
    refined = scene.sample(patched, prompts, latent, None, size.cfg)
    faults = [] if bool((refined - stock).any()) else ["the update steps changed nothing"]
    return {**found, "faults": faults, "status": book.last().recipes[0].status}, stock.cpu()


def passes(here: scene.Here) -> dict[str, object]:
    """The gradient on the CPU, and seconds and peak of a plain step and of a pass with its backward."""
    step = timed(here.plain_step, 3)
    with scene.differentiable(here):
        probe = here.probe()
        gradient = scene.gradient(probe, here.z)[1].cpu()
        update = timed(lambda: scene.gradient(probe, here.z), 3)
    return {"gradient": gradient, "plain_step": step, "pass": update}
