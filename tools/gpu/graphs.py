"""Part d: torch.compile and CUDA graphs of an update step: does it work, is it faster, do the numbers hold?"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from . import checks, models, scene
from .device import device, timed
from .sizes import Clock, guarded

BLOCKS = ("BasicTransformerBlock", "ResBlock", "JointBlock", "DoubleStreamBlock", "SingleStreamBlock")


def run(note: Callable[[str, object], None], args) -> None:
    clock = Clock(args.limit)
    size = models.size_of(args.model, args.smoke, None if args.smoke else args.dtype)
    model = scene.patcher(models.build(size))
    scene.at_state(model, size.conditioning(), size.latent(), None, lambda here: measure(note, here, clock, args.smoke), size.cfg)


def measure(note, here: scene.Here, clock: Clock, smoke: bool) -> None:
    with scene.differentiable(here):
        probe, z = here.probe(), here.z
        scene.gradient(probe, z)

        def eager() -> torch.Tensor:
            return scene.gradient(probe, z, 0)[1]
        right = eager().clone()
        guarded(note, "eager", lambda: timed(eager, 1 if smoke else 5), clock)
        guarded(note, "cuda_graph", lambda: cuda_graph(probe, z), clock)
        guarded(note, "compiled", lambda: compiled(here, eager, right, smoke), clock)


def cuda_graph(probe, z: torch.Tensor) -> dict[str, object]:
    """One pass with its backward, captured at one state and replayed at another."""
    if device().type != "cuda":
        return {"left_out": "no CUDA device"}
    static, other = z.clone(), torch.randn_like(z) * z.std()
    right = scene.gradient(probe, other, 0)[1].clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            scene.gradient(probe, static, 0)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _, found = scene.gradient(probe, static, 0)
    static.copy_(other)
    graph.replay()
    return {**timed(graph.replay, 5), **checks.agreement(found, right)}


def compiled(here: scene.Here, eager: Callable[[], torch.Tensor], right: torch.Tensor, smoke: bool) -> dict[str, object]:
    """Every block of the network by torch.compile, the pack's own surroundings as they are."""
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 64
    changed, begun = [], time.time()
    backend = "aot_eager" if smoke else "inductor"
    for module in here.guider.inner_model.diffusion_model.modules():
        if type(module).__name__ in BLOCKS:
            module.forward = torch.compile(module.forward, backend=backend, dynamic=False)
            changed.append(module)
    try:
        found = eager()
        first = time.time() - begun
        agreed = checks.agreement(found, right)
        return {**timed(eager, 1 if smoke else 5), **agreed, "blocks": len(changed), "compile_seconds": round(first, 1)}
    finally:
        for module in changed:
            del module.forward
        torch._dynamo.reset()
