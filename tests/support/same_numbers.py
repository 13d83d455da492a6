"""Twelve small runs whose final latents are kept: a change that is meant to change no number is held to them.

Runs use the node classes that ComfyUI loaded, by their ids and inputs, and ComfyUI's own functions; nothing
of the pack's modules, which may be moved and renamed. All of them run on one thread, in about a minute.

How close is close (`distance`): a CPU without AVX (torch, MKL and oneDNN limited to SSE4) and noise changed
by 2e-7 move the latents by at most 2.1e-5 where `close` is 2e-4, and by what the comments say elsewhere.
Updates 1.05 times as large move them by 5e-3 (Latent Refine) or more, and in every run by more than `close`.

Record again, after a change that is meant to change numbers, those that it changes, and say in the commit
and in `RECORDED` below which ones and why:

    python3 tools/dev.py run -m tests.support.same_numbers saga initno
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LATENTS = Path(__file__).resolve().parents[1] / "data" / "same_numbers.safetensors"
HASHES = LATENTS.with_suffix(".json")
PROMPT = "a red circle, a blue square and a green triangle"
SD, SD3 = "SD layout (UNet)", "SD3 layout (MM-DiT)"
REFINE, FAST = "Latent Refine (Grimal et al. 2025)", "Latent Refine (fast)"


@dataclass(frozen=True)
class Run:
    """A sampler call.

    node, inputs: what patches the model ("" = nothing does). objective: a chain of GSNObjective's inputs.
    regions: GSNRegion's inputs, one per subject. subjects: for GSNSubjects, after encoding. size: height and
    width of the latent. close: how far from the recorded latents another machine's may be.
    """

    node: str = ""
    inputs: dict | None = None
    model: str = SD
    objective: tuple[dict, ...] = ()
    regions: tuple[dict, ...] = ()
    subjects: str = ""
    sampler: str = "euler"
    scheduler: str = "normal"
    steps: int = 6
    cfg: float = 5.0
    batch: int = 1
    size: tuple[int, int] = (32, 32)
    seed: int = 5
    close: float = 2e-4


def nursing(method: str, overrides: str = "", **changes) -> Run:
    """A run with a published method; its moment stays the method's own."""
    return Run("GSNNursing", {"method": method, "overrides": overrides}, **changes)


# The embedded model wants per-step guidance of scale 2 to 5: the 20 published for SD1 only amplifies
# rounding.
RUNS = {
    # If this one moves, the model file, the text encoder or ComfyUI has changed, and no method has.
    "plain": Run(),
    # The method most people use, all 50 updates, with the evaluations before and after that its report shows.
    "latent_refine": nursing(REFINE),
    # Gradients from bfloat16 products, after the trial that compares the first of them with one in full
    # precision. A sum rounded otherwise is one bfloat16 digit: 2e-3; updates 1.05 times as large 3e-2.
    "latent_refine_bfloat16": nursing(REFINE, "precision=bfloat16, shifts=6", close=1e-2),
    # One second moment per image, bounded updates, and an early stop once all subjects are present. Its large
    # updates amplify rounding: 1.5e-4; updates 1.05 times as large 0.3.
    "fast": nursing(FAST, close=1e-2),
    # A batch whose images stop after different numbers of updates, on a latent that is not square, with a sum
    # of objectives, typed subjects, and a sampler that adds noise to each image.
    "batch": Run(
        "GSNRefineModel",
        {
            "shifts": 12,
            "learning_rate": 0.03,
            "stop_at_loss": 0.5,
            "at_step": 1,
            "report_level": "numbers only",
        },
        objective=({"objective": "cn_iou"}, {"objective": "tv", "weight": 0.25}),
        subjects="red circle, blue square",
        sampler="euler_ancestral",
        steps=8,
        batch=3,
        size=(32, 24),
    ),
    # Two recipes in one run, and an SDE sampler, whose noise comes from a seeded tree of its own.
    "ours_plus_sde": nursing(
        "Latent Refine + SynGen, Ours+ (Grimal et al. 2025)",
        "scale_factor=3, shifts=10",
        sampler="dpmpp_2m_sde",
    ),
    # Replaces the noise: learns a mean and a variance of two candidates, under a bound, reads self-attention
    # too, and succeeds in the end. At the first sigma all is amplified: 1e-2; updates 1.05 times as
    # large 0.3.
    "initno": nursing(
        "InitNO (Guo et al. 2024)",
        "rounds=2, iterations=6",
        subjects="red circle, blue square",
        seed=3,
        close=0.1,
    ),
    # Checkpoints between per-step updates, under a sampler that evaluates the model twice in a step.
    "attend_and_excite": Run(
        "GSNGuidanceModel",
        {"scale_factor": 3.0, "thresholds": "0:0.8, 0.218:0.9, 0.418:0.9", "max_refine": 6},
        sampler="heun",
    ),
    # Regions, the middle and first up block alone, and loops that end once the energy is low.
    "lmd_regions": nursing(
        "LMD energy (Lian et al. 2024)",
        "scale_factor=2",
        regions=(
            {"subject": "red circle", "x": 0.0, "y": 0.0, "width": 0.5, "height": 0.5},
            {"subject": "blue square", "x": 0.5, "y": 0.25, "width": 0.5, "height": 0.75},
        ),
        size=(32, 24),
    ),
    # Samples a reference trajectory first, then draws noises from generators of its own, which differ in
    # their last bits between CPUs: 8e-4; updates 1.05 times as large 0.9.
    "saga": nursing("SAGA-Sigma (2026)", "shifts=3", close=1e-2),
    # Changes the prediction of a flow model instead of the latent, at every step.
    "focus": nursing("FOCUS (2025)", model=SD3, scheduler="simple", cfg=4.0),
    # Joint attention, a flow, and two text encoders whose words have positions of their own.
    "latent_refine_sd3": nursing(REFINE, "shifts=8", model=SD3, scheduler="simple", cfg=4.0),
}


