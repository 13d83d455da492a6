"""One shift, the published way and ours, on tensors without numbers: exact counts, and memory at sizes that fit no machine at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tools.host_env.inprocess import pack_module

from .memory import LiveStorages
from .models import Size
from .moment import Moment, counted_only
from .naive import naive_shift
from .needed import Counting, Work, needed_work

RUNGS = (0, 1, 2)


@dataclass(frozen=True)
class Count:
    """One shift: passes of the network, attention layers read, floating point operations, peak bytes on top of the weights."""

    forwards: int
    layers: int
    flops: int
    peak: int


@dataclass(frozen=True)
class Accounts:
    """weights: bytes. needed: the arithmetic that no way can do without. ours: by rung of the memory ladder, 0 = nothing computed twice."""

    weights: int
    needed: Work
    naive: Count
    ours: dict[int, Count]


def account(size: Size, rungs: tuple[int, ...] = RUNGS) -> Accounts:
    """Count one shift of this model in its present precision."""
    with counted_only(size) as moment:
        network = moment.guider.inner_model.diffusion_model
        weights = sum(p.numel() * p.element_size() for p in (*network.parameters(), *network.buffers()))
        layers: list[int] = []
        naive = _counted(
            moment,
            lambda: layers.append(naive_shift(moment, size.rows, size.joint, size.blocks, _followed(moment))),
        )
        naive = replace(naive, layers=layers[0])
        return Accounts(weights, needed_work(moment), naive, _ours(moment, rungs))


def _followed(moment: Moment) -> Callable:
    """What surrounds the forward pass of a network that autograd cannot follow as the host has it."""
    gradients, layouts = (
        pack_module("gsn_ops.host.autograd.differentiable"),
        pack_module("gsn_ops.host.architectures.family"),
    )
    family = layouts.family_of(moment.guider.model_patcher)
    return lambda: gradients.DifferentiableForward(family.rope_kernels, family.in_place)


def _ours(moment: Moment, rungs: tuple[int, ...]) -> dict[int, Count]:
    """By rung, one shift of Latent Refine by the pack's own probe, objective and optimiser."""
    gradients, layouts, maps, presets, probes, refine, subjects = (
        pack_module(f"gsn_ops.{name}")
        for name in (
            "host.gradients",
            "host.layouts",
            "maps",
            "optimise.presets",
            "host.probe",
            "optimise.refine",
            "subjects",
        )
    )
    entry = moment.entry()
    (recipe,) = presets.preset(presets.LATENT_REFINE)
    # Its weights are numbers, which tensors here have not; what it costs is nothing beside a pass.
    objective = replace(recipe.objective, maps=replace(recipe.objective.maps, kernel_size=0))
    chosen, _ = subjects.choose((), entry.tokens)
    family = layouts.family_of(moment.guider.model_patcher)
    with gradients.differentiable(moment.guider.inner_model):
        probe = probes.Probe(
            moment.guider, moment.guider, moment.extra, moment.sigma, entry, family, objective.needs, 1.0
        )
        probe.look(moment.x.clone())  # learns the number of layers
        context, found = maps.StepContext(0, 1, 0.8, 1.0), {}
        for rung in rungs:
            probe.checkpoint_policy.rung, probe.checkpoint_policy.chosen = rung, True
            count = _counted(
                moment,
                lambda: refine.refine(moment.x.clone(), probe.maps_of, objective, chosen, context, shifts=1),
            )
            found[rung] = replace(count, layers=probe.layers)
    return found


def _counted(moment: Moment, work: Callable[[], object]) -> Count:
    """Passes of the network, operations and peak of some work."""
    calls: list[int] = []
    hook = moment.guider.inner_model.diffusion_model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        with LiveStorages() as live, Counting() as counting:
            work()
    finally:
        hook.remove()
    return Count(len(calls), 0, counting.work.total, live.peak)
