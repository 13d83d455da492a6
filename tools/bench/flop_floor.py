"""The arithmetic that an update step needs: forward to the last layer read, backward to the latent.

Operations are counted on tensors without numbers, with torch's own formulas (the backward pass of a fused
attention evaluates its scores a second time, as any that keeps memory linear must).
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from tools.host_env.inprocess import pack_module

from .sampler_state import conditional, positive_entry

if TYPE_CHECKING:
    from gsn_ops.host.attention.sampler_state import SamplerState

aten = torch.ops.aten
BLOCK = 512  # rows and columns of a block of a fused attention, for the rate of its products
Product = tuple[int, int, int, int]  # (how many at once, m, k, n) of [m, k] @ [k, n]


@dataclass
class Work:
    """Floating point operations by kind of operator, and how often each equivalent product is needed."""

    flops: Counter
    products: Counter

    @property
    def total(self) -> int:
        return sum(self.flops.values())


class Counting(TorchDispatchMode):
    """Inside, every operator's arithmetic goes into `work`.

    Not torch's FlopCounterMode: matrix products are wanted as well, and its tracking of modules hooks the
    graph, whose memory is measured at the same time.
    """

    def __init__(self):
        super().__init__()
        self.work = Work(Counter(), Counter())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet is aten._scaled_dot_product_flash_attention_for_cpu:
            q, k, v = args[:3]
            self._attention(sdpa_flop_count(q.shape, k.shape, v.shape), "attention", q, k)
        elif packet is aten._scaled_dot_product_flash_attention_for_cpu_backward:
            gradient, q, k, v = args[:4]
            self._attention(
                sdpa_backward_flop_count(gradient.shape, q.shape, k.shape, v.shape),
                "attention backward",
                q,
                k,
            )
        elif packet in flop_registry:
            name = str(packet).removeprefix("aten.")
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            self.work.flops[name] += flops
            self.work.products[_product(packet, args, out, flops)] += 1
        return out

    def _attention(self, flops: int, name: str, q: Tensor, k: Tensor) -> None:
        self.work.flops[name] += flops
        block = (q.shape[1], min(BLOCK, q.shape[2]), q.shape[3], min(BLOCK, k.shape[2]))
        self.work.products[block] += flops / (2 * block[0] * block[1] * block[2] * block[3])


def _product(packet, args, out, flops: int) -> Product:
    """The equivalent matrix product; of a convolution: positions x (channels x window) x channels."""
    if packet is aten.addmm:
        (m, k), n = args[1].shape, args[2].shape[1]
        return 1, m, k, n
    if packet is aten.mm:
        (m, k), n = args[0].shape, args[1].shape[1]
        return 1, m, k, n
    if packet in (aten.bmm, aten.baddbmm):
        a, b = args[-2:] if packet is aten.bmm else args[1:3]
        return a.shape[0], a.shape[1], a.shape[2], b.shape[2]
    weight = args[2] if packet is aten.convolution_backward else args[1]
    result = out[0] if packet is aten.convolution_backward else out
    n = result.shape[1]
    positions = result.numel() // n
    return (
        1,
        positions,
        max(1, flops // (2 * positions * n)),
        weight.shape[0] if result.shape[1] == weight.shape[0] else n,
    )


def floor_work(state: SamplerState) -> Work:
    """What one update step cannot do without, at a state whose tensors have no numbers."""
    capture = pack_module("gsn_ops.host.attention.capture")
    differentiable = pack_module("gsn_ops.host.autograd.differentiable")
    guider = state.guider
    family = pack_module("gsn_ops.host.find_family").family_of(guider.model_patcher)
    network = guider.inner_model.diffusion_model
    entry = positive_entry(state)
    needs = pack_module("gsn_ops.maps").MapNeeds()
    probe = pack_module("gsn_ops.host.attention.probe").Probe(state, entry, family, needs, 1.0)
    layout = probe.layout(guider.conds[entry.name][entry.index], state.x, state.sigma)

    class Logits(capture.Capture):
        """Reads no more than the wanted products of queries and keys."""

        def __call__(self, func, q, k, v, heads, mask=None, *args, **kwargs):
            self.observe(
                *((q, k) if kwargs.get("skip_reshape", False) else capture.split_heads(q, k, heads)),
                kwargs.get("transformer_options") or {},
            )
            return self.attend(q, k, v, heads, mask, *args, **kwargs)

        def keep(self, q, k, mask, scale, p=None):
            q = q[:, :, self.layout.rows(q.shape[2])]
            if self.layout.kind == "joint":
                k = k[:, :, self.layout.columns(self.columns, q.shape[2])]
            self.state.layers.append((1, q.float() @ k.float().transpose(-1, -2)))
            if self.stop_after is not None and len(self.state.layers) >= self.stop_after:
                raise capture.AllCaptured

    def forward(x: Tensor, stop_after: int | None) -> list[Tensor]:
        read = Logits(
            layout,
            probe.columns,
            probe.levels,
            blocks=family.wanted_blocks(network),
            stop_after=stop_after,
        )
        followed = differentiable.DifferentiableForward(family.rope_kernels, family.in_place)
        with followed, contextlib.suppress(capture.AllCaptured):
            conditional(state, x, {"optimized_attention_override": read})
        return [p for _, p in read.state.layers]

    layers = len(forward(state.x, None))
    with differentiable.differentiable(guider.inner_model), Counting() as counting:
        leaf = state.x.clone().requires_grad_(True)
        logits = forward(leaf, layers)
        torch.autograd.grad(sum(p.sum() for p in logits), leaf)
    return counting.work


class Rate:
    """Measures how long this machine takes for the matrix products of some work, and nothing else."""

    def __init__(self, work: Work, device: torch.device, dtype: torch.dtype):
        self.products, self.device, self.taken = work.products, device, []
        self.flops = sum(2 * b * m * k * n * times for (b, m, k, n), times in work.products.items())
        self.a, self.b = (
            torch.randn(max(b * x * y for b, x, y in sizes), device=device).to(dtype)
            for sizes in (
                [(b, m, k) for b, m, k, _ in work.products],
                [(b, k, n) for b, _, k, n in work.products],
            )
        )

    def seconds(self) -> float:
        """The time of all products one after the other; each distinct one is timed once, after a warm-up.

        By a matrix product or a 1x1 convolution, which are two libraries on a CPU: the faster counts.
        """
        total = 0.0
        with torch.inference_mode():
            for (b, m, k, n), times in self.products.items():
                left, right = self.a[: b * m * k].view(b, m, k), self.b[: b * k * n].view(b, n, k)
                ways = [lambda left=left, right=right: left @ right.transpose(1, 2)]
                if b == 1:
                    pixels = left.view(1, m, 1, k).permute(0, 3, 1, 2)  # [1, k, m, 1]
                    window = right.view(n, k, 1, 1)
                    ways.append(lambda pixels=pixels, window=window: F.conv2d(pixels, window))
                total += times * min([self._time(way) for _ in range(2)][1] for way in ways)
        self.taken.append(total)
        return total

    def _time(self, way: Callable[[], Tensor]) -> float:
        synchronise(self.device)
        begun = time.perf_counter()
        way()
        synchronise(self.device)
        return time.perf_counter() - begun


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
