"""What is asked of numbers from a device. Pure functions: a test plants the fault that each one is for."""

from __future__ import annotations

import torch
from torch import Tensor

MODEST = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.98}
"""The least cosine of a gradient with that of an explicit softmax in float32 on the CPU, by what the
network computes in.
"""


def cosine(a: Tensor, b: Tensor) -> float:
    """Of two tensors with as many elements, on any devices.

    NaN or a zero on one side alone is no agreement: -1.
    """
    a, b = (t.detach().double().cpu().flatten() for t in (a, b))
    norms = float(a.norm()), float(b.norm())
    if norms == (0.0, 0.0):
        return 1.0
    value = float(a @ b) / (norms[0] * norms[1]) if all(norms) else -1.0
    return value if value == value else -1.0


def agreement(ours: Tensor, right: Tensor) -> dict[str, float]:
    """Of gradients [B, ...]: least cosine of an image, and the norms' ratio furthest from 1."""
    pairs = list(zip(ours.double().cpu(), right.double().cpu(), strict=True))
    ratios = [float(a.norm()) / max(float(b.norm()), 1e-300) for a, b in pairs]
    return {
        "cosine": min(cosine(a, b) for a, b in pairs),
        "norm": max(ratios, key=lambda r: abs(r - 1) if r == r else 1e9),
    }


def gradient_faults(ours: Tensor, right: Tensor, least: float) -> list[str]:
    """What is wrong with a gradient [B, ...], given the right one; [] if nothing is."""
    faults = []
    if not bool(torch.isfinite(ours).all()):
        faults.append("the gradient is not finite")
    zeros = [
        i for i, (a, b) in enumerate(zip(ours, right, strict=True)) if not bool(a.any()) and bool(b.any())
    ]
    if zeros:
        faults.append(f"the gradient of image {zeros} is zero and ought not to be")
    found = agreement(ours, right)
    if found["cosine"] < least:
        faults.append(f"the gradient agrees to a cosine of {found['cosine']:.6f} only (at least {least})")
    if abs(found["norm"] - 1) > 20 * (1 - least) ** 0.5:
        faults.append(f"the gradient is {found['norm']:.4f} times as long as it ought to be")
    return faults


def empty(gradient: Tensor) -> list[str]:
    """[] if no image's gradient [B, ...] is zero throughout."""
    zeros = [i for i, g in enumerate(gradient) if not bool(g.any())]
    return [f"the gradient of image {zeros} is zero"] if zeros else []


def slope_faults(slope: float, least: float = 0.05) -> list[str]:
    """[] if a loss is as steep along its gradient, by differences, as the gradient is long."""
    return (
        []
        if abs(slope - 1) <= least
        else [f"by differences the loss is {slope:.3f} times as steep as its gradient says"]
    )


def still_held(before: int, after: int) -> list[str]:
    """[] if no more bytes of the device are in use than before."""
    return [f"{after - before} bytes of the device are still held"] if after > before else []


def distance(ours: Tensor, right: Tensor) -> float:
    """The greatest difference, of the greatest element."""
    return float((ours - right).abs().max() / right.abs().max().clamp_min(1e-30))


def near(name: str, ours: Tensor, right: Tensor, least: float) -> list[str]:
    """[] if no element is further off than this part of the greatest."""
    off = distance(ours, right)
    return [] if off <= least else [f"{name}: off by {off:.3g} of the greatest element (at most {least})"]


def same_bits(name: str, ours: Tensor, stock: Tensor) -> list[str]:
    """[] if two tensors are the same to the last bit; a NaN is the same as a NaN."""
    if torch.equal(ours, stock) or torch.equal(ours.nan_to_num(), stock.nan_to_num()):
        return []
    return [f"{name}: not the same bits as stock, off by up to {float((ours - stock).abs().max()):.3g}"]


def left_behind(before: dict, after: dict) -> list[str]:
    """What a run has changed in a state that it ought to leave alone; see `state`."""
    return [f"left behind: {key}" for key in before if before[key] != after[key]]


def state(model) -> dict:
    """Everything of a MODEL and of ComfyUI and torch that a run could leave changed, by identity."""
    import comfy.ldm.modules.attention as attention
    import comfy.model_management as management

    network = model.model
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return {
        "options": _contents(model.model_options),
        "wrappers": _contents(model.wrappers),
        "modules": {name: sorted(vars(m)) for name, m in network.named_modules()},
        "hooks": {name: [len(vars(m)[h]) for h in hooks] for name, m in network.named_modules()},
        "parameters": {
            name: (id(p), p.requires_grad, p.grad is None) for name, p in network.named_parameters()
        },
        "attention": {name: id(f) for name, f in vars(attention).items() if callable(f)},
        "cast buffers": len(management.STREAM_CAST_BUFFERS),
        "training": management.in_training,
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


def _contents(value, depth: int = 0):
    if isinstance(value, dict) and depth < 8:
        return [(key, _contents(v, depth + 1)) for key, v in value.items()]
    if isinstance(value, (list, tuple)) and depth < 8:
        return [_contents(v, depth + 1) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else id(value)
