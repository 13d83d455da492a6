"""One update step, the published way and ours, on tensors without numbers: exact counts, for any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tools.host_env.inprocess import pack_module

from .flop_floor import Counting, Work, floor_work
from .memory import LiveStorages
from .models import Size
from .published_baseline import published_update
from .sampler_state import counted_only, positive_entry

if TYPE_CHECKING:
    from gsn_ops.host.attention.sampler_state import SamplerState

LEVELS = (0, 1, 2)


@dataclass(frozen=True)
class Count:
    """One update step: forward passes, attention layers read, operations, peak bytes besides the weights."""

    forwards: int
    layers: int
    flops: int
    peak: int


@dataclass(frozen=True)
class OpCounts:
    """weights: bytes. needed: the arithmetic that no way can do without.

    ours: by level of checkpointing, 0 = nothing computed twice.
    """

    weights: int
    needed: Work
    published: Count
    ours: dict[int, Count]


def count_ops(size: Size, levels: tuple[int, ...] = LEVELS) -> OpCounts:
    """Count one update step of this model in its present precision."""
    with counted_only(size) as state:
        network = state.guider.inner_model.diffusion_model
        weights = sum(p.numel() * p.element_size() for p in (*network.parameters(), *network.buffers()))
        layers: list[int] = []
        published = _counted(
            state,
            lambda: layers.append(
                published_update(state, size.rows, size.joint, size.blocks, _followed(state))
            ),
        )
        published = replace(published, layers=layers[0])
        return OpCounts(weights, floor_work(state), published, _ours(state, levels))


def _followed(state: SamplerState) -> Callable:
    """What surrounds the forward pass of a network that autograd cannot follow as ComfyUI has it."""
    differentiable = pack_module("gsn_ops.host.autograd.differentiable")
    family = pack_module("gsn_ops.host.find_family").family_of(state.guider.model_patcher)
    return lambda: differentiable.DifferentiableForward(family.rope_kernels, family.in_place)


def _ours(state: SamplerState, levels: tuple[int, ...]) -> dict[int, Count]:
    """By level, one update step of Latent Refine by the pack's own probe, objective and optimiser."""
    differentiable = pack_module("gsn_ops.host.autograd.differentiable")
    maps = pack_module("gsn_ops.maps")
    methods = pack_module("gsn_ops.optimise.methods")
    probes = pack_module("gsn_ops.host.attention.probe")
    refine = pack_module("gsn_ops.optimise.refine")
    resolve = pack_module("gsn_ops.subjects.resolve")
    entry = positive_entry(state)
    (recipe,) = methods.preset(pack_module("gsn_ops.optimise.published_methods").LATENT_REFINE)
    # Its weights are numbers, which tensors here have not; what it costs is nothing beside a pass.
    objective = replace(recipe.objective, maps=replace(recipe.objective.maps, kernel_size=0))
    chosen, _ = resolve.choose_subjects((), entry.tokens)
    family = pack_module("gsn_ops.host.find_family").family_of(state.guider.model_patcher)
    with differentiable.differentiable(state.guider.inner_model):
        probe = probes.Probe(state, entry, family, objective.needs, 1.0)
        probe.evaluate(state.x.clone())  # learns the number of layers
        context, found = maps.StepContext(0, 1, 0.8, 1.0), {}
        for level in levels:
            probe.checkpoint_policy.level, probe.checkpoint_policy.chosen = level, True
            count = _counted(
                state,
                lambda: refine.refine(state.x.clone(), probe.maps_of, objective, chosen, context, shifts=1),
            )
            found[level] = replace(count, layers=probe.layers)
    return found


def _counted(state: SamplerState, work: Callable[[], object]) -> Count:
    """Passes of the network, operations and peak of some work."""
    calls: list[int] = []
    hook = state.guider.inner_model.diffusion_model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        with LiveStorages() as live, Counting() as counting:
            work()
    finally:
        hook.remove()
    return Count(len(calls), 0, counting.work.total, live.peak)
