"""Part a, on the trained models that come with the pack: the loss falls on the device, gradients are those of
the CPU, off is stock. How many images are right is noted, not judged: a few images say little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tools.study.data import HOW, SD3_NODE, Sampling, Way
from tools.study.embedded import Demo, Refined, judge, recipes_of
from tools.tiny.prompts import Prompt, prompts

from . import checks, scene

WAYS = {"sd": Way("refined", "Latent Refine (fast)"), "sd3": Way("refined", **SD3_NODE)}
LEAST = 0.999  # cosine of a gradient with that of the CPU; both in float32


def run(note: Callable[[str, dict], None], smoke: bool) -> None:
    """Each embedded model in float32; `note(name, numbers)` keeps what was found at once."""
    torch.backends.cudnn.allow_tf32 = False  # it rounds convolutions to 10 bits
    some = prompts(3, 2 if smoke else 16, "test", seed=4)
    for layout, way in WAYS.items():
        try:
            demo = Demo(layout=layout)
        except FileNotFoundError as error:  # a bundle has one of the two files
            note(f"demo_{layout}", {"left_out": str(error)})
            continue
        how = replace(HOW[layout], steps=6) if smoke else HOW[layout]
        faults, numbers = check(demo, recipes_of(way), how, some)
        ours, right = gradient(demo), gradient(on_cpu(layout))
        faults += checks.gradient_faults(ours, right, LEAST)
        numbers |= checks.agreement(ours, right)
        note(f"demo_{layout}", {"faults": faults, **numbers})


def check(demo: Demo, recipes: tuple, how: Sampling, some: list[Prompt]) -> tuple[list[str], dict]:
    """Faults of one model's runs, and the numbers they were judged by."""
    stock = demo.sample(demo.model, some, how)
    off, _ = demo.attach(demo.model, *(recipe.scaled(0) for recipe in recipes))
    faults = checks.same_bits("off", demo.sample(off, some, how), stock)
    refined = demo.refine(recipes, some, how)
    faults += loss_faults(refined)
    faults += checks.same_bits("stock after a refinement", demo.sample(demo.model, some, how), stock)
    right_of = {"plain": stock, "refined": refined.latents}
    numbers = {name: sum(v.objects for v in judge(latents.cpu(), some)) for name, latents in right_of.items()}
    losses = {"first_loss": sum(refined.first_loss), "last_loss": sum(refined.last_loss)}
    return faults, {"images": len(some), **numbers, **losses}


def loss_faults(refined: Refined) -> list[str]:
    """[] if images were updated and their loss fell."""
    if not any(refined.updates):
        return ["no image was updated"]
    first, last = sum(refined.first_loss), sum(refined.last_loss)
    return [] if last < first else [f"the loss did not fall: {first:.4f} before, {last:.4f} after"]


def on_cpu(layout: str) -> Demo:
    """The same model once more, computed by the CPU."""
    demo, cpu = Demo(layout=layout), torch.device("cpu")
    demo.model.load_device = demo.model.offload_device = demo.model.model.device = cpu
    demo.model.model.to(cpu)  # where memory is plenty ComfyUI makes the network on the device
    return demo


def gradient(demo: Demo) -> Tensor:
    """That of a fixed weighting of the first level's maps [2, 4, 32, 32], at the noise level of the default
    moment.
    """
    texts = [prompt.text for prompt in prompts(3, 2, "test", seed=4)]
    conds = demo.encode(texts), demo.encode([""])

    def work(here: scene.Here) -> Tensor:
        with scene.differentiable(here):
            return scene.gradient(here.probe(), here.z)[1].cpu()

    return scene.at_state(demo.model, conds, torch.zeros(2, 4, 32, 32), None, work)
