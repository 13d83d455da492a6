"""Part c and e: what an update step costs at real sizes beside a plain step and the published way, and
what ran inside it.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch

from tools.bench.published_baseline import published_update

from . import checks, models, scene, syncs
from .device import GIB, clean, device, timed
from .host import pack

NAIVE_GIB = {"sd15": 7.5, "sdxl": 12.2, "sd35m": 60.0}
"""Counted peak of the published way on top of the weights (docs/performance.md); where none is named it
fits no card.
"""


class Clock:
    """Nothing new is begun after its limit."""

    def __init__(self, limit: float):
        self.end = time.time() + limit

    def __bool__(self) -> bool:
        return time.time() < self.end


def run(note: Callable[[str, object], None], args) -> None:
    clock = Clock(args.limit)
    size = models.size_of(args.model, args.smoke, args.dtype, args.stored)
    begun = time.time()
    made = models.build(size)
    model = scene.patcher(made)
    note(
        "model",
        {
            "name": size.name,
            "size": size.size,
            "dtype": size.dtype,
            "stored": size.stored,
            "weights_gib": round(models.weights_gib(made), 2),
            "build_seconds": round(time.time() - begun, 1),
        },
    )
    scene.at_state(
        model,
        size.conditioning(),
        size.latent(),
        None,
        lambda here: measure(note, here, size, clock, args.smoke),
        size.cfg,
    )
    if clock:
        note("as_run", as_run(model, size, (0, 1, 3) if args.smoke else (0, 5, 15)))
    guarded(note, "word_weight", lambda: word_weight(model, size), clock)


def guarded(note: Callable[[str, object], None], name: str, work: Callable[[], object], clock: Clock) -> None:
    """Note what `work` gives, or why it gave nothing."""
    if not clock:
        note(name, {"left_out": "no time"})
        return
    try:
        note(name, work())
    except torch.cuda.OutOfMemoryError as error:
        note(name, {"out_of_memory": str(error)[:200]})
    except Exception as error:
        note(name, {"error": f"{type(error).__name__}: {str(error)[:500]}"})
    clean()


class Update:
    """One update step of Latent Refine at a state, as often as asked for."""

    def __init__(self, here: scene.Here):
        self.here, self.probe, self.z = here, here.probe(), here.z
        self.objective = scene.recipe().objective
        self.subjects, _ = pack("subjects.resolve").choose_subjects((), self.probe.entry.tokens)
        self.context = pack("maps").StepContext(0, 1, float(here.sigma[0]), here.c)
        self.refine, self.checkpoint_policy = (
            pack("optimise.refine").refine,
            pack("host.attention.memory_policy").CheckpointPolicy,
        )

    def __call__(self, updates: int = 1) -> None:
        self.refine(
            self.z.clone(), self.probe.maps_of, self.objective, self.subjects, self.context, shifts=updates
        )

    def on(self, level: int) -> Update:
        self.probe.checkpoint_policy = self.checkpoint_policy(level)
        return self


def measure(note, here: scene.Here, size, clock: Clock, smoke: bool) -> None:
    guarded(note, "plain_step", lambda: timed(here.plain_step, 3 if smoke else 7, 2), clock)
    with scene.differentiable(here):
        update = Update(here)
        update()  # learns the layers, and which level there is room for
        note(
            "chosen_level",
            {
                "level": update.probe.checkpoint_policy.level,
                "layers": update.probe.layers,
                "columns": len(update.probe.read_spans),
            },
        )
        for level in (0, 1, 2):
            guarded(
                note, f"level_{level}", lambda level=level: timed(update.on(level), 1 if smoke else 5), clock
            )
        guarded(note, "level_0_of_4", lambda: per(4, timed(lambda: update.on(0)(4), 1)), clock)
        guarded(note, "gradients", lambda: by_level(update), clock)
        guarded(note, "look", lambda: timed(lambda: update.probe.evaluate(here.x), 2), clock)
        guarded(note, "inside", lambda: inside(update), clock)
        guarded(note, "syncs", lambda: syncs.of_updates(update), clock)
    if size.name in NAIVE_GIB or smoke:
        guarded(note, "published", lambda: published(here, size, smoke), clock)


def per(n: int, found: dict[str, float]) -> dict[str, float]:
    return {name: value / n if name != "peak_gib" else value for name, value in found.items()}


def by_level(update: Update) -> dict[str, object]:
    """Gradients with blocks computed twice against those without: cosine, and whether two equal passes are
    equal.
    """
    gradients = [scene.gradient(update.probe, update.z, level)[1] for level in (0, 0, 1, 2)]
    found = {
        f"level_{level}": checks.agreement(gradients[at], gradients[0]) for at, level in ((2, 1), (3, 2))
    }
    same, finite = torch.equal(gradients[0], gradients[1]), bool(torch.isfinite(gradients[0]).all())
    faults = checks.empty(gradients[0])
    for at, level in ((2, 1), (3, 2)):
        faults += [
            f"level {level}: {fault}" for fault in checks.gradient_faults(gradients[at], gradients[0], 0.999)
        ]
    return {
        "faults": faults,
        **found,
        "twice_the_same_bits": same,
        "finite": finite,
        "norm": float(gradients[0].norm()),
    }


def published(here: scene.Here, size, smoke: bool) -> dict[str, float]:
    """An explicit softmax in every layer, gradients of weights too, the whole network."""
    family = pack("host.find_family").family_of(here.guider.model_patcher)
    if (
        size.name in NAIVE_GIB
        and not smoke
        and torch.cuda.mem_get_info()[0] < 1.1 * NAIVE_GIB[size.name] * GIB
    ):
        return {"left_out": f"needs {NAIVE_GIB[size.name]} GiB"}

    def followed():
        return pack("host.autograd.differentiable").DifferentiableForward(
            family.rope_kernels, family.in_place
        )

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        gradients = pack("host.autograd.differentiable")
        stack.enter_context(gradients.weights_without_inference_flag(here.guider.inner_model))
        x, sigma = (gradients.without_inference_flag(t) for t in (here.x, here.sigma))
        state = replace(here.state, x=x, sigma=sigma)
        return timed(
            lambda: published_update(state, size.rows, size.joint, size.blocks, followed),
            1 if smoke else 3,
        )


def inside(update: Update) -> dict[str, object]:
    """What ran in one update step: attention operators by name, kernels by time (milliseconds)."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device().type == "cuda" else [])
    update.on(0)()
    with profile(activities=activities) as seen:
        update()
    events = seen.key_averages()
    attention = {e.key: e.count for e in events if e.key.startswith("aten::_") and "attention" in e.key}
    on_device = [
        e for e in events if e.self_device_time_total > 0 and not e.key.startswith(("aten::", "cuda"))
    ]
    kernels = Counter({e.key[:120]: round(e.self_device_time_total / 1e3, 3) for e in on_device})
    launches = sum(
        e.count for e in events if e.key in ("cudaLaunchKernel", "cuLaunchKernelEx", "cudaLaunchKernelExC")
    )
    copies = {e.key: e.count for e in events if "Memcpy" in e.key or "Synchronize" in e.key}
    return {
        "attention": attention,
        "kernels_ms": dict(kernels.most_common(16)),
        "device_ms": round(sum(kernels.values()), 2),
        "launches": launches,
        "copies": copies,
    }


