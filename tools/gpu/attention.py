"""Part e: ways to attend and to read the text's columns in joint attention, by the backends that this
torch has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from . import checks
from .device import clean, device, timed
from .host import pack

CASES = {  # name -> heads, tokens, width of a head, columns that are read, first of them
    "flux": (24, 4096 + 512, 128, 18, 1),
    "sd35m": (24, 4096 + 154, 64, 36, 4097),
    "z_image": (30, 4096 + 128, 128, 18, 1),
}
SMALL = {"smoke": (2, 80, 16, 5, 1)}
BACKENDS = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")


def run(note: Callable[[str, object], None], args) -> None:
    for name, case in (SMALL if args.smoke else CASES).items():
        heads, tokens, width, n, first = case
        made = torch.Generator(device()).manual_seed(0)
        dtype = torch.float32 if args.smoke else torch.bfloat16
        q, k, v = (
            torch.randn(1, heads, tokens, width, generator=made, device=device()).to(dtype) for _ in range(3)
        )
        columns = range(first, first + n)
        with torch.inference_mode(False), torch.enable_grad():
            note(name, compare((q, k, v), columns, args.smoke))
        clean()


def compare(qkv: tuple[Tensor, Tensor, Tensor], columns: range, smoke: bool) -> dict[str, dict]:
    """Seconds of forward and backward by way and backend, and how far gradients agree with those of the
    pack's way in float32.
    """
    found: dict[str, dict] = {}
    with backend("EFFICIENT_ATTENTION" if device().type == "cuda" else None):
        right = gradients(one_call, [t.float() for t in qkv], columns)
    for name in (None, *(BACKENDS if device().type == "cuda" else ())):
        for way in (one_call, two_calls, attention_alone):
            label = f"{way.__name__}, {name or 'as torch chooses'}"
            try:
                with backend(name):
                    made = gradients(way, qkv, columns)
                    numbers = timed(lambda way=way: gradients(way, qkv, columns), 1 if smoke else 5)
                if way is not attention_alone:
                    numbers["cosine"] = min(checks.cosine(a, b) for a, b in zip(made, right, strict=True))
                found[label] = numbers
            except RuntimeError as error:
                found[label] = {"left_out": str(error)[:150]}
    return found


def backend(name: str | None):
    if name is None:
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(getattr(SDPBackend, name))


def gradients(way: Callable, qkv, columns: range) -> tuple[Tensor, ...]:
    leaves = [t.detach().clone().requires_grad_(True) for t in qkv]
    out, p = way(*leaves, columns)
    weights = torch.linspace(-1, 1, p.shape[-1], device=p.device) if p is not None else None
    loss = out.float().square().mean() + (0 if p is None else (p.float() * weights).sum() / p.shape[1])
    return torch.autograd.grad(loss, leaves)


def one_call(q, k, v, columns):
    """The pack's way: further columns of the values."""
    return pack("torch_ops.text_attention").attention_with_text(q, k, v, columns)


def two_calls(q, k, v, columns):
    """Values and one-hot columns in calls of their own, each as wide as a head."""
    pick = F.pad(pack("torch_ops.text_attention").one_hot(columns, v), (0, -len(columns) % v.shape[-1]))
    chosen = [F.scaled_dot_product_attention(q, k, part) for part in pick.split(v.shape[-1], -1)]
    return F.scaled_dot_product_attention(q, k, v), torch.cat([c.contiguous() for c in chosen], -1)[
        ..., : len(columns)
    ].float()


def attention_alone(q, k, v, columns):
    """Without the text's columns: what a pass that reads nothing does."""
    return F.scaled_dot_product_attention(q, k, v), None