RECORDED = {
    "Latent Refine, Ours+ and SAGA take a subject's noun, as their authors' code does": (
        "latent_refine",
        "latent_refine_bfloat16",
        "ours_plus_sde",
        "saga",
        "latent_refine_sd3",
    ),
}
"""Runs that were recorded again: the reason, and which."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums are split among threads, and their last bits depend on how."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def latents_of(run: Run) -> Tensor:
    """The final latents [B, 4, h, w] float32 of a run. ComfyUI must have loaded the pack before."""
    with one_thread(), torch.inference_mode():
        return _sampled(run)


def call(node: str, **inputs) -> tuple:
    """The outputs of a node, run as ComfyUI's executor does."""
    import nodes

    return nodes.NODE_CLASS_MAPPINGS[node].EXECUTE_NORMALIZED(**inputs).args


def _sampled(run: Run) -> Tensor:
    import comfy.sample

    model, clip, _ = call("GSNDemoModel", model=run.model)
    model, clip = _patched(run, model, clip)
    positive, negative = (call("GSNTextEncode", text=text, clip=clip)[0] for text in (PROMPT, ""))
    if run.subjects:
        positive = call("GSNSubjects", conditioning=positive, subjects=run.subjects)[0]
    for region in run.regions:
        (positive,) = call("GSNRegion", conditioning=positive, **region)
    empty = torch.zeros(run.batch, 4, *run.size)
    noise = comfy.sample.prepare_noise(empty, run.seed)
    how = run.steps, run.cfg, run.sampler, run.scheduler
    return comfy.sample.sample(
        model, noise, *how, positive, negative, empty, disable_pbar=True, seed=run.seed
    )


def _patched(run: Run, model, clip) -> tuple:
    inputs = dict(run.inputs or {})
    for objective in run.objective:
        (inputs["objective"],) = call("GSNObjective", add_to=inputs.get("objective"), **objective)
    if run.node == "GSNNursing":
        return call(run.node, model=model, clip=clip, **inputs)[:2]
    if run.node:
        model = call(run.node, model=model, **inputs)[0]
    return model, clip


def digest(latents: Tensor) -> str:
    """SHA-256 over the bits of float32 latents."""
    assert latents.dtype == torch.float32
    return hashlib.sha256(latents.contiguous().numpy().tobytes()).hexdigest()


def environment() -> dict[str, str]:
    """What decides how sums are rounded, and by which ComfyUI: where all of it is equal, so are the bits."""
    import comfyui_version

    limits = ("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE")
    return {
        "torch": torch.__version__,
        "comfyui": comfyui_version.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "limits": ", ".join(f"{name}={os.environ[name]}" for name in limits if name in os.environ),
    }


def cpu_name(file: Path = Path("/proc/cpuinfo")) -> str:
    """Vendor, family, model and name of the CPU; where Linux does not tell them, what Python knows."""
    if not file.is_file():
        return platform.machine()
    lines = (line.partition(":") for line in file.read_text("utf-8").splitlines())
    told = {key.strip(): value.strip() for key, _, value in reversed(list(lines))}
    wanted = ("vendor_id", "cpu family", "model", "model name")
    return " ".join(told[key] for key in wanted if key in told) or platform.machine()


def distance(latents: Tensor, recorded: Tensor) -> float:
    """The largest relative error of an image: |a - b| / |b|, Euclidean norms of [C, h, w]."""
    difference = (latents - recorded).flatten(1).norm(dim=1)
    return float((difference / recorded.flatten(1).norm(dim=1)).max())


def recorded() -> tuple[dict, dict[str, Tensor]]:
    """{"environment": ..., "sha256": run -> hash}, and run -> latents [B, 4, h, w]."""
    return json.loads(HASHES.read_text("utf-8")), load_file(LATENTS)


def record(names: Sequence[str]) -> None:
    """Make these runs and write their latents and hashes; the others stay.

    Raises ValueError where the recorded hashes are of another environment: then all must be made.
    """
    from tools.host_env import inprocess

    inprocess.boot()
    inprocess.load_pack()
    kept, latents = recorded()
    if set(names) != set(RUNS) and kept["environment"] != environment():
        raise ValueError("What is recorded is of another environment: name all runs.")
    latents |= {name: latents_of(RUNS[name]).contiguous() for name in names}
    save_file(latents, LATENTS)
    hashes = {name: digest(latents[name]) for name in RUNS}
    HASHES.write_text(json.dumps({"environment": environment(), "sha256": hashes}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    record(sys.argv[1:])
