"""Part b: gradients where weights come and go. Dynamic VRAM on and off, --lowvram, and a balloon that
leaves little.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch

from . import checks, models, scene
from .device import GIB, clean, device, timed
from .host import pack

WAYS = ("node", "again", "own")
"""How a model with dynamic VRAM is treated.

node: as the pack does, by its delegate without it. again: the model itself, as the pack does where there is
no delegate: layers are asked for their weights again in the backward pass. own: the model itself, autograd
keeping what it keeps.
"""
FAILS = ("own",)
"""Tried to see how they fail: an error is no fault of the pack, a wrong gradient without one would be."""
LEAST = 0.999
REFERENCE = "reference.pt"


def short_flux(size):
    """Flux with its width and a fifth of its blocks."""
    return replace(size, unet={**size.unet, "depth": 4, "depth_single_blocks": 8}, blocks=4)


def size_of(args):
    size = models.size_of(args.model, args.smoke, args.dtype if not args.smoke else None)
    return short_flux(size) if args.model == "flux" and not args.smoke else size


def make(args) -> Path:
    """The checkpoint that all processes load, as a person's lies on a disk."""
    path = args.folder / f"{args.model}.safetensors"
    if not path.is_file():
        model = models.build(size_of(args))
        weights = {
            f"model.diffusion_model.{k}": v.cpu().contiguous()
            for k, v in model.diffusion_model.state_dict().items()
        }
        safetensors.torch.save_file(weights, path)
        del model, weights
        clean()
    return path


def load(args):
    """A MODEL as a loader node gives it."""
    if args.smoke:  # too narrow for ComfyUI to tell from its weights what it is
        with torch.inference_mode():
            return scene.patcher(models.build(size_of(args), torch.device("cpu")))
    import comfy.sd

    with torch.inference_mode():
        return comfy.sd.load_diffusion_model(str(args.folder / f"{args.model}.safetensors"))


@contextlib.contextmanager
def way(name: str, model) -> Iterator[object]:
    """The MODEL as it is sampled; inside, the pack works this way."""
    probes, gradients = pack("host.attention.probe"), pack("host.autograd.differentiable")
    if name == "node":
        yield gradients.static_clone(model)
        return
    before = probes.recastable_layers
    if name == "own" and model.is_dynamic():
        probes.recastable_layers = lambda *_: []
    try:
        yield model.clone()
    finally:
        probes.recastable_layers = before


def run(note: Callable[[str, object], None], args) -> None:
    size = size_of(args)
    if args.mode in ("static", "cpu") and not args.smoke:
        make(args)
    model = load(args)
    note(
        "model",
        {
            "dynamic": model.is_dynamic(),
            "gib": round(model.model_size() / GIB, 2),
            "class": type(model.model).__name__,
        },
    )
    ways = WAYS if model.is_dynamic() else ("node",)
    for free in (None, *(float(f) for f in args.free or [])):
        for name in ways:
            label = f"{name}, {f'{free:g} GiB free' if free else 'all free'}"
            begun = time.time()
            with balloon(free) as left:
                try:
                    found = look(model, size, name, args)
                except torch.cuda.OutOfMemoryError as error:
                    found = {"faults": [], "out_of_memory": str(error)[:300]}
                except Exception as error:
                    said = f"{type(error).__name__}: {str(error)[:500]}"
                    found = (
                        {"faults": [], "failed": said}
                        if name in FAILS and model.is_dynamic()
                        else {"faults": [said]}
                    )
                note(label, {**found, "free_gib": left, "all_seconds": round(time.time() - begun, 1)})
            clean()


@contextlib.contextmanager
def balloon(free: float | None) -> Iterator[float | None]:
    """Inside, other processes and this one have so many GiB of the device left; models of before are
    unloaded.
    """
    import comfy.model_management

    comfy.model_management.unload_all_models()
    clean()
    if free is None or device().type != "cuda":
        yield None
        return
    held = torch.empty(
        max(0, int(torch.cuda.mem_get_info()[0] - free * GIB)), dtype=torch.uint8, device=device()
    )
    torch.cuda.synchronize()
    try:
        yield round(torch.cuda.mem_get_info()[0] / GIB, 2)
    finally:
        del held
        clean()


def look(model, size, name: str, args) -> dict[str, object]:
    """Gradients and times of one way; compared with those of the reference, which the first process
    writes.
    """
    path = args.folder / f"{args.model}_{REFERENCE}"
    with way(name, model) as used:
        prompts, latent = size.conditioning(), size.latent()
        found = scene.at_state(used, prompts, latent, None, lambda here: passes(here), size.cfg)
        plain = scene.sample(used, prompts, latent, None, size.cfg, steps=2)
        patched, book = scene.attach(used, 3, step=0)
        refined = scene.sample(patched, prompts, latent, None, size.cfg, steps=2)
    tensors = {**found.pop("gradients"), "plain": plain.cpu(), "moved": (refined - plain).cpu()}
    found["status"] = book.last().recipes[0].status
    if not path.is_file():
        torch.save(tensors, path)
        return {**found, "faults": checks.empty(tensors["full"]), "reference": True}
    right = torch.load(path)
    faults = []
    for key, value in tensors.items():
        found[f"cosine_{key}"] = min(checks.cosine(a, b) for a, b in zip(value, right[key], strict=True))
        if (
            key == "moved"
        ):  # bf16 rounds a small move away in places, differently each time: that there is one counts
            faults += [] if bool(value.any()) else ["the update steps changed nothing"]
        else:
            faults += [f"{key}: {fault}" for fault in checks.gradient_faults(value, right[key], LEAST)]
    return {**found, "faults": faults}


def passes(here: scene.Here) -> dict[str, object]:
    """Gradients by level on the CPU, the level that is chosen, seconds and peak of a pass with its backward
    on it.
    """
    made = {}
    with scene.differentiable(here):
        probe = here.probe()
        scene.gradient(probe, here.z)
        level = probe.checkpoint_policy.level
        for at in sorted({level, 2}):
            made[f"level_{at}"] = scene.gradient(probe, here.z, at)[1].cpu()
        made["full"] = made[f"level_{level}"]
        found = timed(lambda: scene.gradient(probe, here.z, level), 3)
        casting = len(probe.recast_layers)
    step = timed(here.plain_step, 3)
    del made[f"level_{level}"]
    keep = {"full": made["full"], "last_level": made.get("level_2", made["full"])}
    return {
        "gradients": keep,
        "level": level,
        "recastable_layers": casting,
        "pass": found,
        "plain_step": step,
    }