def as_run(model, size, updates: tuple[int, int, int]) -> dict[str, object]:
    """Whole runs as a person starts them, of two steps: with none, few and many update steps."""
    prompts, latent = size.conditioning(), size.latent()
    found: dict[str, object] = {}
    for n in updates:
        patched, book = scene.attach(model, n, step=0)
        found[str(n)] = timed(
            lambda patched=patched: scene.sample(patched, prompts, latent, None, size.cfg, steps=2), 1
        )
        if n:
            found["status"] = book.last().recipes[0].status
    none, few, many = (found[str(n)]["seconds"] for n in updates)
    each = (many - few) / (updates[2] - updates[1])
    found["update_seconds"], found["first_extra_seconds"] = (
        round(each, 5),
        round(few - none - updates[1] * each, 5),
    )
    return found


def word_weight(model, size) -> dict[str, object]:
    """Runs of two steps, plain and with one word's weight, each after one that is not timed."""
    weights = pack("subjects.weights").parse_weights("cat: 1.5")
    edit = pack("modulate.edits").WordWeights(weights=weights)
    patched, _book = pack("host.sampling.modulation").attach_edits(model, edit)
    prompts, latent = size.conditioning(), size.latent()
    found = {
        name: timed(lambda used=used: scene.sample(used, prompts, latent, None, size.cfg, steps=2), 3)
        for name, used in (("plain", model), ("weighted", patched))
    }
    return {**found, "ratio": round(found["weighted"]["seconds"] / found["plain"]["seconds"], 4)}
