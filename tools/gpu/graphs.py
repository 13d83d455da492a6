"""Part d: torch.compile and CUDA graphs of an update step: does it work, is it faster, do the numbers
hold?
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

from . import checks, models, scene, syncs
from .device import device, timed
from .sizes import Clock, guarded

BLOCKS = ("BasicTransformerBlock", "ResBlock", "JointBlock", "DoubleStreamBlock", "SingleStreamBlock")


def run(note: Callable[[str, object], None], args) -> None:
    clock = Clock(args.limit)
    size = models.size_of(args.model, args.smoke, None if args.smoke else args.dtype)
    model = scene.patcher(models.build(size))
    scene.at_state(
        model,
        size.conditioning(),
        size.latent(),
        None,
        lambda here: measure(note, here, clock, args),
        size.cfg,
    )


def measure(note, here: scene.Here, clock: Clock, args) -> None:
    smoke = args.smoke
    with scene.differentiable(here):
        probe, z = here.probe(), here.z
        scene.gradient(probe, z)

        def eager() -> torch.Tensor:
            return scene.gradient(probe, z, 0)[1]

        right = eager().clone()
        guarded(note, "eager", lambda: timed(eager, 1 if smoke else 5), clock)
        if args.part == "graph":  # in a process of its own: an error while it is captured ends the process
            guarded(note, "copies_from_CPU", lambda: copies(eager), clock)
            guarded(note, "cuda_graph", lambda: cuda_graph(here, probe, z), clock)
        else:
            guarded(note, "compiled_step", lambda: plain_compiled(here, smoke), clock)
            guarded(note, "compiled", lambda: compiled(here, eager, right, smoke), clock)


def copies(eager: Callable[[], torch.Tensor]) -> dict[str, int]:
    with syncs.FromProcessor() as seen:
        eager()
    return dict(seen.found)


@contextlib.contextmanager
def capturable(here: scene.Here) -> Iterator[None]:
    """Inside, nothing in a pass asks what a capture cannot answer.

    ComfyUI copies the conditioning from the CPU in every pass, and asks torch's allocator what is free.
    """
    import comfy.model_management as management

    for cond in here.guider.conds["positive"][0]["model_conds"].values():
        if isinstance(cond.cond, torch.Tensor):
            cond.cond = cond.cond.to(device())
    ask = management.get_free_memory
    free = ask(device())
    management.get_free_memory = lambda dev=None, torch_free_too=False: (
        (free, free) if torch_free_too else free
    )
    try:
        yield
    finally:
        management.get_free_memory = ask


def cuda_graph(here: scene.Here, probe, z: torch.Tensor) -> dict[str, object]:
    """One pass with its backward, captured at one state and replayed at another."""
    if device().type != "cuda":
        return {"left_out": "no CUDA device"}
    with capturable(here):
        static, other = z.clone(), torch.randn_like(z) * z.std()
        right = scene.gradient(probe, other, 0)[1].clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                scene.gradient(probe, static, 0)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            _, found = scene.gradient(probe, static, 0)
    static.copy_(other)
    graph.replay()
    numbers = {**timed(graph.replay, 5), **checks.agreement(found, right)}
    return {**numbers, "faults": checks.gradient_faults(found, right, 0.999)}


class Compiled:
    """Inside, every block of the network is run by torch.compile."""

    def __init__(self, here: scene.Here, smoke: bool):
        blocks = here.guider.inner_model.diffusion_model.modules()
        found = [module for module in blocks if type(module).__name__ in BLOCKS]
        self.blocks = found[:1] if smoke else found
        self.backend = "eager" if smoke else "inductor"

    def __enter__(self) -> Compiled:
        import torch._dynamo

        torch._dynamo.reset()
        torch._dynamo.config.recompile_limit = 64
        for block in self.blocks:
            block.forward = torch.compile(block.forward, backend=self.backend, dynamic=False)
        return self

    def __exit__(self, *error) -> None:
        for block in self.blocks:
            block.__dict__.pop("forward", None)
        torch._dynamo.reset()


def plain_compiled(here: scene.Here, smoke: bool) -> dict[str, object]:
    """ComfyUI's own step with compiled blocks, for comparison."""
    begun = time.time()
    with Compiled(here, smoke) as blocks:
        here.plain_step()
        first = time.time() - begun
        return {
            **timed(here.plain_step, 1 if smoke else 5),
            "blocks": len(blocks.blocks),
            "compile_seconds": round(first, 1),
        }


def compiled(
    here: scene.Here, eager: Callable[[], torch.Tensor], right: torch.Tensor, smoke: bool
) -> dict[str, object]:
    """Every block of the network by torch.compile, the pack's own context as it is."""
    begun = time.time()
    with Compiled(here, smoke) as blocks:
        found = eager()
        first = time.time() - begun
        faults = checks.gradient_faults(found, right, 0.999)
        agreed = checks.agreement(found, right)
        numbers = timed(eager, 1 if smoke else 5)
        return {
            **numbers,
            **agreed,
            "faults": faults,
            "blocks": len(blocks.blocks),
            "compile_seconds": round(first, 1),
        }
